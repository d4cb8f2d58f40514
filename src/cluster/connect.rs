//! Connects to ZooKeeper as the configuration says, and knows by which identity we own our nodes there.
//!
//! Rule: the files of certificates are read for every session anew, so that renewed ones count without a restart.

use secrecy::{ExposeSecret, SecretString};
use zookeeper_client::{Client, Error, TlsOptions};

use super::nodes::Access;
use crate::config::ConfigError;
use crate::config::secrets::TlsFiles;
use crate::config::zookeeper::ZookeeperConfig;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSession {
    /// The files of certificates cannot be used.
    #[error("{0}")]
    Files(#[from] ConfigError),
    /// The client or the servers refused.
    #[error("{0}")]
    Refused(#[from] Error),
    /// The session is there, and the servers do not know who we are.
    #[error(
        "the servers do not tell who our certificate stands for; set authProvider.x509 and ssl.clientAuth=need on \
         secureClientPort of every server"
    )]
    Nobody,
}

/// A session with its identity; `path` is where its root is.
pub(super) async fn connect(
    config: &ZookeeperConfig,
    auth: Option<&SecretString>,
    path: &str,
) -> Result<(Client, Access), NoSession> {
    // Each server once: the client's own pauses between rounds grow up to the session timeout, and nobody leads meanwhile.
    let mut connector = Client::connector().with_session_timeout(config.session_timeout).with_fail_eagerly();
    if let Some(auth) = auth {
        connector = connector.with_auth("digest", auth.expose_secret().as_bytes());
    }
    let servers = format!("{}{path}", config.connect);
    let Some(files) = read_files(config).await? else {
        return Ok((connector.connect(&servers).await?, Access::new(auth.is_some())));
    };
    let client = connector.with_tls(options(&files)?).secure_connect(&servers).await?;
    let access = if files.identity.is_some() { x509(&client).await? } else { Access::new(auth.is_some()) };
    Ok((client, access))
}

async fn read_files(config: &ZookeeperConfig) -> Result<Option<TlsFiles>, NoSession> {
    let config = config.clone();
    let read = tokio::task::spawn_blocking(move || config.tls_files()).await;
    // A panic of the reader goes on here.
    Ok(read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?)
}

fn options(files: &TlsFiles) -> Result<TlsOptions, Error> {
    let options = TlsOptions::new().with_pem_ca(&files.ca)?;
    match &files.identity {
        Some((certificate, key)) => options.with_pem_identity(certificate, key.expose_secret()),
        None => Ok(options),
    }
}

/// The identity as the servers write it, which no client can work out for sure from its certificate.
async fn x509(client: &Client) -> Result<Access, NoSession> {
    let users = client.list_auth_users().await?;
    let own = users.iter().find(|user| user.scheme() == "x509").ok_or(NoSession::Nobody)?;
    Ok(Access::x509(own.user()))
}
