//! The repository: its id, its secret, and the keys that objects are sealed to.
//!
//! Rule: the repository secret is made once, decided by one document in MongoDB, and never changes; it lies sealed on
//! every target.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read as _};
use std::sync::Arc;

use age::x25519;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::config::keys::KeysConfig;
use crate::domain::cause::Cause;
use crate::domain::copies::TargetState;
use crate::store::repository::{RepositoryRecord, StoredRepository};
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::marker::{self, get_or_put};
use super::{BackupError, seal};

/// Chunks that are sealed or opened at the same time.
const SEALING_MAX: usize = 2;

/// The repository, opened. Clones share one value. `Debug` shows the id only.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    secret: [u8; 32],
    sealed_secret: Bytes,
    recipients: Vec<x25519::Recipient>,
    identity: x25519::Identity,
    keys: Keys,
    sealing: Arc<Semaphore>,
}

/// The keys derived from the repository secret.
pub(super) struct Keys {
    pub(super) content: [u8; 32],
    pub(super) cut: [u8; 32],
    pub(super) chain: [u8; 32],
    pub(super) mac: [u8; 32],
    pub(super) digest: [u8; 32],
    pub(super) root: [u8; 32],
}

impl Keys {
    fn derive(secret: &[u8; 32]) -> Self {
        let key = |purpose: &str| blake3::derive_key(&format!("rollkeeper format 1: {purpose}"), secret);
        Self {
            content: key("content id"),
            cut: key("cut"),
            chain: key("chain"),
            mac: key("mac"),
            digest: key("content digest"),
            root: key("merkle root"),
        }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens the repository of this database, making it where there is none, and marks every target that holds another
    /// one as `Foreign`. Targets that lack `rollkeeper.json` or `rollkeeper.key` and answer get them. `identity` is
    /// the text of the identity file.
    ///
    /// # Errors
    /// `Keys` when the identity or a recipient is not valid; `WrongKey` when the identity cannot open the secret;
    /// `OtherRepository` when MongoDB knows none and the targets disagree; `Undecided` when MongoDB knows none and a
    /// target that may hold one does not answer; `Store` when MongoDB does not answer.
    pub async fn open(
        keys: &KeysConfig,
        identity: &SecretString,
        targets: &Targets,
        record: &RepositoryRecord,
    ) -> Result<Self, BackupError> {
        let (recipients, own) = parse_keys(&keys.recipients, identity)?;
        let stored = if let Some(stored) = record.get().await? {
            stored
        } else {
            let proposed = match marker::found_on(targets).await? {
                Some(found) => found,
                None => make(&recipients)?,
            };
            // Open before recording, so that a key that fits nothing is never made the one that counts.
            unseal_secret(&proposed.sealed_secret, &own)?;
            record.get_or_insert(&proposed).await?
        };
        let secret = unseal_secret(&stored.sealed_secret, &own)?;
        let repository = Self::assemble(stored, secret, recipients, own);
        let admissions = targets.iter().map(|target| repository.admit(target));
        // A target that is down or foreign is not an error of the repository: its status says so.
        futures::future::join_all(admissions).await;
        Ok(repository)
    }

    /// A repository from the bytes of `rollkeeper.key`, without MongoDB: for reading when only targets are left.
    ///
    /// # Errors
    /// `Keys` when the identity or a recipient is not valid; `WrongKey` when the identity cannot open the secret.
    pub fn from_sealed(
        id: &str,
        sealed_secret: &[u8],
        recipients: &[String],
        identity: &SecretString,
    ) -> Result<Self, BackupError> {
        let (recipients, own) = parse_keys(recipients, identity)?;
        let secret = unseal_secret(sealed_secret, &own)?;
        let stored = StoredRepository { id: id.to_owned(), sealed_secret: sealed_secret.to_vec() };
        Ok(Self::assemble(stored, secret, recipients, own))
    }

    /// A repository from its parts, without MongoDB: for format tests and for reading when only targets are left.
    ///
    /// # Errors
    /// `Keys` when the identity or a recipient is not valid.
    pub fn from_secret(
        id: &str,
        secret: [u8; 32],
        recipients: &[String],
        identity: &SecretString,
    ) -> Result<Self, BackupError> {
        let (recipients, own) = parse_keys(recipients, identity)?;
        let sealed_secret = seal::encrypt(&recipients, &secret)?;
        Ok(Self::assemble(StoredRepository { id: id.to_owned(), sealed_secret }, secret, recipients, own))
    }

    fn assemble(
        stored: StoredRepository,
        secret: [u8; 32],
        recipients: Vec<x25519::Recipient>,
        identity: x25519::Identity,
    ) -> Self {
        let keys = Keys::derive(&secret);
        let sealed_secret = stored.sealed_secret.into();
        let sealing = Arc::new(Semaphore::new(SEALING_MAX));
        Self { inner: Arc::new(Inner { id: stored.id, secret, sealed_secret, recipients, identity, keys, sealing }) }
    }

    /// Writes `rollkeeper.json` and `rollkeeper.key` to a target that lacks them, and checks them where they are: a
    /// target that holds another repository becomes `Foreign`. Called before a target is written to after an outage.
    ///
    /// # Errors
    /// When the target does not answer or is foreign.
    pub async fn admit(&self, target: &Target) -> Result<(), BackupError> {
        if target.is_marked_for_sure() {
            return Ok(());
        }
        let marker = marker::format(&self.inner.id, &self.inner.recipients)?;
        let key = self.inner.sealed_secret.clone();
        target.admit().await?;
        let found_marker = get_or_put(target, &ObjectPath::repository(), marker).await?;
        match marker::read(&found_marker) {
            Err(reason) => return Err(make_foreign(target, &format!("its rollkeeper.json {reason}"))),
            Ok(id) if id != self.inner.id => {
                return Err(make_foreign(target, "its rollkeeper.json names another repository"));
            }
            Ok(_) => {}
        }
        let found_key = get_or_put(target, &ObjectPath::repository_key(), key.clone()).await?;
        let same_secret =
            found_key == key || unseal_secret(&found_key, &self.inner.identity).is_ok_and(|s| s == self.inner.secret);
        if !same_secret {
            return Err(make_foreign(target, "its rollkeeper.key does not hold the secret of this repository"));
        }
        target.set_marked();
        Ok(())
    }

    /// The id of the repository.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(super) fn recipients(&self) -> &[x25519::Recipient] {
        &self.inner.recipients
    }

    pub(super) fn identity(&self) -> &x25519::Identity {
        &self.inner.identity
    }

    pub(super) fn sealing(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.sealing)
    }

    /// A fingerprint of the recipients: chunks sealed to others are not reused.
    pub(super) fn recipients_hash(&self) -> String {
        let names: BTreeSet<String> = self.inner.recipients.iter().map(ToString::to_string).collect();
        let joined: Vec<String> = names.into_iter().collect();
        blake3::hash(joined.join("\n").as_bytes()).to_hex().to_string()
    }
}

fn parse_keys(
    recipients: &[String],
    identity: &SecretString,
) -> Result<(Vec<x25519::Recipient>, x25519::Identity), BackupError> {
    let recipients = recipients
        .iter()
        .map(|text| {
            text.parse::<x25519::Recipient>()
                .map_err(|_| BackupError::Keys(format!("`{text}` is not an age recipient (age1…)")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut lines = identity.expose_secret().lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let invalid = || BackupError::Keys("the identity file holds no age identity (AGE-SECRET-KEY-1…)".to_owned());
    let identity: x25519::Identity = lines.next().ok_or_else(invalid)?.parse().map_err(|_| invalid())?;
    let own = identity.to_public().to_string();
    if !recipients.iter().any(|recipient| recipient.to_string() == own) {
        let text = format!("the identity's own recipient {own} is not among keys.recipients; add it");
        return Err(BackupError::Keys(text));
    }
    Ok((recipients, identity))
}

fn make(recipients: &[x25519::Recipient]) -> Result<StoredRepository, BackupError> {
    let secret: [u8; 32] = rand::random();
    Ok(StoredRepository {
        id: uuid::Uuid::from_bytes(rand::random()).to_string(),
        sealed_secret: seal::encrypt(recipients, &secret)?,
    })
}

fn unseal_secret(sealed: &[u8], identity: &x25519::Identity) -> Result<[u8; 32], BackupError> {
    let path = ObjectPath::repository_key();
    let mut plain = Vec::new();
    seal::decrypt(&path, sealed, identity, |reader| io::Read::take(reader, 64).read_to_end(&mut plain).map(|_| ()))?;
    plain
        .try_into()
        .map_err(|_| BackupError::Damaged { path: path.to_string(), reason: "it is not 32 bytes long".to_owned() })
}

fn make_foreign(target: &Target, reason: &str) -> BackupError {
    let text = format!(
        "target `{}` is left alone: {reason}. Mend it or configure another target, then restart the replicas.",
        target.name()
    );
    target.set_state(TargetState::Foreign, Some(Cause::new("other_repository", text.clone())));
    BackupError::OtherRepository(text)
}
