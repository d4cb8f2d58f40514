//! Targets that are buckets of S3, Google or Azure.
//!
//! Rule: one request is repeated a few times within the time that an operation has, and never outlasts it, so that a store
//! that hangs gives its permits back. An object is put whole in one request, so a bucket never has half of one.

mod credentials;
mod failure;
mod mark;

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, GetOptions, GetRange, HeaderValue, ObjectStore, RetryConfig,
};
use secrecy::ExposeSecret;

use crate::config::buckets::{Bucket, Provider, role_of_machine};
use crate::config::targets::{Addressing, TargetConfig};
use credentials::KeyFiles;

pub(super) use failure::outcome_unknown;
pub(super) use mark::Marked;

/// Longest time for a connection to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The first pause before a request is repeated; later ones are longer, at random.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause before a request is repeated.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often a request is repeated that the store could not answer. What fails for longer is owed and caught up.
const REPEATED_MAX: usize = 4;
/// The region where none is named.
const REGION: &str = "us-east-1";

/// Opens the bucket of a target. Asks the store nothing.
pub(super) fn open(config: &TargetConfig, bucket: &Bucket, timeout: Duration) -> Result<Arc<Marked>, String> {
    let at = format!("target `{}`", config.name);
    let certificates = config.certificates(&at).map_err(|error| error.to_string())?;
    let options = client_options(config, certificates.as_deref(), timeout)?;
    let built = match bucket.provider {
        Provider::S3 => s3(config, bucket, options, timeout),
        Provider::Google => google(config, bucket, options, timeout),
        Provider::Azure => azure(config, bucket, options, timeout),
    };
    let whole = built?;
    let store: Arc<dyn ObjectStore> = match bucket.prefix.as_str() {
        "" => whole,
        prefix => Arc::new(PrefixStore::new(whole, Path::from(prefix))),
    };
    let place = match &config.endpoint {
        Some(endpoint) => format!("bucket `{}` at {endpoint}", bucket.name),
        None => format!("bucket `{}`", bucket.name),
    };
    Ok(Arc::new(Marked::new(store, place)))
}

fn client_options(config: &TargetConfig, pem: Option<&str>, timeout: Duration) -> Result<ClientOptions, String> {
    let agent = HeaderValue::from_static(concat!("rollkeeper/", env!("CARGO_PKG_VERSION")));
    let mut options = ClientOptions::new()
        .with_user_agent(agent)
        .with_allow_http(config.allow_http)
        .with_timeout(timeout)
        .with_connect_timeout(CONNECT_MAX.min(timeout));
    if let Some(pem) = pem {
        let certificates = Certificate::from_pem_bundle(pem.as_bytes());
        for certificate in certificates.map_err(|_| "its ca_file holds a certificate that cannot be read".to_owned())? {
            options = options.with_root_certificate(certificate);
        }
    }
    // Where http is spoken no certificate is needed, so a machine without any must not be a reason to fail.
    Ok(options.with_no_system_certificates(pem.is_some() || config.allow_http))
}

fn retry(timeout: Duration) -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: PAUSE_FIRST, max_backoff: PAUSE_MAX, base: 2.0 };
    RetryConfig { backoff, max_retries: REPEATED_MAX, retry_timeout: timeout / 2 }
}

fn s3(
    config: &TargetConfig,
    bucket: &Bucket,
    options: ClientOptions,
    timeout: Duration,
) -> Result<Arc<dyn ObjectStore>, String> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(config.region.as_deref().unwrap_or(REGION))
        .with_client_options(options)
        .with_retry(retry(timeout))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Not every store takes deletions by the list, and we delete one object at a time.
        .with_disable_bulk_delete(true);
    let in_host = config.addressing() == Addressing::VirtualHost;
    builder = builder.with_virtual_hosted_style_request(in_host);
    if let Some(endpoint) = &config.endpoint {
        let endpoint = if in_host { with_bucket_in_host(endpoint, &bucket.name) } else { endpoint.clone() };
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if let Some(files) = KeyFiles::open(config).map_err(|error| error.to_string())? {
        builder = builder.with_credentials(Arc::new(files));
    } else {
        for (variable, value) in role_of_machine() {
            if let Ok(key) = variable.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
    }
    Ok(Arc::new(builder.build().map_err(|error| unusable(&error))?))
}

fn with_bucket_in_host(endpoint: &str, bucket: &str) -> String {
    endpoint.replacen("://", &format!("://{bucket}."), 1)
}

fn google(
    config: &TargetConfig,
    bucket: &Bucket,
    options: ClientOptions,
    timeout: Duration,
) -> Result<Arc<dyn ObjectStore>, String> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&bucket.name)
        .with_client_options(options)
        .with_retry(retry(timeout));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    let Some(key) = config.one_secret("its configuration").map_err(|error| error.to_string())? else {
        return Ok(Arc::new(builder.build().map_err(|error| unusable(&error))?));
    };
    builder = builder.with_service_account_key(key.expose_secret());
    // The words of the library may repeat the key.
    Ok(Arc::new(builder.build().map_err(|_| "its credentials_file is not the key of a service account".to_owned())?))
}

fn azure(
    config: &TargetConfig,
    bucket: &Bucket,
    options: ClientOptions,
    timeout: Duration,
) -> Result<Arc<dyn ObjectStore>, String> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(&bucket.name)
        .with_account(config.account.as_deref().unwrap_or_default())
        .with_client_options(options)
        .with_retry(retry(timeout));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    if let Some(key) = config.one_secret("its configuration").map_err(|error| error.to_string())? {
        builder = builder.with_access_key(key.expose_secret());
    }
    Ok(Arc::new(builder.build().map_err(|_| "its account or its secret_key_file is not valid".to_owned())?))
}

/// Size of an object, by asking for its first byte: an answer to HEAD would have no words that say why not.
pub(super) async fn size(store: &dyn ObjectStore, at: &Path) -> object_store::Result<u64> {
    let first = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
    match store.get_opts(at, first).await {
        Ok(found) => {
            let size = found.meta.size;
            // Read to its end, so that the connection serves again.
            found.bytes().await.map(|_| size)
        }
        Err(error) if failure::has_no_first_byte(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

fn unusable(error: &object_store::Error) -> String {
    format!("its client cannot be made ({error}); where certificates are missing, install them or name a ca_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_opens_without_asking_anybody() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name))
        };
        let endpoint = Some("http://127.0.0.1:1".to_owned());
        let http =
            |url: &str| TargetConfig { endpoint: endpoint.clone(), allow_http: true, ..TargetConfig::at("a", url) };
        let targets = [
            http("s3://rolls/east"),
            TargetConfig { access_key_file: file("id", "x"), secret_key_file: file("key", "y"), ..http("s3://rolls") },
            TargetConfig { account: Some("me".to_owned()), secret_key_file: file("az", "eA=="), ..http("az://rolls") },
        ];
        for target in targets {
            assert_eq!(target.findings("t"), []);
            open(&target, &target.bucket().unwrap(), Duration::from_secs(5)).unwrap();
        }
    }

    #[test]
    fn a_bucket_goes_into_the_host_of_an_endpoint() {
        assert_eq!(with_bucket_in_host("https://h:9000", "rolls"), "https://rolls.h:9000");
    }

    #[test]
    fn a_key_that_cannot_be_used_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "hunter2").unwrap();
        for target in [
            TargetConfig { credentials_file: Some(file.clone()), ..TargetConfig::at("a", "gs://rolls") },
            TargetConfig { credentials_file: Some(file.clone()), ..TargetConfig::at("a", "s3://rolls") },
        ] {
            let refused = open(&target, &target.bucket().unwrap(), Duration::from_secs(5)).unwrap_err();
            assert!(!refused.contains("hunter2") && refused.contains("file"), "{refused}");
        }
    }
}
