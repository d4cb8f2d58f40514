//! ZooKeeper over TLS: every node belongs to the certificate of the service, and to nobody else.

use std::path::Path;
use std::time::Duration;

use zookeeper_client::{Acls, Client, CreateMode, Error, Permission, TlsOptions};

use crate::doctor::doctor;
use crate::harness::certificates::Authority;
use crate::harness::parts::{self, Part};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// What the server grants at most; the service asks for more.
const GRANTED: Duration = Duration::from_secs(4);

/// A ZooKeeper that speaks nothing but TLS, to nobody without a certificate of the authority.
fn secure_zookeeper(folder: &Path, authority: &Authority) -> Part {
    let (certificate, key) = authority.sign("server");
    let read = |file: &str| std::fs::read_to_string(file).expect("read a file");
    let store = folder.join("server-store.pem");
    std::fs::write(&store, read(&key) + &read(&certificate)).expect("write a file");
    let (store, trusted) = (store.display(), authority.certificate());
    parts::zookeeper_with(folder, |port| {
        format!(
            "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\nmaxSessionTimeout={}\n\
             serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider\n\
             ssl.clientAuth=need\nssl.keyStore.location={store}\nssl.keyStore.type=PEM\n\
             ssl.trustStore.location={trusted}\nssl.trustStore.type=PEM\n",
            GRANTED.as_millis(),
        )
    })
}

async fn client(server: &str, authority: &Authority, name: &str) -> Result<Client, Error> {
    let (certificate, key) = authority.sign(name);
    let read = |file: &str| std::fs::read_to_string(file).expect("read a file");
    let options = TlsOptions::new().with_pem_ca(&read(&authority.certificate())).expect("take the authority");
    let options = options.with_pem_identity(&read(&certificate), &read(&key)).expect("take the certificate");
    let connector = Client::connector().with_session_timeout(Duration::from_secs(4)).with_fail_eagerly();
    connector.with_tls(options).secure_connect(server).await
}

/// Every node from `root` on, as this client may list them.
async fn nodes(client: &Client, root: &str) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![root.to_owned()]);
    while let Some(path) = left.pop() {
        let children = client.list_children(&path).await.expect("list the children");
        left.extend(children.into_iter().map(|child| format!("{path}/{child}")));
        found.push(path);
    }
    found
}

fn the_doctor_connects_as_the_service_does(stack: &Stack, authority: &Authority) {
    let (certificate, key) = authority.sign("rollkeeper");
    let report = doctor(stack, |text| text);
    report.expect("zookeeper", "session", "warning", "granted");
    report.expect("zookeeper", "rights", "ok", "made and deleted");
    report.expect("zookeeper", "acl", "ok", "none of");
    let (foreign_certificate, foreign_key) = authority.sign("other");
    let report = doctor(stack, |text| text.replace(&certificate, &foreign_certificate).replace(&key, &foreign_key));
    report.expect("zookeeper", "rights", "failed", "no node can be made");
    let strangers = Authority::new(&stack.folder.path().join("strangers"));
    let (stranger, strange_key) = strangers.sign("rollkeeper");
    let report = doctor(stack, |text| text.replace(&certificate, &stranger).replace(&key, &strange_key));
    assert_eq!(report.find("zookeeper", "session")[0]["state"], "failed", "{:#}", report.json);
}

#[tokio::test]
async fn every_node_belongs_to_the_certificate_of_the_service_and_to_nobody_else() {
    let folder = tempfile::tempdir().expect("make a folder");
    let authority = Authority::new(&folder.path().join("certificates"));
    let zookeeper = secure_zookeeper(folder.path(), &authority);
    let server = zookeeper.address();
    let own = eventually("the server takes a certificate", Duration::from_mins(1), async || {
        client(&server, &authority, "rollkeeper").await.ok()
    })
    .await;
    let (certificate, key) = authority.sign("rollkeeper");
    let tls = format!(
        "[zookeeper.tls]\nca_file = \"{}\"\ncert_file = \"{certificate}\"\nkey_file = \"{key}\"",
        authority.certificate()
    );
    let settings = Settings {
        session_timeout: "6s".to_owned(),
        zookeeper: Some(server.clone()),
        zookeeper_extra: tls,
        ..Settings::default()
    };
    let mut stack = Stack::start(settings).await;
    stack.department("eng").await;
    stack.backup("eng").await;

    let root = stack.place.chroot.clone();
    let nodes = nodes(&own, &root).await;
    assert!(nodes.len() >= 10, "{nodes:?}");
    for node in &nodes {
        let (acls, _) = own.get_acl(node).await.expect("read the ACL");
        let [acl] = acls.as_slice() else { panic!("{node} has {acls:?}") };
        assert_eq!((acl.scheme(), acl.id()), ("x509", "CN=rollkeeper"), "{node}");
        let rights = Permission::READ | Permission::WRITE | Permission::CREATE | Permission::DELETE;
        assert_eq!(acl.permission(), rights, "{node}");
    }
    let other = client(&server, &authority, "other").await.expect("be a client");
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    for node in &nodes {
        assert_eq!(other.get_data(node).await.err(), Some(Error::NoAuth), "{node} can be read");
        assert_eq!(other.set_data(node, b"x", None).await.err(), Some(Error::NoAuth), "{node} can be written");
        let child = format!("{node}/foreign");
        // An ephemeral node can have no child, whoever asks.
        let created = other.create(&child, b"", &options).await.err();
        assert!(matches!(created, Some(Error::NoAuth | Error::NoChildrenForEphemerals)), "{child}: {created:?}");
    }
    let leader = format!("{root}/departments/eng/leader");
    assert_eq!(other.delete(&leader, None).await.err(), Some(Error::NoAuth));
    let plain = Client::connector().with_session_timeout(Duration::from_secs(2)).with_fail_eagerly();
    assert!(plain.connect(&server).await.is_err(), "a client without TLS gets no session");
    assert!(client(&server, &Authority::new(&folder.path().join("foreign")), "rollkeeper").await.is_err());

    let alarms =
        async |stack: &Stack| stack.client().get("/cluster").await.expect(200).json["zookeeper_alarms"].clone();
    eventually("the shorter session is told", Duration::from_secs(30), async || {
        let alarms = alarms(&stack).await;
        let alarms = alarms.as_array().expect("have alarms");
        assert!(alarms.iter().all(|alarm| alarm["code"] != "zookeeper_open_nodes"), "{alarms:?}");
        alarms.iter().any(|alarm| alarm["code"] == "zookeeper_session_timeout").then_some(())
    })
    .await;

    the_doctor_connects_as_the_service_does(&stack, &authority);

    // The session of before has ended while the doctor was waited for.
    let own = client(&server, &authority, "rollkeeper").await.expect("be a client");
    own.create(&format!("{root}/departments/open"), b"", &options).await.expect("create an open node");
    stack.replicas[0].stop();
    stack.replicas[0].restart();
    eventually("the open node is told", Duration::from_secs(30), async || {
        let answer = stack.client().try_send(reqwest::Method::GET, "/cluster", &[], None).await.ok()?;
        let alarms = answer.json["zookeeper_alarms"].as_array()?.clone();
        let open = alarms.iter().find(|alarm| alarm["code"] == "zookeeper_open_nodes")?;
        open["message"].as_str()?.contains("1 nodes below").then_some(())
    })
    .await;
    doctor(&stack, |text| text).expect("zookeeper", "acl", "failed", "departments/open");
}
