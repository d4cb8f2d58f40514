//! Reads every object of a department on one set of targets and checks all that can be checked.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{BackupId, DepartmentName};
use crate::targets::layout::ObjectPath;

use super::super::manifest::{ChunkRef, Manifest};
use super::super::seal::{Header, Kind};
use super::super::snapshot::{check_chunk, open_manifest};
use super::super::{BackupError, Repository};
use super::catalogue::{Catalogue, Damage};
use super::{Vault, VaultError};

/// What a check found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the targets tell of the department.
    pub catalogue: Catalogue,
    /// Objects that were read to their end.
    pub objects: u64,
    /// Everything that is bad or missing.
    pub damage: Vec<Damage>,
    /// The backups that were checked, with what each needs and cannot have.
    pub backups: Vec<(BackupId, Vec<Damage>)>,
}

impl Vault {
    /// Checks a department, or one of its backups.
    ///
    /// # Errors
    /// When no target answers. What is damaged is part of the answer.
    pub async fn check(
        &self,
        department: &DepartmentName,
        only: Option<&BackupId>,
        mut progress: impl FnMut(u64),
    ) -> Result<Checked, VaultError> {
        let (names, _) = self.names(department).await?;
        let catalogue = self.catalogue(department).await?;
        let count = |names: &super::read::Names| names.words.len() + names.snapshots.len() + names.segments.len();
        let mut objects = names.values().map(|names| count(names) as u64).sum();
        let wanted: Option<&str> = only.and_then(|id| {
            let content = catalogue.backup(id)?.word.backup.content.as_ref()?;
            Some(content.base.snapshot.as_str())
        });
        let mut seen: BTreeSet<ObjectPath> = BTreeSet::new();
        let mut bad: BTreeMap<ObjectPath, Damage> = BTreeMap::new();
        let mut bad_of: BTreeMap<String, Vec<Damage>> = BTreeMap::new();
        for snapshot in catalogue.timelines.iter().flat_map(|timeline| &timeline.snapshots) {
            if only.is_some() && wanted != Some(snapshot.path.as_str()) {
                continue;
            }
            let manifest = self.open_object(&snapshot.path, open_manifest).await?;
            let missing: BTreeSet<&str> = snapshot.missing.iter().map(|damage| damage.object.as_str()).collect();
            for chunk in &manifest.chunks {
                let path = manifest.chunk_path(chunk);
                if !missing.contains(path.as_str()) && seen.insert(path.clone()) {
                    if let Err(damage) = self.check_one(&manifest, chunk, &path).await? {
                        bad.insert(path.clone(), damage);
                    }
                    objects += 1;
                    progress(objects);
                }
                if let Some(damage) = bad.get(&path) {
                    bad_of.entry(snapshot.path.to_string()).or_default().push(damage.clone());
                }
            }
        }
        if only.is_none() {
            for (timeline, names) in &names {
                let place = Header::new(Kind::Chunk, department, *timeline);
                for path in names.chunks.keys().filter(|path| !seen.contains(*path)) {
                    objects += 1;
                    progress(objects);
                    if let Err(damage) = self.check_orphan(&place, path).await? {
                        bad.insert(path.clone(), damage);
                    }
                }
            }
        }
        Ok(conclude(catalogue, only, objects, bad, &bad_of))
    }

    async fn check_one(
        &self,
        manifest: &Manifest,
        chunk: &ChunkRef,
        path: &ObjectPath,
    ) -> Result<Result<(), Damage>, VaultError> {
        let mut refused = None;
        for target in self.targets.by_health() {
            let outcome = match target.get(path).await {
                Ok(sealed) => check_chunk(&self.repository, manifest, chunk, sealed).await.map(drop),
                Err(error) => Err(error.into()),
            };
            match outcome {
                Ok(()) => return Ok(Ok(())),
                Err(error) => refused = Some(error),
            }
        }
        told(path, refused)
    }

    /// A chunk that no manifest here names: its seal and its place are all that can be checked.
    async fn check_orphan(&self, place: &Header, path: &ObjectPath) -> Result<Result<(), Damage>, VaultError> {
        let place = place.clone();
        let open = move |repository: &Repository, path: &ObjectPath, sealed: &[u8]| {
            repository.unseal(path, sealed, &place).map(drop)
        };
        match self.open_object(path, open).await {
            Ok(()) => Ok(Ok(())),
            Err(error) => told(path, Some(error)),
        }
    }
}

/// Damage is an answer; a target that does not answer is none.
fn told(path: &ObjectPath, refused: Option<BackupError>) -> Result<Result<(), Damage>, VaultError> {
    match refused {
        Some(BackupError::Target(error)) if error.is_not_found() => {
            Ok(Err(Damage::new(path.as_str(), "it is missing")))
        }
        Some(error @ BackupError::Target(_)) => Err(error.into()),
        Some(error) => Ok(Err(Damage::of(path, &error))),
        None => Ok(Ok(())),
    }
}

fn conclude(
    catalogue: Catalogue,
    only: Option<&BackupId>,
    objects: u64,
    bad: BTreeMap<ObjectPath, Damage>,
    bad_of: &BTreeMap<String, Vec<Damage>>,
) -> Checked {
    let mut backups = Vec::new();
    for listed in &catalogue.backups {
        let backup = &listed.word.backup;
        if listed.word.state != "complete" || only.is_some_and(|only| *only != backup.id) {
            continue;
        }
        let mut damage = listed.missing.clone();
        let base = backup.content.as_ref().map(|content| content.base.snapshot.as_str()).unwrap_or_default();
        damage.extend(bad_of.get(base).into_iter().flatten().cloned());
        backups.push((backup.id.clone(), damage));
    }
    let mut damage: Vec<Damage> = match only {
        Some(_) => backups.iter().flat_map(|(_, damage)| damage.clone()).collect(),
        None => catalogue.damage.iter().cloned().chain(bad.into_values()).collect(),
    };
    if only.is_none() {
        damage.extend(backups.iter().flat_map(|(_, damage)| damage.clone()));
    }
    damage.sort();
    damage.dedup();
    Checked { catalogue, objects, damage, backups }
}
