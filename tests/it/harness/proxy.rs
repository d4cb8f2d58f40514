//! A TCP proxy that passes, cuts or swallows, for faults of the network.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What the proxy does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They arrive.
    Pass,
    /// Connections are closed, and new ones as well.
    Cut,
    /// Connections stay open, and nothing arrives until they pass again.
    Blackhole,
}

/// A proxy before one server; dropping it closes everything.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// Listens on a free port and passes to `server`, `host:port`.
    pub(crate) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("have an address");
        let (mode, watched) = watch::channel(Mode::Pass);
        Handle::current().spawn(accept(listener, server.to_owned(), watched));
        Self { address, mode }
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes what it does, also with open connections.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, server: String, mut mode: watch::Receiver<Mode>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = mode.changed() => if changed.is_ok() { continue } else { return },
        };
        let Ok((client, _)) = accepted else { return };
        if *mode.borrow() != Mode::Cut {
            Handle::current().spawn(connect(client, server.clone(), mode.clone()));
        }
    }
}

async fn connect(client: TcpStream, server: String, mode: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    // One direction that ends takes the other with it.
    tokio::select! {
        () = pump(client_reads, server_writes, mode.clone()) => {}
        () = pump(server_reads, client_writes, mode) => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            cut = mode.wait_for(|mode| *mode == Mode::Cut) => { drop(cut); return }
        };
        let may_go_on = mode.wait_for(|mode| *mode != Mode::Blackhole).await.is_ok_and(|mode| *mode == Mode::Pass);
        if count == 0 || !may_go_on || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
