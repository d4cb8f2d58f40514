//! Examines ZooKeeper for `rollkeeper doctor`: every server, the session that is granted, the chroot and its ACLs.
//!
//! Rule: what it writes is one ephemeral node beside those that replicas look at.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zookeeper_client::{Acl, Client, Error, Permission};

use super::nodes::Access;
use crate::config::zookeeper::ZookeeperConfig;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::exam::{Exam, Notes};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Nodes whose ACL is looked at.
const NODES_MAX: usize = 10_000;

/// What was found, and when ZooKeeper says that it did what was done at the other moment.
#[derive(Debug)]
pub struct ExaminedCluster {
    /// Everything that was looked at.
    pub exams: Vec<Exam>,
    /// Its time and ours.
    pub clock: Option<(Timestamp, Timestamp)>,
}

/// What a server says of itself.
#[derive(Debug, Default)]
struct Server {
    answers: bool,
    version: Option<String>,
    mode: Option<String>,
    tick_ms: Option<u64>,
    sync_limit: Option<u64>,
}

/// Looks at everything of ZooKeeper that the service depends on.
pub async fn examine(config: &ZookeeperConfig, auth: Option<SecretString>, clock: &Clock) -> ExaminedCluster {
    let mut notes = Notes::of("zookeeper");
    examine_servers(&mut notes, config).await;
    let connecting = connect(config, auth.as_ref());
    let client = match timeout(WITHIN * 2, connecting).await {
        Ok(Ok(client)) => client,
        Ok(Err(Error::AuthFailed)) => {
            let remedy = "The file of zookeeper.auth_file holds `user:password` as it was when the chroot was made.";
            notes.failed("session", "it refuses the credentials", remedy);
            return ExaminedCluster { exams: notes.done(), clock: None };
        }
        other => {
            let why = match other {
                Ok(Err(error)) => error.to_string(),
                _ => format!("no session within {} s", (WITHIN * 2).as_secs()),
            };
            let remedy =
                "Check zookeeper.connect, and that the ensemble runs and has a quorum. Users are served without it.";
            notes.failed("session", why, remedy);
            return ExaminedCluster { exams: notes.done(), clock: None };
        }
    };
    let (asked, granted) = (config.session_timeout, client.session_timeout());
    if granted == asked {
        notes.ok("session", format!("granted with the timeout that was asked for, {asked:?}"));
    } else {
        let found = format!("asked for a timeout of {asked:?}, granted {granted:?}");
        let remedy = "Set zookeeper.session_timeout between the servers' minSessionTimeout and maxSessionTimeout, or change those.";
        notes.warning("session", found, remedy);
    }
    let looking = examine_tree(&mut notes, &client, config, auth.is_some(), clock);
    let clock = timeout(WITHIN * 4, looking).await;
    if clock.is_err() {
        notes.unknown("acl", "its nodes could not be read in time", "Try again when the ensemble is healthy.");
    }
    let clock = clock.ok().flatten();
    ExaminedCluster { exams: notes.done(), clock }
}

async fn connect(config: &ZookeeperConfig, auth: Option<&SecretString>) -> Result<Client, Error> {
    let mut connector = Client::connector().with_session_timeout(config.session_timeout);
    if let Some(auth) = auth {
        connector = connector.with_auth("digest", auth.expose_secret().as_bytes());
    }
    connector.connect(&config.connect).await
}

async fn examine_servers(notes: &mut Notes, config: &ZookeeperConfig) {
    let names: Vec<&str> = config.connect.split(',').map(str::trim).collect();
    let servers = futures::future::join_all(names.iter().map(|name| ask(name))).await;
    let silent: Vec<&str> =
        names.iter().zip(&servers).filter(|(_, server)| !server.answers).map(|(name, _)| *name).collect();
    let told: Vec<String> = servers
        .iter()
        .filter_map(|server| Some(format!("{} ({})", server.mode.as_deref()?, server.version.as_deref()?)))
        .collect();
    if silent.is_empty() {
        let told = if told.is_empty() { "they do not say what they are".to_owned() } else { told.join(", ") };
        notes.ok("servers", format!("{} of {} answer: {told}", names.len(), names.len()));
    } else if silent.len() < names.len() {
        let found = format!("{} of {} do not answer: {}", silent.len(), names.len(), silent.join(", "));
        notes.warning(
            "servers",
            found,
            "Start them, or take them out of zookeeper.connect: the next one that fails may cost the quorum.",
        );
    } else {
        let found = format!("none of {} takes a connection", names.join(", "));
        notes.failed("servers", found, "Check zookeeper.connect, that they run, and what lies between.");
        return;
    }
    examine_sync(notes, &servers, config.session_timeout);
}

/// A follower that is cut off from its leader must end its clients' connections before their leases end.
fn examine_sync(notes: &mut Notes, servers: &[Server], session_timeout: Duration) {
    let standalone = servers.len() == 1 && servers.iter().all(|server| server.mode.as_deref() == Some("standalone"));
    if standalone {
        return notes.ok("sync_limit", "one server alone has nobody to follow");
    }
    let limits = servers.iter().filter_map(|server| Some(Duration::from_millis(server.tick_ms? * server.sync_limit?)));
    let (half, longest) = (session_timeout / 2, limits.max());
    match longest {
        Some(longest) if longest <= half => {
            notes.ok("sync_limit", format!("syncLimit x tickTime is {longest:?}, at most half of the session timeout"));
        }
        Some(longest) => notes.failed(
            "sync_limit",
            format!("syncLimit x tickTime is {longest:?}, more than half of the session timeout, which is {session_timeout:?}"),
            "Lower syncLimit (tickTime 1000 and syncLimit 3 go with 6s), or raise zookeeper.session_timeout: else a server that \
             is cut off keeps its clients believing.",
        ),
        None => notes.unknown(
            "sync_limit",
            "no server says its tickTime and syncLimit",
            "Put conf into 4lw.commands.whitelist, or look yourself that syncLimit x tickTime is at most half of \
             zookeeper.session_timeout.",
        ),
    }
}

/// Asks a server by its four-letter words what it is. One that allows none may still serve.
async fn ask(address: &str) -> Server {
    let mut server = Server {
        answers: timeout(WITHIN, TcpStream::connect(address)).await.is_ok_and(|it| it.is_ok()),
        ..Server::default()
    };
    if !server.answers {
        return server;
    }
    if let Some(told) = four_letters(address, b"srvr").await {
        let after =
            |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned());
        server.mode = after("Mode:");
        server.version =
            after("Zookeeper version:").map(|text| text.split(['-', ',']).next().unwrap_or_default().to_owned());
    }
    if let Some(told) = four_letters(address, b"conf").await {
        let after = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        server.tick_ms = after("tickTime=");
        server.sync_limit = after("syncLimit=");
    }
    server
}

async fn four_letters(address: &str, word: &[u8; 4]) -> Option<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(word).await.ok()?;
        let mut answer = String::new();
        (&mut stream).take(65_536).read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    timeout(WITHIN, asking).await.ok().flatten()
}

/// The chroot, what may be done in it, and who else may.
async fn examine_tree(
    notes: &mut Notes,
    client: &Client,
    config: &ZookeeperConfig,
    authenticated: bool,
    clock: &Clock,
) -> Option<(Timestamp, Timestamp)> {
    let chroot = config.chroot.trim_end_matches('/');
    match client.check_stat(chroot).await {
        Ok(Some(_)) => notes.ok("chroot", format!("{chroot} is there")),
        Ok(None) => {
            notes.failed("chroot", format!("{chroot} is not there"), "Run `rollkeeper migrate`.");
            return None;
        }
        Err(error) => {
            notes.failed("chroot", error.to_string(), "Try again when the ensemble is healthy.");
            return None;
        }
    }
    let probe = format!("{chroot}/doctor-{:016x}", rand::random::<u64>());
    let access = Access::new(authenticated);
    let wrote_at = clock.now();
    let created = client.create(&probe, b"", &access.ephemeral()).await;
    let stat = match created {
        Ok((stat, _)) => Some(stat),
        Err(error) => {
            let remedy = "Use the identity that made the chroot (zookeeper.auth_file), or let its owner give this one the rights \
                          to read, write, create and delete.";
            notes.failed("rights", format!("no node can be made in {chroot}: {error}"), remedy);
            None
        }
    };
    if stat.is_some() {
        match client.delete(&probe, None).await {
            Ok(()) => notes.ok("rights", format!("nodes can be made and deleted in {chroot}")),
            Err(error) => {
                notes.failed("rights", format!("no node can be deleted in {chroot}: {error}"), "As to make one.");
            }
        }
    }
    examine_acls(notes, client, chroot, authenticated).await;
    stat.map(|stat| (Timestamp::from_millis(stat.ctime), wrote_at))
}

/// Looks for nodes that everybody may use.
async fn examine_acls(notes: &mut Notes, client: &Client, chroot: &str, authenticated: bool) {
    let (mut open, mut looked, mut waiting) = (Vec::new(), 0_usize, vec![chroot.to_owned()]);
    while let Some(path) = waiting.pop() {
        if looked >= NODES_MAX {
            break;
        }
        looked += 1;
        match client.get_acl(&path).await {
            Ok((acls, _)) if acls.iter().any(is_for_everybody) => open.push(path.clone()),
            // Somebody else has just deleted it.
            Ok(_) | Err(Error::NoNode) => {}
            Err(error) => {
                return notes.failed("acl", format!("{path}: {error}"), "Use the identity that made the chroot.");
            }
        }
        if let Ok(children) = client.list_children(&path).await {
            waiting.extend(children.into_iter().map(|child| format!("{path}/{child}")));
        }
    }
    if open.is_empty() {
        notes.ok("acl", format!("none of {looked} nodes is open to everybody"));
    } else if authenticated {
        let found = format!("{} of {looked} nodes are open to everybody, such as {}", open.len(), open[0]);
        let remedy = "Close them with setAcl as their owner, or delete the chroot while no replica runs and run `rollkeeper migrate`.";
        notes.failed("acl", found, remedy);
    } else {
        let found = "everybody may read and write the nodes, since the service shows no identity";
        notes.warning("acl", found, "Set zookeeper.auth_file, and make a new chroot with `rollkeeper migrate`.");
    }
}

fn is_for_everybody(acl: &Acl) -> bool {
    acl.scheme() == "world" && acl.permission() != Permission::NONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exam::Grade;

    fn grade(servers: &[Server], session: u64) -> Grade {
        let mut notes = Notes::of("zookeeper");
        examine_sync(&mut notes, servers, Duration::from_secs(session));
        notes.done()[0].grade
    }

    fn follower(tick_ms: u64, sync_limit: u64) -> Server {
        let mode = Some("follower".to_owned());
        Server { answers: true, mode, tick_ms: Some(tick_ms), sync_limit: Some(sync_limit), ..Server::default() }
    }

    #[test]
    fn a_cut_off_server_lets_go_of_its_clients_within_half_a_session() {
        assert_eq!(grade(&[follower(1000, 3), follower(1000, 2)], 6), Grade::Ok);
        assert_eq!(grade(&[follower(1000, 3), follower(2000, 5)], 6), Grade::Failed, "the longest counts");
        assert_eq!(grade(&[Server::default(), Server::default()], 6), Grade::Unknown);
        let alone = Server { mode: Some("standalone".to_owned()), ..Server::default() };
        assert_eq!(grade(&[alone], 6), Grade::Ok);
    }
}
