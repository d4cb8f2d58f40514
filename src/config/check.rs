//! Checks that values can work, and reports all problems at once.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::Config;
use super::load::ConfigError;
use crate::domain::department::Policy;
use crate::domain::ids::{ReplicaId, TargetName};
use crate::domain::retention::Retention;

/// Fewest characters of the bootstrap token.
pub const TOKEN_CHARS_MIN: usize = 32;

/// A value that cannot work: which, why, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key, `section.key`.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    /// Builds a finding.
    pub fn new(key: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. {}", self.key, self.problem, self.fix)
    }
}

/// Every problem of a configuration, in the order of its sections.
pub fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    replica(config, &mut findings);
    http(config, &mut findings);
    limits(config, &mut findings);
    mongodb(config, &mut findings);
    zookeeper(config, &mut findings);
    targets(config, &mut findings);
    keys(config, &mut findings);
    backup_and_restore(config, &mut findings);
    auth_and_telemetry(config, &mut findings);
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a problem where `good` is false.
    fn need(&mut self, good: bool, key: &str, problem: impl Into<String>, fix: &str) {
        if !good {
            self.0.push(Finding::new(key, problem, fix));
        }
    }

    /// Adds what a reader of secrets found; gives the secret on.
    fn take<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.extend(error.into_findings());
                None
            }
        }
    }
}

fn replica(config: &Config, findings: &mut Findings) {
    if let Some(id) = &config.replica.id {
        let good = id.parse::<ReplicaId>().is_ok();
        findings.need(good, "replica.id", "the id is not valid", "Use 1 to 63 characters out of A-Z a-z 0-9 . _ -");
    }
    if let Some(url) = &config.replica.url {
        let good = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        findings.need(good, "replica.url", "this is not an http or https URL", "Write http://host:port.");
    }
}

fn http(config: &Config, findings: &mut Findings) {
    let http = &config.http;
    let timeout = http.request_timeout >= Duration::from_secs(1);
    findings.need(timeout, "http.request_timeout", "less than a second ends good requests", "Use 1s or more.");
    let drain = http.drain_timeout <= Duration::from_mins(10);
    findings.need(drain, "http.drain_timeout", "more than ten minutes", "Use 10m or less.");
    let notice = http.drain_notice < http.drain_timeout;
    let problem = "it leaves open requests no time of http.drain_timeout";
    findings.need(notice, "http.drain_notice", problem, "Use less than http.drain_timeout; 3s, or 0s for no notice.");
    findings.need(http.hash_concurrency != Some(0), "http.hash_concurrency", "0 hashes nothing", "Use 1 or more.");
    findings.need(http.hash_queue >= 1, "http.hash_queue", "0 refuses every password", "Use 1 or more.");

    let argon2 = &http.argon2;
    let lanes = (1..=16).contains(&argon2.parallelism);
    findings.need(lanes, "http.argon2.parallelism", "outside 1 to 16", "Use 1.");
    let memory = (8 * 1024..=1024 * 1024).contains(&argon2.memory_kib);
    findings.need(memory, "http.argon2.memory_kib", "outside 8192 to 1048576", "Use 19456, or more.");
    let passes = (1..=16).contains(&argon2.iterations);
    findings.need(passes, "http.argon2.iterations", "outside 1 to 16", "Use 2.");
}

fn limits(config: &Config, findings: &mut Findings) {
    let limits = &config.limits;
    let counts = [("in_flight", limits.in_flight), ("waiting", limits.waiting), ("connections", limits.connections)];
    for (name, count) in counts {
        let good = (1..=1_000_000).contains(&count);
        findings.need(good, &format!("limits.{name}"), "outside 1 to 1000000", "Leave it out for the default.");
    }
    let timeouts = [
        ("header_timeout", limits.header_timeout),
        ("body_timeout", limits.body_timeout),
        ("write_timeout", limits.write_timeout),
    ];
    for (name, timeout) in timeouts {
        let good = (Duration::from_secs(1)..=Duration::from_hours(1)).contains(&timeout);
        findings.need(good, &format!("limits.{name}"), "outside 1s to 1h", "Leave it out for the default.");
    }
    let rates =
        [("requests", limits.requests), ("verify_user", limits.verify_user), ("verify_caller", limits.verify_caller)];
    for (name, rate) in rates {
        let both = (rate.burst == 0) == (rate.per_minute == 0);
        let problem = "burst or per_minute is 0 and the other is not";
        findings.need(both, &format!("limits.{name}"), problem, "Use 0 for both to have no limit.");
    }
}

fn mongodb(config: &Config, findings: &mut Findings) {
    if let Some(uri) = findings.take(config.mongodb.uri()) {
        let text = uri.expose_secret();
        let good = text.starts_with("mongodb://") || text.starts_with("mongodb+srv://");
        findings.need(good, "mongodb.uri", "this is not a connection string", "Begin it with mongodb://");
    }
    let name = &config.mongodb.database;
    let good = !name.is_empty() && name.len() < 64 && !name.contains(['/', '\\', '.', ' ', '"', '$', '\0']);
    let own = !matches!(name.as_str(), "admin" | "local" | "config");
    findings.need(good && own, "mongodb.database", "MongoDB does not take this name", "Use letters, digits, _ and -.");
}

fn zookeeper(config: &Config, findings: &mut Findings) {
    let zookeeper = &config.zookeeper;
    let servers = zookeeper.connect.split(',').all(|server| {
        let port = server.rsplit_once(':').map(|(host, port)| (!host.is_empty(), port.parse::<u16>().is_ok()));
        port == Some((true, true))
    });
    findings.need(servers, "zookeeper.connect", "these are not servers", "Write host:port,host:port.");
    let chroot = zookeeper.chroot.as_str();
    let good = chroot.len() > 1 && chroot.starts_with('/') && !chroot.ends_with('/') && !chroot.contains("//");
    findings.need(good, "zookeeper.chroot", "this is not the path of a node", "Write /rollkeeper.");
    let timeout = (Duration::from_secs(2)..=Duration::from_secs(30)).contains(&zookeeper.session_timeout);
    findings.need(timeout, "zookeeper.session_timeout", "outside 2s to 30s", "Use 6s.");
    let balance = (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&zookeeper.balance_after);
    findings.need(balance, "zookeeper.balance_after", "outside 1s to 24h", "Use 60s.");
    if let Some(Some(files)) = findings.take(zookeeper.tls_files()) {
        let pem = |text: &str, kind: &str| text.contains("-----BEGIN ") && text.contains(kind);
        let problem = "the file is not PEM of the right kind";
        let certificate = "Name one with -----BEGIN CERTIFICATE-----.";
        findings.need(pem(&files.ca, "CERTIFICATE-----"), "zookeeper.tls.ca_file", problem, certificate);
        if let Some((own, key)) = &files.identity {
            findings.need(pem(own, "CERTIFICATE-----"), "zookeeper.tls.cert_file", problem, certificate);
            let fix = "Name one with -----BEGIN PRIVATE KEY-----.";
            findings.need(pem(key.expose_secret(), "PRIVATE KEY-----"), "zookeeper.tls.key_file", problem, fix);
        }
        let named = zookeeper
            .connect
            .split(',')
            .all(|server| server.rsplit_once(':').is_some_and(|(host, _)| ServerName::try_from(host).is_ok()));
        let fix = "Write host names or addresses, as the certificates have them.";
        findings.need(named, "zookeeper.connect", "a server has no name that a certificate could have", fix);
    }
    if let Some(Some(auth)) = findings.take(zookeeper.auth()) {
        let parts = auth
            .expose_secret()
            .split_once(':')
            .is_some_and(|(user, password)| !user.is_empty() && !password.is_empty());
        findings.need(parts, "zookeeper.auth_file", "the file is not user:password", "Write user:password into it.");
    }
}

fn targets(config: &Config, findings: &mut Findings) {
    let list = &config.targets.list;
    findings.need(!list.is_empty(), "targets.list", "there is no target", "Add name and url of at least one.");
    let mut names = BTreeSet::new();
    let mut urls = BTreeSet::new();
    for (index, target) in list.iter().enumerate() {
        let key = |field: &str| format!("targets.list[{index}].{field}");
        let name = target.name.parse::<TargetName>().is_ok();
        findings.need(name, &key("name"), "the name is not valid", "Use 1 to 63 characters out of A-Z a-z 0-9 . _ -");
        findings.need(names.insert(&target.name), &key("name"), "the name is taken", "Give each target its own.");
        findings.0.extend(target.findings(&format!("targets.list[{index}]")));
        let place = (target.url.trim_end_matches('/'), target.endpoint.as_deref().map(|at| at.trim_end_matches('/')));
        let own = target.url.starts_with("memory:") || urls.insert(place);
        findings.need(own, &key("url"), "another target has this place", "Two copies in one place are one copy.");
    }
    let quorum = config.targets.write_quorum.is_none_or(|quorum| (1..=list.len()).contains(&quorum));
    let problem = format!("outside 1 to the number of targets, which is {}", list.len());
    findings.need(quorum, "targets.write_quorum", problem, "Leave it out for a majority.");
    let timeout = config.targets.operation_timeout >= Duration::from_secs(1);
    findings.need(timeout, "targets.operation_timeout", "less than a second", "Use 30s.");
}

fn keys(config: &Config, findings: &mut Findings) {
    let recipients = &config.keys.recipients;
    findings.need(!recipients.is_empty(), "keys.recipients", "there is no recipient", "Add the one of the identity.");
    for (index, recipient) in recipients.iter().enumerate() {
        let good = recipient.parse::<age::x25519::Recipient>().is_ok();
        let key = format!("keys.recipients[{index}]");
        findings.need(good, &key, "this is not an age X25519 recipient", "Write age1…, as age-keygen prints it.");
    }
    let Some(identity) = findings.take(config.keys.identity()) else { return };
    let Some(own) = own_recipient(&identity) else {
        let problem = "the file holds no age X25519 identity";
        findings.need(false, "keys.identity_file", problem, "Make one with age-keygen.");
        return;
    };
    let listed = recipients.contains(&own);
    let problem = format!("the recipient of the identity ({own}) is missing");
    findings.need(listed, "keys.recipients", problem, "Add it, else the service cannot read its own backups.");
}

fn own_recipient(identity: &SecretString) -> Option<String> {
    let mut lines = identity.expose_secret().lines().map(str::trim);
    let line = lines.find(|line| line.starts_with("AGE-SECRET-KEY-"))?;
    Some(line.parse::<age::x25519::Identity>().ok()?.to_public().to_string())
}

fn backup_and_restore(config: &Config, findings: &mut Findings) {
    let backup = &config.backup;
    if let Err(invalid) = Policy::checked(backup.backup_every) {
        findings.need(false, "backup.backup_every", "the value is not valid", &invalid.message);
    }
    let chunk = (16..=65_536).contains(&backup.chunk_records) && backup.chunk_records.is_power_of_two();
    findings.need(chunk, "backup.chunk_records", "not a power of two from 16 to 65536", "Use 4096.");
    let cursors = (1..=16).contains(&backup.scan_cursors);
    findings.need(cursors, "backup.scan_cursors", "outside 1 to 16", "Use 2.");
    let journal = (Duration::from_millis(50)..=Duration::from_mins(1)).contains(&backup.journal_every);
    findings.need(journal, "backup.journal_every", "outside 50ms to 1m", "Use 1s.");
    let segment = (64 * 1024..=32 * 1024 * 1024).contains(&backup.segment_bytes);
    findings.need(segment, "backup.segment_bytes", "outside 64 KiB to 32 MiB", "Use 4194304.");
    let idle = (Duration::from_secs(1)..=Duration::from_hours(1)).contains(&backup.idle_head_every);
    findings.need(idle, "backup.idle_head_every", "outside 1s to 1h", "Use 60s.");
    if let Err(invalid) = Retention::from(&backup.retention).checked() {
        findings.need(false, "backup.retention", "a value is not valid", &invalid.message);
    }
    let day = Duration::from_secs(1)..=Duration::from_hours(24);
    findings.need(day.contains(&backup.prune_every), "backup.prune_every", "outside 1s to 24h", "Use 1h.");
    let month = Duration::from_secs(1)..=Duration::from_hours(31 * 24);
    findings.need(month.contains(&backup.prune_grace), "backup.prune_grace", "outside 1s to 31d", "Use 1h.");
    let year = Duration::from_secs(1)..=Duration::from_hours(366 * 24);
    findings.need(year.contains(&backup.deleted_lifetime), "backup.deleted_lifetime", "outside 1s to 366d", "Use 7d.");
    findings.need(month.contains(&backup.merge_after), "backup.merge_after", "outside 1s to 31d", "Use 1h.");
    let look = (Duration::from_millis(500)..=Duration::from_hours(1)).contains(&backup.look_every);
    findings.need(look, "backup.look_every", "outside 500ms to 1h", "Use 60s.");
    let scrub = (Duration::from_secs(1)..=Duration::from_hours(31 * 24)).contains(&backup.scrub_every);
    findings.need(scrub, "backup.scrub_every", "outside 1s to 31d", "Use 6h.");
    let rescan = (Duration::from_secs(1)..=Duration::from_hours(31 * 24)).contains(&backup.rescan_every);
    findings.need(rescan, "backup.rescan_every", "outside 1s to 31d", "Use 24h.");

    let restore = &config.restore;
    let records = (1..=1000).contains(&restore.range_records);
    findings.need(records, "restore.range_records", "outside 1 to 1000", "Use 1000.");
    let bytes = (1024..=8 * 1024 * 1024).contains(&restore.range_bytes);
    findings.need(bytes, "restore.range_bytes", "outside 1024 to 8388608 (8 MiB)", "Use 8388608.");
    let names = (1..=1_000_000).contains(&restore.moved_names_max);
    findings.need(names, "restore.moved_names_max", "outside 1 to 1000000", "Use 100000.");
    findings.need(month.contains(&restore.plan_lifetime), "restore.plan_lifetime", "outside 1s to 31d", "Use 24h.");
    findings.need(year.contains(&restore.undo_lifetime), "restore.undo_lifetime", "outside 1s to 366d", "Use 7d.");
}

fn auth_and_telemetry(config: &Config, findings: &mut Findings) {
    if let Some(token) = findings.take(config.auth.bootstrap_token()) {
        let text = token.expose_secret();
        let good = text.chars().count() >= TOKEN_CHARS_MIN && text.chars().all(|c| c.is_ascii_graphic());
        let problem = "the token is shorter than 32 characters or has characters that a header cannot carry";
        findings.need(good, "auth.bootstrap_token_file", problem, "Make one with: openssl rand -hex 32");
    }
    let audit = (Duration::from_hours(24)..=Duration::from_hours(3650 * 24)).contains(&config.auth.audit_lifetime);
    findings.need(audit, "auth.audit_lifetime", "outside 1d to 3650d", "Use 400d.");
    let level = EnvFilter::try_new(&config.telemetry.level).is_ok();
    findings.need(level, "telemetry.level", "this is not a filter", "Write info, or info,rollkeeper=debug.");
    let own = config.telemetry.metrics_listen != Some(config.http.listen);
    findings.need(own, "telemetry.metrics_listen", "http.listen has this address", "Give it another port.");
    if let Some(endpoint) = &config.telemetry.otlp_endpoint {
        let fix = "Use http://host:4318 or https://host:4318; credentials do not belong into it.";
        findings.need(is_collector(endpoint), "telemetry.otlp_endpoint", "this is no address of a collector", fix);
    }
}

/// Whether spans can be sent to a URL, and it tells no secret.
fn is_collector(endpoint: &str) -> bool {
    let Ok(url) = url::Url::parse(endpoint) else { return false };
    let open = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "http" | "https") && url.has_host() && open
}
