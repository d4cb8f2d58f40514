//! A server before the S3 server that passes requests on, or answers as a store in trouble does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What is the matter with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// No connection lasts.
    Down,
    /// Requests are taken and never answered.
    Hangs,
    /// Each answer comes so much later.
    Slow(Duration),
    /// Everything is answered with this status and this code.
    Answers(u16, &'static str),
    /// Every put is answered with this status and this code, and everything else works.
    AnswersPuts(u16, &'static str),
    /// Puts are carried out, and the connection is reset before the answer.
    ResetsAfterPuts,
    /// The connection is reset in the middle of a put, of which nothing is carried out.
    ResetsInPuts,
}

/// A store with faults; dropping it closes everything.
#[derive(Debug)]
pub(crate) struct Faulty {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    met: Arc<AtomicUsize>,
}

impl Faulty {
    /// Listens on a free port and passes to `server`, `host:port`.
    pub(crate) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("have an address");
        let (fault, watched) = watch::channel(Fault::None);
        let met = Arc::new(AtomicUsize::new(0));
        Handle::current().spawn(accept(listener, server.to_owned(), watched, Arc::clone(&met)));
        Self { address, fault, met }
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes what is the matter, for requests from now on; hanging ones are let go.
    pub(crate) fn set(&self, fault: Fault) {
        self.met.store(0, Ordering::SeqCst);
        self.fault.send_replace(fault);
    }

    /// Requests that have met the fault.
    pub(crate) fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, server: String, mut fault: watch::Receiver<Fault>, met: Arc<AtomicUsize>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = fault.changed() => if changed.is_ok() { continue } else { return },
        };
        let Ok((client, _)) = accepted else { return };
        let (server, fault, met) = (server.clone(), fault.clone(), Arc::clone(&met));
        // Who breaks off is the client's business.
        Handle::current().spawn(async move { serve(client, &server, fault, &met).await.ok() });
    }
}

/// One request on one connection, which is closed after it.
async fn serve(
    mut client: TcpStream,
    server: &str,
    mut fault: watch::Receiver<Fault>,
    met: &AtomicUsize,
) -> std::io::Result<()> {
    let now = *fault.borrow_and_update();
    if now == Fault::Down {
        met.fetch_add(1, Ordering::SeqCst);
        return client.set_zero_linger();
    }
    let (head, mut body, length) = read_head(&mut client).await?;
    let is_put = head.starts_with("PUT ");
    let meets = match now {
        Fault::None => false,
        Fault::AnswersPuts(..) | Fault::ResetsAfterPuts | Fault::ResetsInPuts => is_put,
        _ => true,
    };
    if meets {
        met.fetch_add(1, Ordering::SeqCst);
    }
    if meets && now == Fault::ResetsInPuts {
        return client.set_zero_linger();
    }
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    match now {
        Fault::Hangs => {
            // Until something else is the matter, or nobody waits any more.
            tokio::select! {
                _ = fault.changed() => {},
                _ = client.read_u8() => {},
            }
            return Ok(());
        }
        Fault::Slow(later) => tokio::time::sleep(later).await,
        Fault::Answers(status, code) | Fault::AnswersPuts(status, code) if meets => {
            return client.write_all(&answer(&head, status, code)).await;
        }
        _ => {}
    }
    let answered = pass(server, &head, &body).await?;
    if meets && now == Fault::ResetsAfterPuts {
        return client.set_zero_linger();
    }
    client.write_all(&answered).await
}

async fn read_head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    loop {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            let head = String::from_utf8(bytes).map_err(std::io::Error::other)?;
            let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            return Ok((head, body, length));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Passes a request on as it was signed, and asks the server to close after its answer.
async fn pass(server: &str, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(server).await?;
    let without_end = head.trim_end_matches("\r\n");
    connection.write_all(format!("{without_end}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    connection.write_all(body).await?;
    let mut answered = Vec::new();
    connection.read_to_end(&mut answered).await?;
    Ok(answered)
}

fn answer(head: &str, status: u16, code: &str) -> Vec<u8> {
    let body = if head.starts_with("HEAD ") || code.is_empty() {
        String::new()
    } else {
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><AWSAccessKeyId>told-too-much</AWSAccessKeyId></Error>"
        )
    };
    let length = body.len();
    format!("HTTP/1.1 {status} Trouble\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}
