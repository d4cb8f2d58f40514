//! Reads the configuration from file, environment and flags, and checks it.
//!
//! Rule: a later source wins: file, then `ROLLKEEPER__SECTION__KEY`, then `--set section.key=value`. The values of the
//! last two are texts; the field says what they become. Two keys are lists there: `keys.recipients` is separated by
//! commas, and `targets.list` is `name=url` pairs separated by commas.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{ConfigBuilder, Environment, File, FileFormat, Source, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::Config;
use super::check::{self, Finding};

/// Prefix of the variables that override the file.
const PREFIX: &str = "ROLLKEEPER";
/// Variable that names the file where `--config` does not.
const FILE_VARIABLE: &str = "ROLLKEEPER_CONFIG";
/// The file where nothing names one; it may be absent.
const FILE_DEFAULT: &str = "rollkeeper.toml";

/// Why there is no usable configuration. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A source cannot be read, or is not TOML.
    #[error("{0}")]
    Unreadable(String),
    /// A key is unknown, missing or of the wrong type.
    #[error("{}{problem}", key_prefix(.key))]
    Shape {
        /// The key, empty for the whole.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// Values that cannot work, all of them.
    #[error("{}", Listed(.0))]
    Invalid(Vec<Finding>),
}

impl ConfigError {
    /// What it says, as findings.
    pub fn into_findings(self) -> Vec<Finding> {
        match self {
            Self::Invalid(findings) => findings,
            other => vec![Finding::new("configuration", other.to_string(), "")],
        }
    }
}

fn key_prefix(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

struct Listed<'a>(&'a [Finding]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{finding}")?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks the configuration: `file`, else the file of `ROLLKEEPER_CONFIG`, else `./rollkeeper.toml`;
    /// then the environment; then `overrides`, each `section.key=value`.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown or of the wrong type, or values cannot work; the last lists all.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::load_from(file, environment()?, overrides)
    }

    /// As `load`, with the environment as a value.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_from(
        file: Option<&Path>,
        environment: HashMap<String, String>,
        overrides: &[String],
    ) -> Result<Self, ConfigError> {
        let config: Self = merged(file, environment, overrides)?;
        let findings = check::check(&config);
        if findings.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(findings)) }
    }
}

/// The variables of the process that override keys.
pub(super) fn environment() -> Result<HashMap<String, String>, ConfigError> {
    let (from_environment, refused): (Vec<_>, Vec<_>) = std::env::vars_os()
        .filter(|(key, _)| key.to_string_lossy().to_uppercase().starts_with(PREFIX))
        .partition(|(_, value)| value.to_str().is_some());
    if let Some((key, _)) = refused.first() {
        return Err(ConfigError::Unreadable(format!("{} is not UTF-8.", key.display())));
    }
    Ok(text_pairs(from_environment))
}

/// All sources in one, as a value of the caller's shape, unchecked.
pub(super) fn merged<T: DeserializeOwned>(
    file: Option<&Path>,
    environment: HashMap<String, String>,
    overrides: &[String],
) -> Result<T, ConfigError> {
    let mut builder = config::Config::builder();
    builder = with_file(builder, file, &environment)?;
    builder = with_environment(builder, environment)?;
    for flag in overrides {
        builder = with_override(builder, flag)?;
    }
    let merged = builder.build().map_err(|error| ConfigError::Unreadable(readable(&error)))?;
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let path = error.path().to_string();
        ConfigError::Shape { key: if path == "." { String::new() } else { path }, problem: shape(error.inner()) }
    })
}

fn text_pairs(pairs: Vec<(OsString, OsString)>) -> HashMap<String, String> {
    pairs.into_iter().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

fn with_file(
    builder: ConfigBuilder<DefaultState>,
    file: Option<&Path>,
    environment: &HashMap<String, String>,
) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    let named = file.map(Path::to_path_buf).or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
    let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            // Parsed here once, so that an error names the file.
            let source = File::from_str(&text, FileFormat::Toml);
            source.collect().map_err(|error| {
                ConfigError::Unreadable(format!("{} is not valid TOML: {}", path.display(), readable(&error)))
            })?;
            Ok(builder.add_source(source))
        }
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(builder),
        Err(error) => Err(ConfigError::Unreadable(format!(
            "The configuration file {} cannot be read ({error}). Name another with --config or {FILE_VARIABLE}.",
            path.display()
        ))),
    }
}

/// No guessing of types: `replica.id = "007"` stays what it is, and a number field reads its number out of the text.
fn with_environment(
    mut builder: ConfigBuilder<DefaultState>,
    variables: HashMap<String, String>,
) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    let environment = Environment::with_prefix(PREFIX)
        .prefix_separator("__")
        .separator("__")
        .source(Some(variables.into_iter().collect()));
    let collected = environment.collect().map_err(|error| ConfigError::Unreadable(readable(&error)))?;
    for (key, value) in collected {
        let ValueKind::String(text) = value.kind else { continue };
        builder = set(builder, &key, &text)?;
    }
    Ok(builder)
}

fn with_override(builder: ConfigBuilder<DefaultState>, flag: &str) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    let Some((key, text)) = flag.split_once('=') else {
        return Err(ConfigError::Shape {
            key: String::new(),
            problem: "--set takes section.key=value, for example --set http.listen=0.0.0.0:8080.".to_owned(),
        });
    };
    set(builder, key.trim(), text)
}

fn set(
    builder: ConfigBuilder<DefaultState>,
    key: &str,
    text: &str,
) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    let value = match key {
        "keys.recipients" => Value::from(listed(text).map(str::to_owned).collect::<Vec<_>>()),
        "targets.list" => targets(text)?,
        _ => Value::from(text),
    };
    builder
        .set_override(key, value)
        .map_err(|error| ConfigError::Shape { key: key.to_owned(), problem: readable(&error) })
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn targets(text: &str) -> Result<Value, ConfigError> {
    let pairs = listed(text).map(|item| item.split_once('=')).collect::<Option<Vec<_>>>();
    let Some(pairs) = pairs else {
        return Err(ConfigError::Shape {
            key: "targets.list".to_owned(),
            problem: "Outside the file this is name=url,name=url.".to_owned(),
        });
    };
    let tables = pairs.into_iter().map(|(name, url)| HashMap::from([("name", name.trim()), ("url", url.trim())]));
    Ok(Value::from(tables.map(|table| Value::from(into_owned(table))).collect::<Vec<_>>()))
}

fn into_owned(table: HashMap<&str, &str>) -> HashMap<String, Value> {
    table.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect()
}

fn readable(error: &config::ConfigError) -> String {
    error.to_string()
}

/// The problem without the value where the library would repeat it.
fn shape(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::Type { expected, .. } => format!("the value is not {expected}"),
        config::ConfigError::At { error, .. } => shape(error),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
