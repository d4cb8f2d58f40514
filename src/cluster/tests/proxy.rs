//! A TCP proxy between a client and ZooKeeper that can cut the connection or swallow everything.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Pass,
    /// Connections are broken and refused.
    Cut,
    /// Connections stay, and nothing arrives.
    Blackhole,
}

pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub(super) async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Pass);
        let tasks = TaskTracker::new();
        let inner = tasks.clone();
        tasks.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let server = TcpStream::connect(&server).await.unwrap();
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                inner.spawn(pump(client_read, server_write, modes.clone()));
                inner.spawn(pump(server_read, client_write, modes.clone()));
            }
        });
        Self { address, mode }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut modes: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let mode = *modes.borrow_and_update();
        match mode {
            Mode::Cut => return,
            Mode::Blackhole => modes.changed().await.unwrap(),
            Mode::Pass => tokio::select! {
                read = from.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    // What arrived while the mode changed waits for the next one that lets it pass.
                    Ok(n) => {
                        if modes.wait_for(|mode| *mode != Mode::Blackhole).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
                            return;
                        }
                    }
                },
                changed = modes.changed() => if changed.is_err() { return },
            },
        }
    }
}
