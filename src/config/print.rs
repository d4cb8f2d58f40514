//! Writes the effective configuration as TOML, with secrets redacted.
//!
//! Rule: every struct is taken apart by name, so that a new key does not compile until somebody decides how it is shown.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use super::Config;
use super::auth::AuthConfig;
use super::backup::{BackupConfig, RetentionConfig};
use super::http::{Argon2Config, HttpConfig};
use super::keys::KeysConfig;
use super::limits::{LimitsConfig, RateConfig};
use super::mongodb::MongodbConfig;
use super::replica::ReplicaConfig;
use super::restore::RestoreConfig;
use super::targets::{Addressing, TargetConfig, TargetsConfig};
use super::telemetry::{LogFormat, TelemetryConfig};
use super::zookeeper::{ZookeeperConfig, ZookeeperTlsConfig};

/// What stands for a secret.
const REDACTED: &str = "***";

impl Config {
    /// The effective configuration as TOML, defaults included; secrets are `***`.
    pub fn to_redacted_toml(&self) -> String {
        let Self { replica, http, limits, mongodb, zookeeper, targets, keys, backup, restore, auth, telemetry } = self;
        let mut toml = Toml::default();
        print_replica(replica, &mut toml);
        print_http(http, &mut toml);
        print_limits(limits, &mut toml);
        print_mongodb(mongodb, &mut toml);
        print_zookeeper(zookeeper, &mut toml);
        print_targets(targets, &mut toml);
        print_keys(keys, &mut toml);
        print_backup(backup, &mut toml);
        print_restore(restore, &mut toml);
        let AuthConfig { bootstrap_token_file, audit_lifetime } = auth;
        toml.table("[auth]").path("bootstrap_token_file", bootstrap_token_file);
        toml.duration("audit_lifetime", *audit_lifetime);
        let TelemetryConfig { format, level, metrics_listen, metrics_public, otlp_endpoint } = telemetry;
        let format = match format {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        };
        toml.table("[telemetry]").text("format", format).text("level", level);
        if let Some(listen) = metrics_listen {
            toml.text("metrics_listen", &listen.to_string());
        }
        toml.line("metrics_public", metrics_public);
        if let Some(endpoint) = otlp_endpoint {
            toml.text("otlp_endpoint", endpoint);
        }
        toml.0
    }
}

fn print_restore(restore: &RestoreConfig, toml: &mut Toml) {
    let RestoreConfig { range_records, range_bytes, moved_names_max, plan_lifetime, undo_lifetime } = restore;
    let table = toml.table("[restore]").line("range_records", range_records).line("range_bytes", range_bytes);
    table.line("moved_names_max", moved_names_max);
    table.duration("plan_lifetime", *plan_lifetime).duration("undo_lifetime", *undo_lifetime);
}

fn print_replica(replica: &ReplicaConfig, toml: &mut Toml) {
    let ReplicaConfig { id, url } = replica;
    toml.table("[replica]");
    for (key, value) in [("id", id), ("url", url)] {
        if let Some(value) = value {
            toml.text(key, value);
        }
    }
}

fn print_http(http: &HttpConfig, toml: &mut Toml) {
    let HttpConfig {
        listen,
        request_timeout,
        drain_timeout,
        drain_notice,
        hash_concurrency,
        hash_queue,
        event_listeners,
        argon2,
    } = http;
    toml.table("[http]").text("listen", &listen.to_string());
    toml.duration("request_timeout", *request_timeout).duration("drain_timeout", *drain_timeout);
    toml.duration("drain_notice", *drain_notice);
    if let Some(hash_concurrency) = hash_concurrency {
        toml.line("hash_concurrency", hash_concurrency);
    }
    toml.line("hash_queue", hash_queue);
    toml.line("event_listeners", event_listeners);
    let Argon2Config { memory_kib, iterations, parallelism } = argon2;
    toml.table("[http.argon2]").line("memory_kib", memory_kib).line("iterations", iterations);
    toml.line("parallelism", parallelism);
}

fn print_limits(limits: &LimitsConfig, toml: &mut Toml) {
    let LimitsConfig {
        in_flight,
        waiting,
        connections,
        header_timeout,
        body_timeout,
        write_timeout,
        requests,
        verify_user,
        verify_caller,
    } = limits;
    toml.table("[limits]").line("in_flight", in_flight).line("waiting", waiting).line("connections", connections);
    toml.duration("header_timeout", *header_timeout).duration("body_timeout", *body_timeout);
    toml.duration("write_timeout", *write_timeout);
    for (name, rate) in [("requests", requests), ("verify_user", verify_user), ("verify_caller", verify_caller)] {
        let RateConfig { burst, per_minute } = rate;
        toml.table(&format!("[limits.{name}]")).line("burst", burst).line("per_minute", per_minute);
    }
}

fn print_mongodb(mongodb: &MongodbConfig, toml: &mut Toml) {
    let MongodbConfig { uri, uri_file, database } = mongodb;
    toml.table("[mongodb]");
    if uri.is_some() {
        toml.text("uri", REDACTED);
    }
    if let Some(file) = uri_file {
        toml.path("uri_file", file);
    }
    toml.text("database", database);
}

fn print_zookeeper(zookeeper: &ZookeeperConfig, toml: &mut Toml) {
    let ZookeeperConfig { connect, chroot, session_timeout, auth_file, tls, balance_after } = zookeeper;
    toml.table("[zookeeper]").text("connect", connect).text("chroot", chroot);
    toml.duration("session_timeout", *session_timeout).duration("balance_after", *balance_after);
    if let Some(file) = auth_file {
        toml.path("auth_file", file);
    }
    if let Some(ZookeeperTlsConfig { ca_file, cert_file, key_file }) = tls {
        toml.table("[zookeeper.tls]").path("ca_file", ca_file);
        for (key, file) in [("cert_file", cert_file), ("key_file", key_file)] {
            if let Some(file) = file {
                toml.path(key, file);
            }
        }
    }
}

fn print_targets(targets: &TargetsConfig, toml: &mut Toml) {
    let TargetsConfig { write_quorum, operation_timeout, list } = targets;
    toml.table("[targets]");
    if let Some(quorum) = write_quorum {
        toml.line("write_quorum", quorum);
    }
    toml.duration("operation_timeout", *operation_timeout);
    for target in list {
        print_target(target, toml);
    }
}

fn print_target(target: &TargetConfig, toml: &mut Toml) {
    let TargetConfig {
        name,
        url,
        endpoint,
        region,
        addressing,
        allow_http,
        ca_file,
        account,
        access_key_file,
        secret_key_file,
        credentials_file,
    } = target;
    toml.table("[[targets.list]]").text("name", name).text("url", &without_password(url));
    for (key, value) in [("endpoint", endpoint), ("region", region), ("account", account)] {
        if let Some(value) = value {
            toml.text(key, value);
        }
    }
    if let Some(addressing) = addressing {
        let word = match addressing {
            Addressing::Path => "path",
            Addressing::VirtualHost => "virtual_host",
        };
        toml.text("addressing", word);
    }
    if *allow_http {
        toml.line("allow_http", allow_http);
    }
    let files = [
        ("ca_file", ca_file),
        ("access_key_file", access_key_file),
        ("secret_key_file", secret_key_file),
        ("credentials_file", credentials_file),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            toml.path(key, file);
        }
    }
}

fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // Only a URL that cannot have a password refuses one, and this one has it.
            if parsed.set_password(Some(REDACTED)).is_err() { REDACTED.to_owned() } else { parsed.to_string() }
        }
        _ => url.to_owned(),
    }
}

fn print_keys(keys: &KeysConfig, toml: &mut Toml) {
    let KeysConfig { recipients, identity_file } = keys;
    let recipients: Vec<String> = recipients.iter().map(|recipient| quoted(recipient)).collect();
    toml.table("[keys]")
        .line("recipients", format!("[{}]", recipients.join(", ")))
        .path("identity_file", identity_file);
}

fn print_backup(backup: &BackupConfig, toml: &mut Toml) {
    let BackupConfig {
        backup_every,
        chunk_records,
        scan_cursors,
        journal_every,
        segment_bytes,
        idle_head_every,
        retention,
        prune_every,
        prune_grace,
        deleted_lifetime,
        merge_after,
        look_every,
        scrub_every,
        rescan_every,
    } = backup;
    toml.table("[backup]").duration("backup_every", *backup_every).line("chunk_records", chunk_records);
    toml.line("scan_cursors", scan_cursors).duration("journal_every", *journal_every);
    toml.line("segment_bytes", segment_bytes).duration("idle_head_every", *idle_head_every);
    toml.duration("look_every", *look_every).duration("scrub_every", *scrub_every);
    toml.duration("rescan_every", *rescan_every);
    toml.duration("prune_every", *prune_every).duration("prune_grace", *prune_grace);
    toml.duration("deleted_lifetime", *deleted_lifetime).duration("merge_after", *merge_after);
    let RetentionConfig { keep_within, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly } =
        retention;
    toml.table("[backup.retention]").duration("keep_within", *keep_within).line("keep_last", keep_last);
    toml.line("keep_hourly", keep_hourly).line("keep_daily", keep_daily).line("keep_weekly", keep_weekly);
    toml.line("keep_monthly", keep_monthly).line("keep_yearly", keep_yearly);
}

#[derive(Default)]
struct Toml(String);

impl Toml {
    fn table(&mut self, header: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(header);
        self.0.push('\n');
        self
    }

    fn line(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.0.extend([key, " = ", &value.to_string(), "\n"]);
        self
    }

    fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.line(key, quoted(value))
    }

    fn path(&mut self, key: &str, value: &Path) -> &mut Self {
        self.text(key, &value.to_string_lossy())
    }

    fn duration(&mut self, key: &str, value: Duration) -> &mut Self {
        self.text(key, &humantime::format_duration(value).to_string())
    }
}

/// A JSON string is a TOML string, escapes included.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
