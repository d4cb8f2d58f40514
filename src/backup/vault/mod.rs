//! The vault: what targets alone tell, read and verified without MongoDB and without ZooKeeper.
//!
//! Rule: nothing counts before its MAC, its place and its chain are checked; what is bad or missing is named.

mod catalogue;
pub mod check;
pub mod lineage;
mod moment;
mod read;
pub mod rebuild;

use age::x25519;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::ids::DepartmentName;
use crate::store::StoreError;
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::marker::{self, Marker};
use super::{BackupError, Repository};

pub use super::word_read::{DepartmentWord, Word};
pub use catalogue::{Catalogue, Damage, Listed, TimelineVault};
pub use moment::{Found, Wanted};

/// Why the vault cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// What was asked for is not there; the text names what is.
    #[error("{0}")]
    Outside(String),
    /// The database is not one that can be rebuilt; the text says what to do.
    #[error("{0}")]
    NotEmpty(String),
    /// The identity opens nothing here.
    #[error("{0}")]
    WrongKey(String),
    /// No target could be read, or something on it is damaged.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// MongoDB failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Targets and the key that opens them.
#[derive(Debug, Clone)]
pub struct Vault {
    pub(super) repository: Repository,
    pub(super) targets: Targets,
    sealed_secret: Vec<u8>,
}

impl Vault {
    /// Opens the repository that the targets hold; `identity` is the text of an identity file.
    ///
    /// # Errors
    /// `WrongKey` when the identity does not open it; `Backup` when no target holds one, or they hold different ones.
    pub async fn open(targets: Targets, identity: &SecretString) -> Result<Self, VaultError> {
        let own = own_recipient(identity)?;
        let (mut opened, mut refused): (Option<(Repository, Vec<u8>)>, Option<VaultError>) = (None, None);
        for target in targets.by_health() {
            match open_one(target, identity, &own).await {
                Ok((repository, _)) if opened.as_ref().is_some_and(|(first, _)| first.id() != repository.id()) => {
                    let text = "the targets hold different repositories; name only targets of one".to_owned();
                    return Err(BackupError::OtherRepository(text).into());
                }
                Ok(found) => opened = Some(opened.unwrap_or(found)),
                Err(error) => refused = Some(refused.unwrap_or(error)),
            }
        }
        match (opened, refused) {
            (Some((repository, sealed_secret)), _) => Ok(Self { repository, targets, sealed_secret }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(BackupError::Undecided("there is no target".to_owned()).into()),
        }
    }

    /// The repository's id.
    pub fn repository_id(&self) -> &str {
        self.repository.id()
    }

    /// The targets.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Each target alone.
    pub fn each(&self) -> Vec<Self> {
        self.targets.iter().map(|target| Self { targets: self.targets.only(target), ..self.clone() }).collect()
    }

    /// The departments that the targets know, by name.
    ///
    /// # Errors
    /// When no target can be listed.
    pub async fn departments(&self) -> Result<Vec<DepartmentName>, VaultError> {
        let names = self.targets.folders("departments").await.map_err(BackupError::from)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

async fn open_one(target: &Target, identity: &SecretString, own: &str) -> Result<(Repository, Vec<u8>), VaultError> {
    let missing = |path: &ObjectPath| {
        BackupError::Undecided(format!(
            "target `{}` holds no repository of rollkeeper: it has no `{path}`. Name the folder that has it, or another \
             target",
            target.name()
        ))
    };
    let get = async |path: ObjectPath| match target.get(&path).await {
        Err(error) if error.is_not_found() => Err(missing(&path)),
        outcome => outcome.map_err(BackupError::from),
    };
    let Marker { repository_id, mut recipients, .. } =
        marker::parse(&get(ObjectPath::repository()).await?).map_err(|reason| {
            BackupError::OtherRepository(format!("target `{}`: its rollkeeper.json {reason}", target.name()))
        })?;
    let sealed = get(ObjectPath::repository_key()).await?;
    let listed = recipients.join(", ");
    if !recipients.iter().any(|recipient| recipient == own) {
        recipients.push(own.to_owned());
    }
    match Repository::from_sealed(&repository_id, &sealed, &recipients, identity) {
        Ok(repository) => Ok((repository, sealed.to_vec())),
        Err(BackupError::WrongKey { .. }) => Err(VaultError::WrongKey(format!(
            "the identity (its recipient is {own}) does not open rollkeeper.key on target `{}`; it was made for the \
             recipients {listed}: give the identity file of one of these",
            target.name()
        ))),
        Err(BackupError::Damaged { path, reason }) => Err(BackupError::Damaged {
            reason: format!("{reason}; every target has the same file, so name another target"),
            path,
        }
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// The public recipient of an identity; never the identity.
fn own_recipient(identity: &SecretString) -> Result<String, VaultError> {
    let text = identity.expose_secret();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed = line.and_then(|line| line.parse::<x25519::Identity>().ok());
    parsed
        .map(|own| own.to_public().to_string())
        .ok_or_else(|| VaultError::WrongKey("the identity file holds no age identity (AGE-SECRET-KEY-1…)".to_owned()))
}
