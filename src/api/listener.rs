//! Connections on which also the requests that nobody can read are answered as problems, and whose clients read the answers.
//!
//! hyper answers what it cannot parse by itself: a status, and an empty body. Nothing but such an answer leaves without
//! `X-Served-By`; it is known by that, and exchanged on its way out.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

use super::middleware::{RequestName, X_REQUEST_ID, X_SERVED_BY, fresh_request_id};
use super::problem::{Kind, PROBLEM_JSON, Problem};
use crate::domain::ids::ReplicaId;

/// What hyper's own answers have at the place of a body.
const NO_BODY: &str = "\r\ncontent-length: 0";

/// Accepts connections for a replica.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    replica: Arc<ReplicaId>,
    write_timeout: Duration,
}

impl Door {
    pub(super) fn new(listener: TcpListener, replica: &ReplicaId, write_timeout: Duration) -> Self {
        Self { listener, replica: Arc::new(replica.clone()), write_timeout }
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let replica = Arc::clone(&self.replica);
        let patience = Patience { limit: self.write_timeout, over: None };
        (Connection { stream, replica, exchanged: None, patience }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    replica: Arc<ReplicaId>,
    exchanged: Option<Exchanged>,
    patience: Patience,
}

/// How long a client may leave an answer where it is.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    over: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Gives a result on; one that is long in coming is an error.
    fn bound<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.over = None;
            return polled;
        }
        let over = self.over.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        match over.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// An answer that goes out instead of another.
#[derive(Debug)]
struct Exchanged {
    bytes: Vec<u8>,
    sent: usize,
    /// How many bytes of the other answer it stands for.
    stands_for: usize,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Connection {
    fn poll_exchanged(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, replica, exchanged, .. } = self;
        if exchanged.is_none() {
            *exchanged = exchange(bytes, replica);
        }
        let Some(answer) = exchanged else { return Pin::new(stream).poll_write(cx, bytes) };
        while let Some(rest) = answer.bytes.get(answer.sent..).filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            answer.sent += sent;
        }
        let stands_for = answer.stands_for;
        *exchanged = None;
        Poll::Ready(Ok(stands_for))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll_exchanged(cx, bytes);
        self.patience.bound(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        match first {
            Some(first) if self.exchanged.is_some() || refused_by_hyper(first).is_some() => self.poll_write(cx, first),
            _ => {
                let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
                self.patience.bound(cx, written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The status and the head of an answer of hyper's own, if the bytes are one.
fn refused_by_hyper(bytes: &[u8]) -> Option<(StatusCode, &str)> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let status = StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)?;
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let bare = head.contains(NO_BODY) && !head.contains("\r\n\r\n") && !head.contains(X_SERVED_BY.as_str());
    bare.then_some((status, head))
}

fn exchange(refused: &[u8], replica: &ReplicaId) -> Option<Exchanged> {
    let (status, head) = refused_by_hyper(refused)?;
    let detail = match status.as_u16() {
        414 => "The address is too long; it is at most 64 KiB.",
        431 => "There are more than 100 headers, or they are longer than the service reads.",
        _ => "This is no HTTP request that can be read.",
    };
    let problem = Problem::new(Kind::of_status(status), detail);
    let bytes = with_body(head, &problem, replica);
    Some(Exchanged { bytes, sent: 0, stands_for: refused.len() })
}

/// The answer to a connection that is not served.
pub(super) fn refusal(problem: &Problem, replica: &ReplicaId) -> Vec<u8> {
    let head = format!("HTTP/1.1 {}\r\nconnection: close\r\nretry-after: 1{NO_BODY}", problem.status());
    with_body(&head, problem, replica)
}

/// A head without a body, with the problem as its body.
fn with_body(head: &str, problem: &Problem, replica: &ReplicaId) -> Vec<u8> {
    let id = fresh_request_id();
    tracing::debug!(request.id = %id, status = problem.status().as_u16(), "refused before it could be read");
    let body = problem.to_json(Some(RequestName { id: id.clone(), path: String::new() }));
    let headers = format!(
        "\r\ncontent-type: {PROBLEM_JSON}\r\n{X_SERVED_BY}: {replica}\r\n{X_REQUEST_ID}: {id}\r\ncontent-length: {}",
        body.len()
    );
    let mut bytes = head.replacen(NO_BODY, &headers, 1).into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_refused_by_itself_is_exchanged() {
        let replica: ReplicaId = "r1".parse().unwrap();
        let own = b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let exchanged = exchange(own, &replica).unwrap();
        assert_eq!(exchanged.stands_for, own.len());
        let text = String::from_utf8(exchanged.bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 414 URI Too Long\r\n") && head.contains("x-served-by: r1"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["code"]), (&414.into(), &"uri_too_long".into()));
        for other in [
            "HTTP/1.1 404 Not Found\r\nx-served-by: r1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n{}",
            "{\"name\": \"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n\"}",
            "",
        ] {
            assert!(exchange(other.as_bytes(), &replica).is_none(), "{other}");
        }
    }
}
