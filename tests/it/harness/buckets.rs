//! Buckets of a test's own on the S3 server of the run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use reqwest::Method;
use rollkeeper::config::targets::{TargetConfig, TargetsConfig};
use rollkeeper::domain::clock::Clock;
use rollkeeper::targets::{Target, Targets};
use tempfile::TempDir;

use super::{eventually, unique, variable};

/// Keys that the server has never heard of.
pub(crate) const WRONG_KEYS: &str = "aws_access_key_id = nobody\naws_secret_access_key = knows-this\n";

/// A bucket and the file with the keys that replicas use for it.
#[derive(Debug)]
pub(crate) struct Bucket {
    name: String,
    store: AmazonS3,
    folder: TempDir,
}

impl Bucket {
    /// Makes a bucket that no other test has.
    pub(crate) async fn make() -> Self {
        let bucket = Self::unmade();
        bucket.make_again().await;
        bucket
    }

    /// A bucket that is not there.
    pub(crate) fn unmade() -> Self {
        let name = unique("it").replace('_', "-");
        let folder = tempfile::tempdir().expect("make a folder");
        let (id, secret) = keys("MAKER");
        let store = AmazonS3Builder::new()
            .with_bucket_name(&name)
            .with_region("us-east-1")
            .with_endpoint(endpoint())
            .with_allow_http(true)
            .with_access_key_id(id)
            .with_secret_access_key(secret)
            .build()
            .expect("make a client");
        let bucket = Self { name, store, folder };
        bucket.give_right_keys();
        bucket
    }

    /// The target in the configuration, at the server itself.
    pub(crate) fn target(&self, name: &str) -> String {
        self.target_at(name, &endpoint())
    }

    /// The target in the configuration, through what listens at an address.
    pub(crate) fn target_through(&self, name: &str, address: &str) -> String {
        self.target_at(name, &format!("http://{address}"))
    }

    fn target_at(&self, name: &str, endpoint: &str) -> String {
        format!(
            "[[targets.list]]\nname = \"{name}\"\nurl = \"s3://{}/rolls\"\nendpoint = \"{endpoint}\"\nallow_http = true\n\
             credentials_file = \"{}\"\n",
            self.name,
            self.key_file().display()
        )
    }

    /// The target as a replica opens it, through what listens at an address.
    pub(crate) fn open_through(&self, address: &str) -> Arc<Target> {
        let one = TargetConfig {
            endpoint: Some(format!("http://{address}")),
            allow_http: true,
            credentials_file: Some(self.key_file()),
            ..TargetConfig::at("east", format!("s3://{}/rolls", self.name))
        };
        let config = TargetsConfig { write_quorum: None, operation_timeout: Duration::from_secs(5), list: vec![one] };
        let targets = Targets::open(&config, &Clock::System).expect("open the target");
        Arc::clone(targets.iter().next().expect("have one"))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Exchanges the keys that replicas use for it.
    pub(crate) fn give_keys(&self, text: &str) {
        let anew = self.folder.path().join("keys-anew");
        std::fs::write(&anew, text).expect("write keys");
        std::fs::rename(anew, self.key_file()).expect("exchange the keys");
    }

    /// Gives replicas the keys that work.
    pub(crate) fn give_right_keys(&self) {
        let (id, secret) = keys("USER");
        self.give_keys(&format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"));
    }

    /// Deletes the bucket and everything in it.
    pub(crate) async fn delete(&self) {
        // A server that still has objects in it may refuse.
        for path in self.paths().await {
            self.store.delete(&Path::from(path)).await.expect("delete an object");
        }
        self.signed(Method::DELETE).await;
    }

    /// Makes it after it was deleted.
    pub(crate) async fn make_again(&self) {
        self.signed(Method::PUT).await;
    }

    async fn signed(&self, method: Method) {
        let client = reqwest::Client::new();
        eventually(&format!("{method} {}", self.name), Duration::from_mins(1), async || {
            let url =
                self.store.signed_url(method.clone(), &Path::default(), Duration::from_mins(1)).await.expect("sign");
            let answer = client.request(method.clone(), url).body("").send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// The paths of all objects in it, sorted.
    pub(crate) async fn paths(&self) -> Vec<String> {
        let found = self.store.list(None).map_ok(|meta| meta.location.to_string()).try_collect::<Vec<_>>().await;
        let mut paths = found.expect("list the bucket");
        paths.sort();
        paths
    }

    /// Puts something in place of an object.
    pub(crate) async fn put(&self, path: &str, text: &'static str) {
        self.store.put(&Path::from(path), text.into()).await.expect("put an object");
    }

    /// The bytes of an object.
    pub(crate) async fn get(&self, path: &str) -> bytes::Bytes {
        let found = self.store.get(&Path::from(path)).await.expect("get an object");
        found.bytes().await.expect("read an object")
    }

    /// Deletes everything in it, and leaves the bucket.
    pub(crate) async fn empty(&self) {
        for path in self.paths().await {
            self.store.delete(&Path::from(path)).await.expect("delete an object");
        }
    }
}

/// Where the server of the run answers.
pub(crate) fn endpoint() -> String {
    variable("ROLLKEEPER_TEST_S3")
}

/// `host:port` of the server of the run.
pub(crate) fn server() -> String {
    endpoint().trim_start_matches("http://").to_owned()
}

/// The keys of who may make buckets (`MAKER`), or of who may only use them (`USER`).
fn keys(whose: &str) -> (String, String) {
    let text = variable(&format!("ROLLKEEPER_TEST_S3_{whose}"));
    let (id, secret) = text.split_once(':').expect("be id:secret");
    (id.to_owned(), secret.to_owned())
}
