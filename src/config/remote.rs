//! How commands reach a running service: `ROLLKEEPER_URL` and `ROLLKEEPER_TOKEN`, or flags. They need no configuration file.

use std::collections::HashMap;
use std::path::Path;

use secrecy::SecretString;
use url::Url;

use super::check::Finding;
use super::load::{ConfigError, environment};
use super::secrets::read;

const URL: &str = "ROLLKEEPER_URL";
const TOKEN: &str = "ROLLKEEPER_TOKEN";

/// Where a service is, and with what it lets us in.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Any replica, or what stands before all of them.
    pub url: Url,
    /// The token.
    pub token: SecretString,
}

impl Remote {
    /// Takes the URL and the file of a token from flags, else both from the environment.
    ///
    /// # Errors
    /// When one is missing, or cannot be read.
    pub fn load(url: Option<&str>, token_file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_from(url, token_file, &environment()?)
    }

    fn load_from(
        url: Option<&str>,
        token_file: Option<&Path>,
        environment: &HashMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let refuse = |key, problem, fix: &str| ConfigError::Invalid(vec![Finding::new(key, problem, fix)]);
        let Some(url) = url.or_else(|| environment.get(URL).map(String::as_str)) else {
            let fix = "Give --url, or set ROLLKEEPER_URL, for example to http://127.0.0.1:8080.";
            return Err(refuse("--url", "it is not said where the service is", fix));
        };
        let web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.username().is_empty();
        let url = Url::parse(url).ok().filter(web);
        let url = url.ok_or_else(|| refuse("--url", "this is not an http or https URL", "Write http://host:port."))?;
        let token = match (token_file, environment.get(TOKEN)) {
            (Some(file), _) => read("--token-file", file)?,
            (None, Some(token)) if !token.trim().is_empty() => SecretString::from(token.trim()),
            _ => {
                let fix =
                    "Give --token-file, or set ROLLKEEPER_TOKEN; a flag would show it to every user of the machine.";
                return Err(refuse("--token-file", "there is no token", fix));
            }
        };
        Ok(Self { url, token })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn load(url: Option<&str>, file: Option<&Path>, environment: &[(&str, &str)]) -> Result<Remote, String> {
        let pairs = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Remote::load_from(url, file, &pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_environment_and_what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "from-file\n").unwrap();
        let both = [(URL, "http://env:1"), (TOKEN, " from-env ")];
        let remote = load(None, None, &both).unwrap();
        assert_eq!((remote.url.as_str(), remote.token.expose_secret()), ("http://env:1/", "from-env"));
        let remote = load(Some("https://flag"), Some(&file), &both).unwrap();
        assert_eq!((remote.url.as_str(), remote.token.expose_secret()), ("https://flag/", "from-file"));
        assert!(load(None, None, &both[1..]).unwrap_err().contains("ROLLKEEPER_URL"));
        assert!(load(None, None, &both[..1]).unwrap_err().contains("ROLLKEEPER_TOKEN"));
        for bad in ["ftp://x", "nonsense", "http://user:secret@host"] {
            let error = load(Some(bad), None, &both).unwrap_err();
            assert!(error.contains("--url") && !error.contains("secret"), "{error}");
        }
    }
}
