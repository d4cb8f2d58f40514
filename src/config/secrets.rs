//! Reads secrets from the files that the configuration names. The only place that turns them into text.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::auth::AuthConfig;
use super::check::Finding;
use super::keys::KeysConfig;
use super::load::ConfigError;
use super::mongodb::MongodbConfig;
use super::zookeeper::ZookeeperConfig;

impl MongodbConfig {
    /// The connection string, from `uri` or `uri_file`.
    ///
    /// # Errors
    /// When neither or both are given, or the file cannot be read or is empty.
    pub fn uri(&self) -> Result<SecretString, ConfigError> {
        match (&self.uri, &self.uri_file) {
            (Some(uri), None) => Ok(uri.clone()),
            (None, Some(file)) => read("mongodb.uri_file", file),
            (Some(_), Some(_)) => Err(invalid("mongodb.uri", "uri and uri_file are both given", "Remove one of them.")),
            (None, None) => {
                Err(invalid("mongodb.uri", "no connection string is given", "Set mongodb.uri or mongodb.uri_file."))
            }
        }
    }
}

impl AuthConfig {
    /// The bootstrap token.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn bootstrap_token(&self) -> Result<SecretString, ConfigError> {
        read("auth.bootstrap_token_file", &self.bootstrap_token_file)
    }
}

impl KeysConfig {
    /// The text of the identity file: comments and one `AGE-SECRET-KEY-1…` line.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn identity(&self) -> Result<SecretString, ConfigError> {
        read("keys.identity_file", &self.identity_file)
    }
}

impl ZookeeperConfig {
    /// The digest credentials, `user:password`, if a file is configured.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn auth(&self) -> Result<Option<SecretString>, ConfigError> {
        self.auth_file.as_deref().map(|file| read("zookeeper.auth_file", file)).transpose()
    }

    /// The certificates and the key, if TLS is configured.
    ///
    /// # Errors
    /// When one of the files cannot be read or is empty, or only one of certificate and key is given.
    pub fn tls_files(&self) -> Result<Option<TlsFiles>, ConfigError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let ca = read("zookeeper.tls.ca_file", &tls.ca_file)?.expose_secret().to_owned();
        let identity = match (&tls.cert_file, &tls.key_file) {
            (Some(certificate), Some(key)) => {
                let certificate = read("zookeeper.tls.cert_file", certificate)?.expose_secret().to_owned();
                Some((certificate, read("zookeeper.tls.key_file", key)?))
            }
            (None, None) => None,
            _ => {
                return Err(invalid(
                    "zookeeper.tls",
                    "only one of cert_file and key_file is given",
                    "Give both or none.",
                ));
            }
        };
        Ok(Some(TlsFiles { ca, identity }))
    }
}

/// What TLS to ZooKeeper needs, as PEM.
#[derive(Debug)]
pub struct TlsFiles {
    /// The authorities.
    pub ca: String,
    /// Our certificate and its key.
    pub identity: Option<(String, SecretString)>,
}

fn read(key: &'static str, file: &Path) -> Result<SecretString, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let problem = format!("{} cannot be read ({error})", file.display());
        invalid(key, problem, "Name a file that this process may read.")
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid(key, format!("{} is empty", file.display()), "Write the secret into it."));
    }
    Ok(SecretString::from(text))
}

fn invalid(key: &str, problem: impl Into<String>, fix: &str) -> ConfigError {
    ConfigError::Invalid(vec![Finding::new(key, problem, fix)])
}
