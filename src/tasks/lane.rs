//! One change stream for several departments: opens it at the lowest of their positions, and gives each department what
//! lies behind its own.
//!
//! Rules: a department whose changes are not archived fast enough leaves, so that it neither stops the others nor grows
//! memory; a break is told to exactly those that it concerns, by name.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::leader::RETRY_AFTER;
use super::member::{Left, Member, Seat};
use crate::domain::cause::chain;
use crate::domain::history::{ClusterTime, StreamToken};
use crate::domain::ids::DepartmentName;
use crate::store::tail::{Tail, TailEvent, TailKind, TailStream, TokenPlace};

/// How long a step of the change stream may take at first.
const PATIENCE_FIRST: Duration = Duration::from_secs(5);
/// Twice as long after each step that took longer, up to this.
const PATIENCE_MAX: Duration = Duration::from_mins(10);
/// How often a busy stream, which is never idle, moves the departments that nothing happens to.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// An event that took the users away, while it is looked whether the whole database went with them.
#[derive(Debug)]
struct Gone {
    event: TailEvent,
    reason: &'static str,
}

/// A change stream and the departments in it.
#[derive(Debug)]
pub(super) struct Lane {
    tail: Tail,
    seats: HashMap<DepartmentName, Seat>,
    stream: Option<TailStream>,
    patience: Duration,
    /// Not before this is the stream opened.
    open_at: Instant,
    /// The stream has shown something since it was opened.
    moved: bool,
    /// Why the stream before this one broke, until this one shows something.
    broke: Option<&'static str>,
    gone: Option<Gone>,
    /// The last event and its transaction.
    last: Option<(StreamToken, Option<Vec<u8>>)>,
    swept: Instant,
    /// How far the stream is.
    at: Option<ClusterTime>,
}

impl Lane {
    pub(super) fn new(tail: Tail) -> Self {
        Self {
            tail,
            seats: HashMap::new(),
            stream: None,
            patience: PATIENCE_FIRST,
            open_at: Instant::now(),
            moved: false,
            broke: None,
            gone: None,
            last: None,
            swept: Instant::now(),
            at: None,
        }
    }

    /// Whether no department that is still led is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.seats.values().all(|seat| seat.member.left.is_closed())
    }

    /// How far the stream is; absent while nobody is in it.
    pub(super) fn at(&self) -> Option<ClusterTime> {
        if self.is_empty() { None } else { self.at }
    }

    /// Takes departments in; the stream starts anew with them.
    pub(super) fn admit(&mut self, members: Vec<Member>) {
        for member in members {
            // Where it starts is read again when the stream opens.
            let department = member.leading.leadership.department.clone();
            match member.start() {
                Some(start) => drop(self.seats.insert(department, Seat { member, start })),
                None => member.leave(Left::Broken("token_of_another_stream")),
            }
        }
        self.stream = None;
        self.open_at = Instant::now();
    }

    /// Gives all departments back.
    pub(super) fn into_members(self) -> Vec<Member> {
        self.seats.into_values().map(|seat| seat.member).filter(|member| !member.left.is_closed()).collect()
    }

    /// Resolves when every leadership in it has ended.
    pub(super) fn abandoned(&self) -> impl Future<Output = ()> + Send + 'static {
        let ended: Vec<_> = self.seats.values().map(|seat| seat.member.leading.ended.clone()).collect();
        async move {
            for token in ended {
                token.cancelled().await;
            }
        }
    }

    /// Whether `open` has to be called before `step`.
    pub(super) fn wants_to_open(&self) -> bool {
        self.stream.is_none() && !self.is_empty()
    }

    /// Opens the stream at the lowest position. Who cannot go on from there is told so, and the others are tried without it.
    pub(super) async fn open(&mut self) {
        tokio::time::sleep_until(self.open_at).await;
        self.seats.retain(|_, seat| !seat.member.left.is_closed());
        // Something that was not decided yet is shown again.
        (self.gone, self.last, self.moved) = (None, None, false);
        for seat in self.seats.values_mut() {
            seat.start = seat.member.start().unwrap_or_else(|| seat.start.clone());
        }
        while let Some(from) = self.lowest() {
            let departments: Vec<DepartmentName> = self.seats.keys().cloned().collect();
            match self.tail.open(&departments, from, self.patience).await {
                Ok(stream) => match stream.broken() {
                    Some(reason) => self.lose_lowest(reason),
                    None => return self.opened(stream, from),
                },
                Err(error) => {
                    warn!(error = chain(&error), "open the change stream: tried again");
                    return self.later();
                }
            }
        }
    }

    fn opened(&mut self, stream: TailStream, from: ClusterTime) {
        info!(departments = self.seats.len(), "opened the change stream");
        self.stream = Some(stream);
        self.at = Some(from);
        self.swept = Instant::now();
        for seat in self.seats.values_mut() {
            if let Some(opened) = seat.member.opened.take() {
                let _ = opened.send(());
            }
        }
    }

    fn lowest(&self) -> Option<ClusterTime> {
        self.seats.values().map(|seat| seat.start.cluster_time()).min()
    }

    /// Opens anew after a moment, with more patience.
    fn later(&mut self) {
        self.stream = None;
        self.open_at = Instant::now() + RETRY_AFTER;
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
    }

    /// Waits for the next event and gives it to whom it concerns; where no stream is open, until it may be opened.
    /// Cancel-safe.
    pub(super) async fn step(&mut self) {
        if self.wants_to_open() {
            return tokio::time::sleep_until(self.open_at).await;
        }
        let Some(stream) = &mut self.stream else { return std::future::pending().await };
        match stream.next(self.patience).await {
            Ok(event) => self.take(event),
            Err(error) => {
                warn!(error = chain(&error), "follow the changes: tried again");
                self.later();
            }
        }
    }

    fn take(&mut self, event: TailEvent) {
        if let TailKind::Gone(reason) = event.kind {
            return self.take_gone(event, reason);
        }
        self.tell_gone();
        if let TailKind::Broken(reason) = event.kind {
            return self.take_break(reason);
        }
        self.shows_something(&event);
        if event.kind == TailKind::Idle {
            self.sweep(&event);
            self.last = None;
            return;
        }
        if let Some((token, transaction)) = self.last.take()
            && self.swept.elapsed() >= SWEEP_EVERY
            && (event.transaction.is_none() || event.transaction != transaction)
        {
            self.sweep(&TailEvent::bare(TailKind::Idle, token));
        }
        self.last = Some((event.token.clone(), event.transaction.clone()));
        self.deliver(&event);
    }

    fn shows_something(&mut self, event: &TailEvent) {
        (self.moved, self.broke, self.patience) = (true, None, PATIENCE_FIRST);
        self.at = TokenPlace::of(&event.token).map(|place| place.cluster_time()).or(self.at);
    }

    /// Everything up to a token has been told to everybody; no transaction is open there.
    fn sweep(&mut self, idle: &TailEvent) {
        self.swept = Instant::now();
        self.seats.retain(|_, seat| !seat.member.left.is_closed());
        for seat in self.seats.values().filter(|seat| !seat.start.is_past(idle)) {
            seat.member.leading.follower.take_in(&seat.member.leading.repository, idle);
        }
        if self.seats.is_empty() {
            self.stream = None;
        }
    }

    fn deliver(&mut self, event: &TailEvent) {
        let Some(department) = &event.department else { return };
        let Some(seat) = self.seats.get(department).filter(|seat| !seat.start.is_past(event)) else { return };
        if let Some(why) = seat.member.take_in(event) {
            self.dismiss(&department.clone(), why);
        }
    }

    fn dismiss(&mut self, department: &DepartmentName, why: Left) {
        if let Some(seat) = self.seats.remove(department) {
            seat.member.leave(why);
        }
        if self.seats.is_empty() {
            self.stream = None;
        }
    }

    /// The users are gone. A dropped database drops its collections first, so it is looked whether that follows.
    fn take_gone(&mut self, event: TailEvent, reason: &'static str) {
        self.moved = true;
        match &mut self.gone {
            None => self.gone = Some(Gone { event, reason }),
            Some(gone) if reason == "database_dropped" => gone.reason = reason,
            Some(_) => {}
        }
        if matches!(reason, "database_dropped" | "invalidated") {
            self.tell_gone();
        }
    }

    fn tell_gone(&mut self) {
        let Some(Gone { event, reason }) = self.gone.take() else { return };
        let concerned: Vec<DepartmentName> = self
            .seats
            .iter()
            .filter(|(_, seat)| !seat.start.is_past(&event))
            .map(|(department, _)| department.clone())
            .collect();
        for department in concerned {
            if let Some(seat) = self.seats.get(&department) {
                // Whatever transaction came before it is whole.
                seat.member.leading.follower.settle();
            }
            self.dismiss(&department, Left::Broken(reason));
        }
    }

    /// The stream is over. Who can start anew where it is has lost nothing; a stream that breaks before it shows anything
    /// cannot be read from its beginning on, so those that begin there have.
    fn take_break(&mut self, reason: &'static str) {
        self.stream = None;
        self.open_at = Instant::now() + RETRY_AFTER;
        if self.moved {
            warn!(reason, "the change stream broke: opened anew");
            self.broke = Some(reason);
        } else {
            self.lose_lowest(reason);
        }
    }

    fn lose_lowest(&mut self, reason: &'static str) {
        let Some(lowest) = self.lowest() else { return };
        let reason = self.broke.unwrap_or(reason);
        let lost: Vec<DepartmentName> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.start.cluster_time() == lowest)
            .map(|(department, _)| department.clone())
            .collect();
        for department in lost {
            self.dismiss(&department, Left::Broken(reason));
        }
    }
}
