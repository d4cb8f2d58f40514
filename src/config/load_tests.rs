//! Tests of loading and checking the configuration.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;

/// A folder with a configuration that works.
struct Folder {
    dir: TempDir,
    recipient: String,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = age::x25519::Identity::generate();
        std::fs::write(dir.path().join("identity"), identity.to_string().expose_secret()).unwrap();
        std::fs::write(dir.path().join("token"), "t".repeat(40)).unwrap();
        let folder = Self { dir, recipient: identity.to_public().to_string() };
        folder.write(&folder.good());
        folder
    }

    fn good(&self) -> String {
        let here = self.dir.path().display();
        format!(
            "[mongodb]\nuri = 'mongodb://u:hunter2@127.0.0.1/'\n[zookeeper]\nconnect = '127.0.0.1:2181'\n\
             [targets]\nlist = [{{ name = 'a', url = 'file://{here}/a' }}, {{ name = 'b', url = 'file://{here}/b' }}]\n\
             [keys]\nrecipients = ['{}']\nidentity_file = '{here}/identity'\n\
             [auth]\nbootstrap_token_file = '{here}/token'\n",
            self.recipient
        )
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("rollkeeper.toml")
    }

    fn load(&self, environment: &[(&str, &str)], overrides: &[&str]) -> Result<Config, ConfigError> {
        let environment: HashMap<_, _> =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let overrides: Vec<_> = overrides.iter().map(|flag| (*flag).to_owned()).collect();
        Config::load_from(Some(&self.file()), environment, &overrides)
    }

    fn refusal(&self, overrides: &[&str]) -> String {
        self.load(&[], overrides).unwrap_err().to_string()
    }
}

#[test]
fn a_file_with_the_required_keys_is_enough() {
    let folder = Folder::new();
    let config = folder.load(&[], &[]).unwrap();
    assert_eq!(config.zookeeper.session_timeout, Duration::from_secs(6));
    assert_eq!(config.zookeeper.balance_after, Duration::from_mins(1));
    assert_eq!(config.targets.list.len(), 2);
    assert_eq!(config.auth.bootstrap_token().unwrap().expose_secret(), "t".repeat(40));
}

#[test]
fn a_variable_wins_over_the_file_and_a_flag_over_the_variable() {
    let folder = Folder::new();
    let variable = [("ROLLKEEPER__HTTP__LISTEN", "0.0.0.0:1"), ("ROLLKEEPER__RESTORE__RANGE_RECORDS", "17")];
    let config = folder.load(&variable, &[]).unwrap();
    assert_eq!(config.http.listen.port(), 1);
    assert_eq!(config.restore.range_records, 17);
    let config = folder.load(&variable, &["http.listen=0.0.0.0:2"]).unwrap();
    assert_eq!(config.http.listen.port(), 2);
}

#[test]
fn variables_reach_nested_keys_options_durations_and_texts_that_look_like_numbers() {
    let variables = [
        ("ROLLKEEPER__HTTP__ARGON2__MEMORY_KIB", "65536"),
        ("ROLLKEEPER__TARGETS__WRITE_QUORUM", "2"),
        ("ROLLKEEPER__ZOOKEEPER__SESSION_TIMEOUT", "10s"),
        ("ROLLKEEPER__REPLICA__ID", "007"),
        ("ROLLKEEPER__TELEMETRY__FORMAT", "text"),
        ("ROLLKEEPER_PORT", "tcp://ignored"),
    ];
    let config = Folder::new().load(&variables, &[]).unwrap();
    assert_eq!(config.http.argon2.memory_kib, 65_536);
    assert_eq!(config.targets.write_quorum, Some(2));
    assert_eq!(config.zookeeper.session_timeout, Duration::from_secs(10));
    assert_eq!(config.replica.id.as_deref(), Some("007"));
    assert_eq!(config.telemetry.format, super::super::telemetry::LogFormat::Text);
}

#[test]
fn lists_in_variables_are_separated_by_commas() {
    let folder = Folder::new();
    let escrow = age::x25519::Identity::generate().to_public().to_string();
    let recipients = format!("{}, {escrow}", folder.recipient);
    let targets = "x=file:///srv/x,y=file:///srv/y,z=file:///srv/z";
    let variables = [("ROLLKEEPER__KEYS__RECIPIENTS", recipients.as_str()), ("ROLLKEEPER__TARGETS__LIST", targets)];
    let config = folder.load(&variables, &[]).unwrap();
    assert_eq!(config.keys.recipients, [folder.recipient.clone(), escrow]);
    let names: Vec<_> = config.targets.list.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["x", "y", "z"]);
}

#[test]
fn an_unknown_key_is_refused_by_name_wherever_it_stands() {
    let folder = Folder::new();
    assert!(folder.refusal(&["http.lisen=0.0.0.0:1"]).contains("lisen"));
    let error = folder.load(&[("ROLLKEEPER__HTPP__LISTEN", "0.0.0.0:1")], &[]).unwrap_err().to_string();
    assert!(error.contains("htpp"), "{error}");
    folder.write(&format!("{}\n[restore]\nrange_recods = 3\n", folder.good()));
    let error = folder.refusal(&[]);
    assert!(error.contains("restore") && error.contains("range_recods"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_key() {
    let error = Folder::new().refusal(&["restore.range_records=many"]);
    assert!(error.starts_with("restore.range_records: "), "{error}");
    let error = Folder::new().refusal(&["zookeeper.session_timeout=6"]);
    assert!(error.contains("zookeeper.session_timeout") && error.contains("not a duration"), "{error}");
}

#[test]
fn a_missing_section_is_refused_by_name() {
    let folder = Folder::new();
    folder.write("[mongodb]\nuri = 'mongodb://127.0.0.1/'\n");
    assert!(folder.refusal(&[]).contains("zookeeper"));
}

#[test]
fn all_problems_are_listed_at_once() {
    let error = Folder::new().refusal(&[
        "zookeeper.session_timeout=1s",
        "zookeeper.chroot=rollkeeper",
        "zookeeper.balance_after=0s",
        "targets.write_quorum=3",
        "restore.range_records=1001",
        "restore.range_bytes=8388609",
        "backup.chunk_records=4097",
        "backup.backup_every=9s",
        "http.argon2.memory_kib=1",
        "http.drain_notice=20s",
        "mongodb.uri_file=/nowhere",
        "auth.bootstrap_token_file=/nowhere",
        "telemetry.level=in=fo=x",
    ]);
    for key in [
        "zookeeper.session_timeout",
        "zookeeper.chroot",
        "zookeeper.balance_after",
        "targets.write_quorum",
        "restore.range_records",
        "restore.range_bytes",
        "backup.chunk_records",
        "backup.backup_every",
        "http.argon2.memory_kib",
        "http.drain_notice",
        "mongodb.uri",
        "auth.bootstrap_token_file",
        "telemetry.level",
    ] {
        assert!(error.lines().any(|line| line.starts_with(key)), "{key} is missing in:\n{error}");
    }
    assert_eq!(error.lines().count(), 13, "{error}");
}

#[test]
fn audit_records_are_kept_for_400_days_unless_something_sensible_is_said() {
    let folder = Folder::new();
    let days = |days: u64| Duration::from_hours(days * 24);
    assert_eq!(folder.load(&[], &[]).unwrap().auth.audit_lifetime, days(400));
    assert_eq!(folder.load(&[], &["auth.audit_lifetime=30d"]).unwrap().auth.audit_lifetime, days(30));
    for bad in ["auth.audit_lifetime=23h", "auth.audit_lifetime=3651d"] {
        assert!(folder.refusal(&[bad]).contains("auth.audit_lifetime"), "{bad}");
    }
}

#[test]
fn a_limit_is_given_whole_or_not_at_all() {
    let folder = Folder::new();
    let error = folder.refusal(&["limits.verify_user.burst=0", "limits.verify_user.per_minute=5"]);
    assert!(error.contains("limits.verify_user: "), "{error}");
    let half = ["limits.requests.burst=1", "limits.requests.per_minute=0"];
    let error = folder.refusal(&[&["limits.in_flight=0", "limits.header_timeout=10ms"], &half[..]].concat());
    for key in ["limits.in_flight: ", "limits.header_timeout: ", "limits.requests: "] {
        assert!(error.contains(key), "{key} is missing in:\n{error}");
    }
    let none = ["limits.verify_user.burst=0", "limits.verify_user.per_minute=0"];
    assert_eq!(folder.load(&[], &none).unwrap().limits.verify_user.burst, 0);
}

#[test]
fn targets_need_names_of_their_own_places_of_their_own_and_known_schemes() {
    let error = Folder::new().refusal(&["targets.list=a=file:///x,a=file:///x/,b=ftp://host/x"]);
    for key in ["targets.list[1].name", "targets.list[1].url", "targets.list[2].url"] {
        assert!(error.contains(key), "{key} is missing in:\n{error}");
    }
}

#[test]
fn the_keys_of_a_bucket_are_checked_and_printed_and_the_credentials_are_not() {
    let folder = Folder::new();
    let here = folder.dir.path().display();
    std::fs::write(folder.dir.path().join("keys"), "aws_access_key_id=AKIA\naws_secret_access_key=hunter3\n").unwrap();
    let bucket = format!(
        "[[targets.list]]\nname = 'c'\nurl = 's3://rolls/x'\nendpoint = 'http://127.0.0.1:9'\nregion = 'eu'\n\
         addressing = 'virtual_host'\nallow_http = true\ncredentials_file = '{here}/keys'\n"
    );
    let with = |target: &str| {
        let list = format!("[[targets.list]]\nname = 'a'\nurl = 'file://{here}/a'\n{target}");
        let good = folder.good();
        let (before, after) = (good.find("list = ").unwrap(), good.find("[keys]").unwrap());
        folder.write(&format!("{}{list}{}", &good[..before], &good[after..]));
    };
    with(&bucket);
    let printed = folder.load(&[], &[]).unwrap().to_redacted_toml();
    for line in ["region = \"eu\"", "addressing = \"virtual_host\"", "allow_http = true", "credentials_file = "] {
        assert!(printed.contains(line), "{printed}");
    }
    assert!(!printed.contains("hunter3") && !printed.contains("AKIA"), "{printed}");
    folder.write(&printed);
    let again = folder.load(&[], &["mongodb.uri=mongodb://127.0.0.1/"]).unwrap();
    assert_eq!(again.to_redacted_toml(), printed);

    with(&bucket.replace("allow_http = true", "secret_key = 'hunter3'"));
    let refused = folder.refusal(&[]);
    assert!(refused.contains("secret_key") && !refused.contains("hunter3"), "{refused}");
    with(&bucket.replace("allow_http = true", "account = 'x'"));
    let refused = folder.refusal(&[]);
    assert!(refused.contains("targets.list[1].account") && refused.contains("targets.list[1].endpoint"), "{refused}");
}

#[test]
fn a_short_token_and_an_identity_that_is_no_recipient_are_refused() {
    let folder = Folder::new();
    std::fs::write(folder.dir.path().join("token"), "short").unwrap();
    let other = age::x25519::Identity::generate().to_public().to_string();
    let error = folder.refusal(&[&format!("keys.recipients={other}")]);
    assert!(error.contains("auth.bootstrap_token_file") && error.contains("keys.recipients"), "{error}");
}

#[test]
fn a_named_file_that_is_absent_or_not_toml_is_refused_with_its_path() {
    let error = Config::load_from(Some(Path::new("/nowhere/r.toml")), HashMap::new(), &[]).unwrap_err().to_string();
    assert!(error.contains("/nowhere/r.toml"), "{error}");
    let folder = Folder::new();
    folder.write("[http\n");
    assert!(folder.refusal(&[]).contains("rollkeeper.toml"));
}

#[test]
fn the_variable_names_the_file_where_no_flag_does() {
    let folder = Folder::new();
    let environment = HashMap::from([(FILE_VARIABLE.to_owned(), folder.file().display().to_string())]);
    assert!(Config::load_from(None, environment, &[]).is_ok());
}

#[test]
fn the_printed_configuration_hides_the_uri_and_reads_back() {
    let folder = Folder::new();
    let printed = folder.load(&[], &["replica.id=r-1", "targets.write_quorum=2"]).unwrap().to_redacted_toml();
    assert!(printed.contains("uri = \"***\"") && !printed.contains("hunter2"), "{printed}");
    folder.write(&printed);
    let again = folder.load(&[], &["mongodb.uri=mongodb://127.0.0.1/"]).unwrap();
    assert_eq!(again.to_redacted_toml(), printed);
}

#[test]
fn metrics_have_a_listener_of_their_own_or_a_token_and_are_printed_as_they_are() {
    let folder = Folder::new();
    let config = folder.load(&[], &[]).unwrap();
    assert!(config.telemetry.metrics_listen.is_none() && !config.telemetry.metrics_public);
    let variables =
        [("ROLLKEEPER__TELEMETRY__METRICS_LISTEN", "0.0.0.0:9100"), ("ROLLKEEPER__TELEMETRY__METRICS_PUBLIC", "true")];
    let printed = folder.load(&variables, &[]).unwrap().to_redacted_toml();
    assert!(printed.contains("metrics_listen = \"0.0.0.0:9100\"\nmetrics_public = true\n"), "{printed}");
    let error = folder.refusal(&["http.listen=127.0.0.1:9100", "telemetry.metrics_listen=127.0.0.1:9100"]);
    assert!(error.starts_with("telemetry.metrics_listen"), "{error}");
}

#[test]
fn traces_are_off_unless_a_collector_is_named_by_an_address_without_credentials() {
    let folder = Folder::new();
    assert!(folder.load(&[], &[]).unwrap().telemetry.otlp_endpoint.is_none());
    let variables = [("ROLLKEEPER__TELEMETRY__OTLP_ENDPOINT", "http://otel:4318")];
    let printed = folder.load(&variables, &[]).unwrap().to_redacted_toml();
    assert!(printed.contains("otlp_endpoint = \"http://otel:4318\"\n"), "{printed}");
    for bad in ["otel:4318", "grpc://otel:4317", "http://user:hunter2@otel:4318", "http://"] {
        let error = folder.refusal(&[&format!("telemetry.otlp_endpoint={bad}")]);
        assert!(error.starts_with("telemetry.otlp_endpoint") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn no_error_and_no_debug_text_repeats_the_connection_string() {
    let folder = Folder::new();
    let config = folder.load(&[], &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = folder.refusal(&["mongodb.uri=hunter2-is-not-a-uri", "mongodb.uri_file=/nowhere"]);
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn tls_to_zookeeper_needs_files_in_pem_and_a_key_with_its_certificate() {
    let folder = Folder::new();
    let path = |name: &str| folder.dir.path().join(name).display().to_string();
    std::fs::write(path("ca"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    std::fs::write(path("key"), "no key").unwrap();
    let ca = format!("zookeeper.tls.ca_file={}", path("ca"));
    let (certificate, key) =
        (format!("zookeeper.tls.cert_file={}", path("ca")), format!("zookeeper.tls.key_file={}", path("key")));
    let config = folder.load(&[], &[&ca]).unwrap();
    assert!(config.to_redacted_toml().contains("[zookeeper.tls]\nca_file = "), "{}", config.to_redacted_toml());
    assert!(folder.refusal(&[&ca, &certificate]).contains("only one of cert_file and key_file"));
    let error = folder.refusal(&[&ca, &certificate, &key]);
    assert!(error.starts_with("zookeeper.tls.key_file") && error.lines().count() == 1, "{error}");
    assert!(folder.refusal(&["zookeeper.tls.ca_file=/nowhere"]).starts_with("zookeeper.tls.ca_file"));
    let named = folder.refusal(&[&ca, "zookeeper.connect=no name:2181"]);
    assert!(named.contains("a server has no name that a certificate could have"), "{named}");
}
