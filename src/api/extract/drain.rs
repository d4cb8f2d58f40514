//! Reads on what a refused request still sends, so that its client reads the answer instead of a reset.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// How much of a body is read in all before the answer is sent anyway.
pub const DRAIN_MAX: usize = 8 << 20;
/// How long a client may be silent before it gets the answer anyway.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// How long reading on may take in all.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// A client sent nothing of its body for too long.
#[derive(Debug, thiserror::Error)]
#[error("the body is too slow in coming")]
pub struct TooSlow;

/// A body on loan to a handler: what the handler leaves unread comes back.
struct Lent {
    stream: Option<BodyDataStream>,
    seen: usize,
    /// How long the handler waits for the next piece, and since when it does.
    patience: Duration,
    over: Option<Pin<Box<Sleep>>>,
    back: Option<oneshot::Sender<(BodyDataStream, usize)>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let polled = stream.poll_next_unpin(cx);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => self.seen += chunk.len(),
            Poll::Ready(_) => self.stream = None,
            Poll::Pending => {
                let patience = self.patience;
                let over = self.over.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                ready!(over.as_mut().poll(cx));
                // Nobody reads on: the answer goes out, and the connection is closed.
                self.stream = None;
                return Poll::Ready(Some(Err(axum::Error::new(TooSlow))));
            }
        }
        self.over = None;
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // Nobody waits for it when the request is over already.
            let _ = back.send((stream, self.seen));
        }
    }
}

/// What is left of a request's body once its handler is done.
#[derive(Debug)]
pub struct Rest {
    back: Option<oneshot::Receiver<(BodyDataStream, usize)>>,
    waits: bool,
}

impl Rest {
    /// Takes the body of a request on loan; the handler waits so long for each piece.
    pub fn of(request: Request, patience: Duration) -> (Request, Self) {
        let (parts, body) = request.into_parts();
        // A client that expects `100 Continue` sends nothing until the body is read.
        let waits = parts.headers.contains_key(header::EXPECT);
        if body.is_end_stream() {
            return (Request::from_parts(parts, body), Self { back: None, waits });
        }
        let (sender, receiver) = oneshot::channel();
        let stream = Some(body.into_data_stream());
        let lent = Lent { stream, seen: 0, patience, over: None, back: Some(sender) };
        (Request::from_parts(parts, Body::from_stream(lent)), Self { back: Some(receiver), waits })
    }

    /// Reads on to the end, or as far as is bearable.
    pub async fn drain(self) {
        let Some((mut stream, mut seen)) = self.back.and_then(|mut back| back.try_recv().ok()) else { return };
        if self.waits && seen == 0 {
            return;
        }
        let read_on = async {
            while seen <= DRAIN_MAX {
                match tokio::time::timeout(SILENT_MAX, stream.next()).await {
                    Ok(Some(Ok(chunk))) => seen += chunk.len(),
                    _ => return,
                }
            }
        };
        // Being late is an outcome like any other: the answer goes out.
        let _ = tokio::time::timeout(DRAIN_WITHIN, read_on).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pieces of 1 MiB are left after the handler read some and the rest was drained.
    async fn left(pieces: usize, read: usize, expect: bool) -> usize {
        let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(pieces));
        let counted = std::sync::Arc::clone(&left);
        let chunks = futures::stream::iter(0..pieces).map(move |_| {
            counted.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 20]))
        });
        let mut request = Request::new(Body::from_stream(chunks));
        if expect {
            request.headers_mut().insert(header::EXPECT, header::HeaderValue::from_static("100-continue"));
        }
        let (request, rest) = Rest::of(request, SILENT_MAX);
        let mut body = request.into_body().into_data_stream();
        for _ in 0..read {
            body.next().await.unwrap().unwrap();
        }
        drop(body);
        rest.drain().await;
        left.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[tokio::test]
    async fn what_a_handler_leaves_is_read_up_to_eight_mebibytes() {
        assert_eq!(left(5, 0, false).await, 0);
        assert_eq!(left(5, 2, false).await, 0);
        assert_eq!(left(20, 2, false).await, 20 - 9);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_leave_to_send_is_answered_unread() {
        assert_eq!(left(5, 0, true).await, 5);
        assert_eq!(left(5, 1, true).await, 0);
    }
}
