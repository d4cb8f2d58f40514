//! Keys out of files, read anew while replicas run: whoever exchanges keys writes them into the files, and restarts nothing.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::config::ConfigError;
use crate::config::secrets::AccessKeys;
use crate::config::targets::TargetConfig;

/// How long keys are used before the files are read again.
const READ_EVERY: Duration = Duration::from_secs(10);

/// The keys of an S3 bucket. `Debug` shows none.
pub(super) struct KeyFiles {
    config: TargetConfig,
    last: Mutex<(Instant, Arc<AwsCredential>)>,
}

impl fmt::Debug for KeyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFiles").field("target", &self.config.name).finish_non_exhaustive()
    }
}

impl KeyFiles {
    /// Reads the files that the target names; none where it names none.
    pub(super) fn open(config: &TargetConfig) -> Result<Option<Self>, ConfigError> {
        let Some(keys) = read(config)? else { return Ok(None) };
        Ok(Some(Self { config: config.clone(), last: Mutex::new((Instant::now(), keys)) }))
    }

    async fn current(&self) -> Arc<AwsCredential> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (at, keys) = last();
        if at.elapsed() < READ_EVERY {
            return keys;
        }
        let config = self.config.clone();
        let anew = tokio::task::spawn_blocking(move || read(&config)).await;
        let keys = match anew {
            Ok(Ok(Some(anew))) => anew,
            // Somebody may be writing them now; the store says whether the old ones are still good.
            _ => keys,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Arc::clone(&keys));
        keys
    }
}

fn read(config: &TargetConfig) -> Result<Option<Arc<AwsCredential>>, ConfigError> {
    let keys = config.access_keys(&format!("target `{}`", config.name))?;
    Ok(keys.map(|AccessKeys { id, secret, session_token }| {
        Arc::new(AwsCredential {
            key_id: id.expose_secret().to_owned(),
            secret_key: secret.expose_secret().to_owned(),
            token: session_token.map(|token| token.expose_secret().to_owned()),
        })
    }))
}

impl CredentialProvider for KeyFiles {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(
        &'a self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move { Ok(self.current().await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_that_were_exchanged_are_used_and_half_written_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let write = |id: &str| {
            std::fs::write(&file, format!("aws_access_key_id = {id}\naws_secret_access_key = hunter2\n")).unwrap();
        };
        let later = |files: &KeyFiles| {
            files.last.lock().unwrap().0 = Instant::now().checked_sub(READ_EVERY).unwrap();
        };
        write("one");
        let config = TargetConfig { credentials_file: Some(file.clone()), ..TargetConfig::at("a", "s3://rolls") };
        let files = KeyFiles::open(&config).unwrap().unwrap();
        assert!(!format!("{files:?}").contains("hunter2"));
        write("two");
        assert_eq!(files.get_credential().await.unwrap().key_id, "one", "not at each request");
        later(&files);
        assert_eq!(files.get_credential().await.unwrap().key_id, "two");
        std::fs::write(&file, "").unwrap();
        later(&files);
        assert_eq!(files.get_credential().await.unwrap().key_id, "two");
    }
}
