//! The key: whether the identity opens what the backups are sealed with, and for whom they are sealed.

use crate::backup::{Repository, marker_of};
use crate::config::keys::KeysConfig;
use crate::config::targets::TargetsConfig;
use crate::domain::cause::chain;
use crate::domain::exam::{Exam, Notes};
use crate::store::repository::StoredRepository;
use crate::targets::doctor::ExaminedTarget;

/// Looks at the key beside what MongoDB and the targets hold.
pub(super) fn examine(
    keys: &KeysConfig,
    known: Option<&StoredRepository>,
    config: &TargetsConfig,
    targets: &[ExaminedTarget],
) -> Vec<Exam> {
    let mut notes = Notes::of("key");
    let identity = match keys.identity() {
        Ok(identity) => identity,
        Err(error) => {
            notes.failed("identity", error.to_string(), "Let the service read keys.identity_file.");
            return notes.done();
        }
    };
    let mut sealed = Vec::new();
    if let Some(known) = known {
        sealed.push(("MongoDB".to_owned(), known.id.clone(), known.sealed_secret.clone()));
    }
    for (entry, target) in config.list.iter().zip(targets) {
        let Some((marker, key)) = &target.marker else { continue };
        match marker_of(marker) {
            Ok((id, recipients)) => {
                compare_recipients(&mut notes, keys, &entry.name, &recipients);
                sealed.push((format!("target {}", entry.name), id, key.to_vec()));
            }
            Err(reason) => {
                let found = format!("rollkeeper.json of target {} {reason}", entry.name);
                notes.failed("repository", found, "Use a newer rollkeeper, or take the target out of targets.list.");
            }
        }
    }
    let ours = sealed.first().map(|(_, id, _)| id.clone());
    let foreign = sealed.iter().filter(|(_, id, _)| ours.as_ref() != Some(id)).map(|(place, ..)| place.as_str());
    let foreign: Vec<&str> = foreign.collect();
    match &ours {
        None => notes.unknown("repository", "there is none yet", "The first replica makes it."),
        Some(id) if foreign.is_empty() => notes.ok("repository", format!("all that answer hold {id}")),
        Some(id) => {
            let found = format!("{} hold(s) another repository than {id}", foreign.join(", "));
            notes.failed("repository", found, "Take it out of targets.list, or give it an empty place.");
        }
    }
    let opened: Vec<_> = sealed
        .iter()
        .map(|(place, id, secret)| (place, Repository::from_sealed(id, secret, &keys.recipients, &identity)))
        .collect();
    let mut refused = opened.iter().filter_map(|(place, outcome)| Some((place, outcome.as_ref().err()?)));
    match refused.next() {
        Some((place, error)) => notes.failed(
            "identity",
            format!("{place}: {}", chain(error)),
            "Configure the identity that one of the recipients is of; without it no backup can be read.",
        ),
        None if opened.is_empty() => notes.ok("identity", "it can be read, and its recipient is listed"),
        None => notes.ok("identity", format!("it opens the repository secret, as {} hold(s) it", opened.len())),
    }
    notes.done()
}

fn compare_recipients(notes: &mut Notes, keys: &KeysConfig, target: &str, recipients: &[String]) {
    let differ = recipients.iter().any(|one| !keys.recipients.contains(one))
        || keys.recipients.iter().any(|one| !recipients.contains(one));
    if differ {
        notes.warning(
            "recipients",
            format!("target {target} was sealed to other recipients than keys.recipients names"),
            "Keep the old identities until every backup that was sealed to them is gone; new objects are sealed to the new ones.",
        );
    }
}
