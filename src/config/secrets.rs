//! Reads secrets from the files that the configuration names. The only place that turns them into text.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::auth::AuthConfig;
use super::check::Finding;
use super::keys::KeysConfig;
use super::load::ConfigError;
use super::mongodb::MongodbConfig;
use super::targets::TargetConfig;
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

/// The keys that requests to an S3 store are signed with. `Debug` shows none.
#[derive(Debug, Clone)]
pub struct AccessKeys {
    /// Who asks.
    pub id: SecretString,
    /// What proves it.
    pub secret: SecretString,
    /// What makes keys valid that are lent for some hours.
    pub session_token: Option<SecretString>,
}

impl TargetConfig {
    /// The keys of an S3 bucket, read anew, for they are exchanged while replicas run; none where the machine has a role.
    /// `at` is the key of the whole target, for errors.
    ///
    /// # Errors
    /// When a file cannot be read, is empty or has no keys.
    pub fn access_keys(&self, at: &str) -> Result<Option<AccessKeys>, ConfigError> {
        if let Some(file) = &self.credentials_file {
            let key = format!("{at}.credentials_file");
            return profile(read(&key, file)?.expose_secret()).map(Some).ok_or_else(|| {
                let problem = format!("{} has no default profile with both keys", file.display());
                let fix = "Write aws_access_key_id = … and aws_secret_access_key = … below [default].";
                invalid(&key, problem, fix)
            });
        }
        let (Some(id), Some(secret)) = (&self.access_key_file, &self.secret_key_file) else { return Ok(None) };
        let id = read(&format!("{at}.access_key_file"), id)?;
        let secret = read(&format!("{at}.secret_key_file"), secret)?;
        Ok(Some(AccessKeys { id, secret, session_token: None }))
    }

    /// The one secret of a bucket of Google or Azure; none where the machine has a role.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn one_secret(&self, at: &str) -> Result<Option<SecretString>, ConfigError> {
        let files = [("credentials_file", &self.credentials_file), ("secret_key_file", &self.secret_key_file)];
        let given = files.into_iter().find_map(|(field, file)| Some((field, file.as_ref()?)));
        given.map(|(field, file)| read(&format!("{at}.{field}"), file)).transpose()
    }

    /// The certificates that are trusted instead of the system's, in PEM.
    ///
    /// # Errors
    /// When the file cannot be read or holds none.
    pub fn certificates(&self, at: &str) -> Result<Option<String>, ConfigError> {
        let Some(file) = &self.ca_file else { return Ok(None) };
        let key = format!("{at}.ca_file");
        let text = read(&key, file)?.expose_secret().to_owned();
        if text.contains("-----BEGIN CERTIFICATE-----") {
            return Ok(Some(text));
        }
        Err(invalid(&key, format!("{} holds no certificate", file.display()), "Write certificates in PEM into it."))
    }
}

/// The default profile of a file as the AWS command line has it, with or without the line that says `[default]`.
fn profile(text: &str) -> Option<AccessKeys> {
    let (mut id, mut secret, mut session_token, mut ours) = (None, None, None, true);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            ours = section.trim_end_matches(']').trim() == "default";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| ours) else { continue };
        let value = Some(value.trim()).filter(|value| !value.is_empty()).map(SecretString::from);
        match key.trim() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => session_token = value,
            _ => {}
        }
    }
    Some(AccessKeys { id: id?, secret: secret?, session_token })
}

/// The text of the file that a key or flag names.
pub(super) fn read(key: &str, file: &Path) -> Result<SecretString, ConfigError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_of_a_credentials_file_is_read() {
        let keys = |text: &str| {
            let keys = profile(text)?;
            let token = keys.session_token.map(|token| token.expose_secret().to_owned());
            Some((keys.id.expose_secret().to_owned(), keys.secret.expose_secret().to_owned(), token))
        };
        let some = |token: Option<&str>| Some(("a".to_owned(), "b=".to_owned(), token.map(ToOwned::to_owned)));
        assert_eq!(keys("aws_access_key_id=a\naws_secret_access_key = b=\n"), some(None));
        let many = "# mine\n[other]\naws_access_key_id = x\naws_secret_access_key = y\n[default]\nregion = eu\n\
                    aws_access_key_id = a\naws_secret_access_key = b=\naws_session_token = c\n[last]\naws_access_key_id = z";
        assert_eq!(keys(many), some(Some("c")));
        assert_eq!(keys("[other]\naws_access_key_id = x\naws_secret_access_key = y"), None);
        assert_eq!(keys("aws_access_key_id = a\naws_secret_access_key ="), None);
    }
}
