//! Targets that are buckets: what their URL says, which keys belong to which provider, and the roles of machines.
//!
//! Rule: a key that has no meaning for a target is an error, and so are two that contradict each other. Credentials come from
//! files (`config::secrets`) or from the role of the machine, never from the configuration or a URL.

use url::Url;

use super::check::Finding;
use super::targets::{Addressing, TargetConfig};

/// Who provides a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3, and everything that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage, whose buckets are containers.
    Azure,
}

/// The bucket of a URL, and where in it the target begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Who provides it.
    pub provider: Provider,
    /// Its name.
    pub name: String,
    /// The folder in it, without a slash at either end; empty for the whole bucket.
    pub prefix: String,
}

impl Bucket {
    fn of(url: &Url) -> Option<Result<Self, &'static str>> {
        let provider = match url.scheme() {
            "s3" => Provider::S3,
            "gs" => Provider::Google,
            "az" => Provider::Azure,
            _ => return None,
        };
        Some(Self::checked(provider, url))
    }

    fn checked(provider: Provider, url: &Url) -> Result<Self, &'static str> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL must hold no credentials");
        }
        if url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err("only a bucket and a prefix can stand in the URL");
        }
        let name = url.host_str().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(3..=222).contains(&name.len()) || !name.chars().all(plain) {
            return Err("the name of the bucket is not valid");
        }
        let prefix = url.path().trim_matches('/');
        if prefix.split('/').any(|part| part.is_empty() && !prefix.is_empty())
            || !prefix.chars().all(|c| c == '/' || plain(c))
        {
            return Err("a prefix has letters, digits, - _ . and single slashes only");
        }
        Ok(Self { provider, name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

impl TargetConfig {
    /// The bucket of the target; none where it is no bucket, or its URL is not valid.
    pub fn bucket(&self) -> Option<Bucket> {
        Bucket::of(&Url::parse(&self.url).ok()?)?.ok()
    }

    /// Where an S3 request names the bucket.
    pub fn addressing(&self) -> Addressing {
        let usual = if self.endpoint.is_some() { Addressing::Path } else { Addressing::VirtualHost };
        self.addressing.unwrap_or(usual)
    }

    /// What is wrong with the place and with the keys of a bucket; `at` is the key of the whole target.
    pub fn findings(&self, at: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut say =
            |field: &str, problem: &str, fix: &str| found.push(Finding::new(format!("{at}.{field}"), problem, fix));
        let url = Url::parse(&self.url).ok();
        match url.as_ref().and_then(Bucket::of) {
            Some(Ok(bucket)) => {
                self.keys_of_others(bucket.provider, &mut say);
                self.endpoint_findings(&mut say);
                found.extend(self.secret_findings(at, bucket.provider));
            }
            Some(Err(problem)) => say("url", problem, "Write s3://bucket/prefix; credentials stand in files."),
            None => {
                if !url.is_some_and(|url| is_directory_or_memory(&url)) {
                    say(
                        "url",
                        "this is not a place for objects",
                        "Write file:///absolute/directory or s3://bucket/prefix.",
                    );
                }
                for field in self.given() {
                    say(field, "only a bucket has this key", "Remove it, or make url one of s3, gs or az.");
                }
            }
        }
        found
    }

    /// The keys of buckets that are given.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("endpoint", self.endpoint.is_some()),
            ("region", self.region.is_some()),
            ("addressing", self.addressing.is_some()),
            ("allow_http", self.allow_http),
            ("ca_file", self.ca_file.is_some()),
            ("account", self.account.is_some()),
            ("access_key_file", self.access_key_file.is_some()),
            ("secret_key_file", self.secret_key_file.is_some()),
            ("credentials_file", self.credentials_file.is_some()),
        ];
        all.into_iter().filter_map(|(field, given)| given.then_some(field))
    }

    fn keys_of_others(&self, provider: Provider, say: &mut impl FnMut(&str, &str, &str)) {
        let foreign: &[&str] = match provider {
            Provider::S3 => &["account"],
            Provider::Google => &["account", "region", "addressing", "access_key_file", "secret_key_file"],
            Provider::Azure => &["region", "addressing", "access_key_file", "credentials_file"],
        };
        for field in self.given().filter(|field| foreign.contains(field)) {
            say(field, "this key is for another provider than that of the URL", "Remove it.");
        }
        if provider == Provider::Azure && self.account.is_none() {
            say("account", "an Azure container needs its storage account", "Name the account.");
        }
        let pair = self.access_key_file.is_some() == self.secret_key_file.is_some();
        if provider == Provider::S3 && !pair {
            say(
                "access_key_file",
                "access_key_file and secret_key_file belong together",
                "Name both, or credentials_file.",
            );
        }
        if provider == Provider::S3 && self.credentials_file.is_some() && self.access_key_file.is_some() {
            say("credentials_file", "access_key_file says the same", "Keep one way of naming the credentials.");
        }
    }

    fn endpoint_findings(&self, say: &mut impl FnMut(&str, &str, &str)) {
        let is_http = match &self.endpoint {
            Some(text) => {
                let url = Url::parse(text).ok().filter(is_origin);
                if url.is_none() {
                    say("endpoint", "this is not an https or http URL of a host", "Write https://host:port.");
                }
                url.is_some_and(|url| url.scheme() == "http")
            }
            None => false,
        };
        if is_http && !self.allow_http {
            say(
                "endpoint",
                "http shows everybody on the way what is read and written",
                "Write https, or say allow_http = true.",
            );
        }
        if self.allow_http && !is_http {
            say("allow_http", "the endpoint is not http", "Remove it.");
        }
        if self.ca_file.is_some() && is_http {
            say("ca_file", "an http endpoint shows no certificate", "Remove it, or write https.");
        }
    }

    fn secret_findings(&self, at: &str, provider: Provider) -> Vec<Finding> {
        let mut outcomes = vec![self.certificates(at).map(drop)];
        match provider {
            Provider::S3 => outcomes.push(self.access_keys(at).map(drop)),
            Provider::Google | Provider::Azure => outcomes.push(self.one_secret(at).map(drop)),
        }
        outcomes.into_iter().filter_map(Result::err).flat_map(super::ConfigError::into_findings).collect()
    }
}

fn is_directory_or_memory(url: &Url) -> bool {
    match url.scheme() {
        "file" => url.host_str().is_none() && url.path().len() > 1,
        "memory" => true,
        _ => false,
    }
}

fn is_origin(url: &Url) -> bool {
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && url.path() == "/" && bare
}

/// What the platform says of the role of this machine, as pairs of a variable and its value: how a pod or a task of AWS gets
/// credentials that nobody has to write down. No key is taken from the environment.
pub fn role_of_machine() -> Vec<(&'static str, String)> {
    const VARIABLES: [&str; 6] = [
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ];
    let value = |name: &'static str| Some((name, std::env::var_os(name)?.into_string().ok()?));
    VARIABLES.into_iter().filter_map(value).filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(target: &TargetConfig) -> Vec<String> {
        target.findings("t").into_iter().map(|finding| finding.key).collect()
    }

    #[test]
    fn a_url_names_a_bucket_and_where_in_it_the_target_begins() {
        let of =
            |url: &str| TargetConfig::at("a", url).bucket().map(|bucket| (bucket.provider, bucket.name, bucket.prefix));
        let bucket = |provider, name: &str, prefix: &str| Some((provider, name.to_owned(), prefix.to_owned()));
        assert_eq!(of("s3://rolls"), bucket(Provider::S3, "rolls", ""));
        assert_eq!(of("s3://rolls/east/1/"), bucket(Provider::S3, "rolls", "east/1"));
        assert_eq!(of("gs://r_o.l-ls/e"), bucket(Provider::Google, "r_o.l-ls", "e"));
        assert_eq!(of("az://rolls"), bucket(Provider::Azure, "rolls", ""));
        for url in [
            "s3://",
            "s3:///rolls",
            "s3://u:p@rolls",
            "s3://rolls:9",
            "s3://rolls?a=b",
            "s3://rolls//x//y",
            "s3://rolls/%41",
            "file:///x",
        ] {
            assert_eq!(of(url), None, "{url}");
        }
    }

    #[test]
    fn keys_that_contradict_each_other_or_the_url_are_named() {
        let s3 = || TargetConfig::at("a", "s3://rolls");
        let file = || Some("/nowhere".into());
        let text = |text: &str| Some(text.to_owned());
        let cases: [(TargetConfig, &[&str]); 11] = [
            (s3(), &[]),
            (TargetConfig { endpoint: text("http://h:1"), ..s3() }, &["t.endpoint"]),
            (TargetConfig { endpoint: text("http://h:1"), allow_http: true, ..s3() }, &[]),
            (TargetConfig { endpoint: text("https://h/path"), ..s3() }, &["t.endpoint"]),
            (TargetConfig { allow_http: true, ..s3() }, &["t.allow_http"]),
            (TargetConfig { account: text("x"), ..s3() }, &["t.account"]),
            (TargetConfig { access_key_file: file(), ..s3() }, &["t.access_key_file"]),
            (TargetConfig { region: text("eu"), ..TargetConfig::at("a", "file:///x") }, &["t.region"]),
            (TargetConfig { region: text("eu"), ..TargetConfig::at("a", "gs://rolls") }, &["t.region"]),
            (TargetConfig::at("a", "az://rolls"), &["t.account"]),
            (TargetConfig { ca_file: file(), credentials_file: file(), ..s3() }, &["t.ca_file", "t.credentials_file"]),
        ];
        for (target, expected) in cases {
            assert_eq!(findings(&target), expected, "{target:?}");
        }
    }

    #[test]
    fn a_url_with_credentials_is_refused_without_being_repeated() {
        let found = TargetConfig::at("a", "s3://AKIA:hunter2@rolls/x").findings("t");
        assert_eq!(found.len(), 1);
        assert!(!found[0].to_string().contains("hunter2") && found[0].problem.contains("credentials"), "{}", found[0]);
    }

    #[test]
    fn a_bucket_is_named_in_the_path_of_an_endpoint_and_in_the_host_of_the_provider() {
        let own = TargetConfig::at("a", "s3://rolls");
        assert_eq!(own.addressing(), Addressing::VirtualHost);
        let other = TargetConfig { endpoint: Some("https://h".to_owned()), ..own };
        assert_eq!(other.addressing(), Addressing::Path);
        assert_eq!(
            TargetConfig { addressing: Some(Addressing::VirtualHost), ..other }.addressing(),
            Addressing::VirtualHost
        );
    }
}
