//! Examines ZooKeeper for `rollkeeper doctor`: every server, the session that is granted, the chroot and its ACLs.
//!
//! Rule: what it writes is one ephemeral node beside those that replicas look at.

use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zookeeper_client::{Client, Error};

use super::connect::{NoSession, connect};
use super::inspect::{Looked, open_nodes};
use super::nodes::Access;
use crate::config::zookeeper::ZookeeperConfig;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::exam::{Exam, Notes};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(5);

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
    let (client, access) = match session(config, auth.as_ref()).await {
        Ok(session) => session,
        Err((found, remedy)) => {
            notes.failed("session", found, remedy);
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
    let looking = examine_tree(&mut notes, &client, config, &access, clock);
    let clock = timeout(WITHIN * 4, looking).await;
    if clock.is_err() {
        notes.unknown("acl", "its nodes could not be read in time", "Try again when the ensemble is healthy.");
    }
    let clock = clock.ok().flatten();
    ExaminedCluster { exams: notes.done(), clock }
}

/// The session that the service would have, or what is wrong and its remedy.
async fn session(
    config: &ZookeeperConfig,
    auth: Option<&SecretString>,
) -> Result<(Client, Access), (String, &'static str)> {
    let why = match timeout(WITHIN * 2, connect(config, auth, "")).await {
        Ok(Ok(session)) => return Ok(session),
        Ok(Err(NoSession::Refused(Error::AuthFailed))) => {
            let remedy = "The file of zookeeper.auth_file holds `user:password` as it was when the chroot was made.";
            return Err(("it refuses the credentials".to_owned(), remedy));
        }
        Ok(Err(error @ (NoSession::Files(_) | NoSession::Nobody))) => {
            let remedy = "Mend zookeeper.tls and its files, or what the servers do with certificates.";
            return Err((error.to_string(), remedy));
        }
        Ok(Err(NoSession::Refused(error))) => error.to_string(),
        Err(_) => format!("no session within {} s", (WITHIN * 2).as_secs()),
    };
    let remedy = "Check zookeeper.connect and zookeeper.tls, and that the ensemble runs and has a quorum. Users are \
                  served without it.";
    Err((why, remedy))
}

async fn examine_servers(notes: &mut Notes, config: &ZookeeperConfig) {
    let names: Vec<&str> = config.connect.split(',').map(str::trim).collect();
    let servers = futures::future::join_all(names.iter().map(|name| ask(name, config.tls.is_some()))).await;
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

/// Asks a server by its four-letter words what it is. One that allows none may still serve; a port for TLS takes none.
async fn ask(address: &str, tls: bool) -> Server {
    let mut server = Server {
        answers: timeout(WITHIN, TcpStream::connect(address)).await.is_ok_and(|it| it.is_ok()),
        ..Server::default()
    };
    if !server.answers || tls {
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
    access: &Access,
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
    examine_acls(notes, client, chroot, access).await;
    stat.map(|stat| (Timestamp::from_millis(stat.ctime), wrote_at))
}

/// Looks for nodes that others may use.
async fn examine_acls(notes: &mut Notes, client: &Client, chroot: &str, access: &Access) {
    let Looked { open, count } = match open_nodes(client, chroot, || true).await {
        Ok(looked) => looked,
        Err(failure) => return notes.failed("acl", failure.to_string(), "Try again when the ensemble is healthy."),
    };
    if open.is_empty() {
        notes.ok("acl", format!("none of {count} nodes is open to others"));
    } else if access.is_for_everybody() {
        let found = "everybody may read and write the nodes, since the service shows no identity";
        let remedy = "Set zookeeper.auth_file or zookeeper.tls, and make a new chroot with `rollkeeper migrate`.";
        notes.warning("acl", found, remedy);
    } else {
        let found = format!(
            "{} of {count} nodes are open to everybody or belong to another identity, such as {}",
            open.len(),
            open[0]
        );
        let remedy = "Close them with setAcl as their owner, or delete the chroot while no replica runs and run `rollkeeper migrate`.";
        notes.failed("acl", found, remedy);
    }
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
