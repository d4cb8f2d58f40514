//! Waits for work on several targets: for the write quorum, and a short grace for the rest.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::domain::cause::Cause;

use super::BackupError;
use super::fanout::{GRACE, too_slow};

/// What each of `count` targets answered; one that was not waited for was too slow. Work that is left goes on by itself.
pub(super) async fn gather<T: 'static>(
    mut work: JoinSet<(usize, Result<T, BackupError>)>,
    count: usize,
    quorum: usize,
) -> Vec<Result<T, Cause>> {
    let mut answers: Vec<Result<T, Cause>> = (0..count).map(|_| Err(too_slow())).collect();
    let mut good = 0;
    loop {
        let limit = if good >= quorum { GRACE } else { Duration::MAX };
        match tokio::time::timeout(limit, work.join_next()).await {
            Ok(Some(Ok((index, answer)))) => {
                good += usize::from(answer.is_ok());
                answers[index] = answer.map_err(|error| error.cause());
            }
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => break,
        }
    }
    work.detach_all();
    answers
}
