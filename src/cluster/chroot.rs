//! Creates the chroot: the one node that must be there before the first replica.

use std::time::Duration;

use secrecy::SecretString;
use zookeeper_client::{Acls, Client, CreateMode, Error};

use crate::config::zookeeper::ZookeeperConfig;

use super::ClusterError;
use super::connect::NoSession;
use super::nodes::Access;

/// How long we wait for ZooKeeper.
const LIMIT: Duration = Duration::from_secs(10);

/// Creates the chroot with its ACL; `rollkeeper migrate` calls it. Does nothing where it exists.
///
/// # Errors
/// When ZooKeeper does not answer within ten seconds, refuses the credentials, or the chroot has a foreign ACL.
pub async fn create_chroot(config: &ZookeeperConfig, auth: Option<SecretString>) -> Result<(), ClusterError> {
    match tokio::time::timeout(LIMIT, create(config, auth)).await {
        Ok(done) => done,
        Err(_) => Err(silent(config)),
    }
}

async fn create(config: &ZookeeperConfig, auth: Option<SecretString>) -> Result<(), ClusterError> {
    let chroot = config.chroot.trim_end_matches('/');
    if chroot.is_empty() {
        return Ok(());
    }
    if !chroot.starts_with('/') {
        return Err(ClusterError {
            message: format!("zookeeper.chroot is `{chroot}`; it must begin with a slash, as in `/rollkeeper`."),
        });
    }
    let (client, access) = connect(config, auth.as_ref()).await?;
    let ends = chroot.match_indices('/').map(|(at, _)| at).skip(1).chain([chroot.len()]);
    for end in ends {
        let path = &chroot[..end];
        // The ancestors are not ours to close: other services may live below them.
        let options = if end == chroot.len() {
            access.persistent()
        } else {
            CreateMode::Persistent.with_acls(Acls::anyone_all())
        };
        match client.create(path, b"", &options).await {
            Ok(_) | Err(Error::NodeExists) => {}
            // The parent may be closed to us although the node is there.
            Err(Error::NoAuth) if matches!(client.check_stat(path).await, Ok(Some(_))) => {}
            Err(error) => return Err(refused(path, &error)),
        }
    }
    client.get_acl(chroot).await.map_err(|error| refused(chroot, &error))?;
    client.list_children(chroot).await.map_err(|error| refused(chroot, &error))?;
    Ok(())
}

async fn connect(config: &ZookeeperConfig, auth: Option<&SecretString>) -> Result<(Client, Access), ClusterError> {
    super::connect::connect(config, auth, "").await.map_err(|error| match error {
        NoSession::Refused(Error::AuthFailed) => ClusterError {
            message: "ZooKeeper refuses the credentials in the file zookeeper.auth_file; it holds `user:password`."
                .to_owned(),
        },
        NoSession::Refused(Error::BadArguments(reason)) => ClusterError {
            message: format!(
                "zookeeper.connect is `{}`, or a file of zookeeper.tls, which is wrong ({reason}); write \
                 host:port,host:port, and name files in PEM.",
                config.connect
            ),
        },
        NoSession::Refused(_) => silent(config),
        NoSession::Files(_) | NoSession::Nobody => ClusterError { message: error.to_string() },
    })
}

fn silent(config: &ZookeeperConfig) -> ClusterError {
    ClusterError {
        message: format!(
            "ZooKeeper does not answer at {}; check zookeeper.connect and zookeeper.tls, and that the ensemble runs and has a \
             quorum.",
            config.connect
        ),
    }
}

fn refused(path: &str, error: &Error) -> ClusterError {
    let message = match error {
        Error::NoAuth => format!(
            "The node {path} in ZooKeeper belongs to another identity; use the credentials (zookeeper.auth_file) that \
             it was created with, choose another zookeeper.chroot, or let its owner remove it."
        ),
        Error::InvalidAcl => format!(
            "ZooKeeper refused the ACL of {path}; check that zookeeper.auth_file holds `user:password` and that the \
             servers allow digest authentication."
        ),
        other => {
            format!("ZooKeeper could not create or read {path} ({other}); try again when the ensemble is healthy.")
        }
    };
    ClusterError { message }
}
