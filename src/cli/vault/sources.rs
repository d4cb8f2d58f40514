//! Where a vault command finds targets and key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::{Failure, VaultArgs};
use crate::backup::vault::Vault;
use crate::cli::Sources;
use crate::config::keys::KeysConfig;
use crate::config::targets::{TargetConfig, TargetsConfig};
use crate::config::vault::VaultConfig;
use crate::domain::clock::Clock;
use crate::domain::ids::TargetName;
use crate::targets::Targets;

/// Longest time for one operation on a target that no configuration speaks of.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// What a command works with.
pub(super) struct Opened {
    /// The vault.
    pub(super) vault: Vault,
    /// The configuration, as far as one was needed.
    pub(super) config: VaultConfig,
    /// Targets of the configuration that are not opened.
    pub(super) others: Vec<TargetName>,
}

/// Opens the targets that are asked for, with the key that is asked for.
pub(super) async fn open(args: &VaultArgs, sources: &Sources) -> Result<Opened, Failure> {
    let needed = args.target.is_empty() || args.identity_file.is_none() || sources.config.is_some();
    let config = if needed {
        VaultConfig::load(sources.config.as_deref(), &sources.set).map_err(|error| Failure::usage(error.to_string()))?
    } else {
        VaultConfig::default()
    };
    let listed = config.targets.as_ref().map(|targets| targets.list.clone()).unwrap_or_default();
    let list = if args.target.is_empty() {
        listed.clone()
    } else {
        args.target.iter().map(|text| target(text, &listed)).collect::<Result<Vec<_>, _>>()?
    };
    if list.is_empty() {
        return Err(Failure::usage("name a target with --target, or a configuration with targets.list by --config"));
    }
    let other = |entry: &&TargetConfig| !list.iter().any(|opened| opened.name == entry.name);
    let others = listed.iter().filter(other).filter_map(|entry| entry.name.parse().ok()).collect();
    for entry in &list {
        if let Some(finding) = entry.findings(&format!("target {}", entry.name)).first() {
            return Err(Failure::usage(finding.to_string()));
        }
        must_exist(entry)?;
    }
    let operation_timeout = config.targets.as_ref().map_or(OPERATION_TIMEOUT, |targets| targets.operation_timeout);
    let targets = TargetsConfig { write_quorum: Some(1), operation_timeout, list };
    let targets = Targets::open(&targets, &Clock::System).map_err(|error| Failure::usage(error.to_string()))?;
    let vault = Vault::open(targets, &identity(args, &config)?).await?;
    Ok(Opened { vault, config, others })
}

fn identity(args: &VaultArgs, config: &VaultConfig) -> Result<SecretString, Failure> {
    let from_config = || config.keys.as_ref().map(|keys| keys.identity_file.clone());
    let file: PathBuf = args
        .identity_file
        .clone()
        .or_else(from_config)
        .ok_or_else(|| Failure::usage("name the file with the age identity by --identity-file"))?;
    let keys = KeysConfig { recipients: Vec::new(), identity_file: file };
    keys.identity().map_err(|error| Failure::usage(error.to_string()))
}

/// `[NAME=]URL` or `[NAME=]DIRECTORY`. A place that the configuration has is opened as it says there, under its name where none
/// is given; another one has the name of the directory.
fn target(text: &str, listed: &[TargetConfig]) -> Result<TargetConfig, Failure> {
    let (name, place) = match text.split_once('=') {
        Some((name, place)) if name.parse::<TargetName>().is_ok() => (Some(name.to_owned()), place),
        _ => (None, text),
    };
    let url = if place.contains("://") { place.to_owned() } else { file_url(place)? };
    let same = |entry: &&TargetConfig| entry.url.trim_end_matches('/') == url.trim_end_matches('/');
    // What stands beside the URL of a bucket is in the configuration only.
    if let Some(known) = listed.iter().find(same) {
        return Ok(TargetConfig { name: name.unwrap_or_else(|| known.name.clone()), ..known.clone() });
    }
    let last = || {
        let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if last.parse::<TargetName>().is_ok() { last.to_owned() } else { "target".to_owned() }
    };
    Ok(TargetConfig::at(name.unwrap_or_else(last), url))
}

fn file_url(place: &str) -> Result<String, Failure> {
    let absolute = std::path::absolute(Path::new(place))
        .map_err(|error| Failure::usage(format!("the target `{place}` is no directory ({error})")))?;
    url::Url::from_directory_path(&absolute)
        .map(|url| url.as_str().trim_end_matches('/').to_owned())
        .map_err(|()| Failure::usage(format!("the target `{place}` is no directory")))
}

/// Opening makes a missing directory, which is right for a service and wrong for a mistyped name.
fn must_exist(entry: &TargetConfig) -> Result<(), Failure> {
    let Some(path) = url::Url::parse(&entry.url).ok().and_then(|url| url.to_file_path().ok()) else { return Ok(()) };
    if entry.url.starts_with("file:") && path.parent().is_some_and(Path::is_dir) && !path.exists() {
        return Err(Failure::usage(format!(
            "the target `{}` is not there: no directory {}",
            entry.name,
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_directory_or_a_url_with_or_without_a_name() {
        let listed = [TargetConfig::at("west", "file:///srv/w")];
        let of = |text: &str| target(text, &listed).map(|entry| (entry.name, entry.url)).unwrap();
        let pair = |name: &str, url: &str| (name.to_owned(), url.to_owned());
        assert_eq!(of("/srv/e"), pair("e", "file:///srv/e"));
        assert_eq!(of("/srv/w/"), pair("west", "file:///srv/w"));
        assert_eq!(of("east=/srv/a b"), pair("east", "file:///srv/a%20b"));
        assert_eq!(of("east=file:///srv/e"), pair("east", "file:///srv/e"));
        assert_eq!(of("memory:///"), pair("target", "memory:///"));
        assert_eq!(of("s3://rolls/e"), pair("e", "s3://rolls/e"));
    }

    #[test]
    fn a_bucket_of_the_configuration_is_opened_with_what_stands_beside_its_url() {
        let endpoint = Some("https://h:9000".to_owned());
        let listed = [TargetConfig { endpoint: endpoint.clone(), ..TargetConfig::at("west", "s3://rolls/w") }];
        let opened = target("s3://rolls/w/", &listed).unwrap();
        assert_eq!((opened.name.as_str(), opened.endpoint), ("west", endpoint.clone()));
        let opened = target("mine=s3://rolls/w", &listed).unwrap();
        assert_eq!((opened.name.as_str(), opened.endpoint), ("mine", endpoint));
    }
}
