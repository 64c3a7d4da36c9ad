//! One connection to Redis and its keeper: connects, watches, reconnects.
//!
//! Used by `registry-auth-lookup`, through [`Link`]. Invariants: a connection is
//! published only after Redis has answered on it, so a frozen server never counts as up; where changes are tracked it
//! is armed, and that is told, before it is published, and its loss is told before the next is tried.
//!
//! `redis::aio::ConnectionManager` is not used: it reconnects without telling and without arming.

use crate::connection::endpoint::Endpoint;
use crate::connection::open::{arm, greet, is_alive, is_closed, is_no_resp3, within, Armed, Failure, Opened};
use crate::connection::tracking::Tracking;
use crate::log::{Level, Log};
use futures_util::FutureExt;
use redis::aio::MultiplexedConnection;
use redis::Value;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{self, Instant};

/// First pause between attempts; doubles up to [`BACKOFF_MAX`]. With it an outage's end is noticed within 2 s.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often a silent connection is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How often tracking is tried again on a connection where it was refused: an ACL may have been changed.
const ARM_EVERY: Duration = Duration::from_secs(10);
/// Connections closed during RESP3's greeting in a row until RESP2 is tried: some proxies close on what they do not know,
/// but so does a server that is being restarted.
const CLOSED_GREETINGS: u32 = 2;

/// A connection that Redis has answered on.
#[derive(Clone)]
pub struct Live {
    /// To be cloned by each who asks.
    pub connection: MultiplexedConnection,
    /// Counts connections from 1: answers from different epochs must not be mixed in a cache.
    pub epoch: u64,
}

/// The keeper's state, as lookups see it.
pub(crate) enum State {
    /// An attempt is under way that may well succeed: at the start, or right after a loss. Jobs wait for it.
    Connecting,
    /// Connected.
    Up(Live),
    /// The last attempt failed: jobs fail at once.
    Down,
}

/// The lookups' end of the keeper.
#[derive(Clone)]
pub struct Link {
    state: watch::Receiver<State>,
    broken: Arc<watch::Sender<u64>>,
    answers: Arc<AtomicU64>,
}

impl Link {
    /// The connection, waiting until `deadline` for an attempt under way; `None` when there is none.
    pub async fn live(&self, deadline: Instant) -> Option<Live> {
        if let Some(known) = Self::look(&self.state.borrow()) {
            return known;
        }
        let mut state = self.state.clone();
        loop {
            if let Some(known) = Self::look(&state.borrow_and_update()) {
                return known;
            }
            time::timeout_at(deadline, state.changed()).await.ok()?.ok()?;
        }
    }

    /// The connection, if there is one now.
    pub fn up(&self) -> Option<Live> {
        Self::look(&self.state.borrow()).flatten()
    }

    fn look(state: &State) -> Option<Option<Live>> {
        match state {
            State::Up(live) => Some(Some(live.clone())),
            State::Down => Some(None),
            State::Connecting => None,
        }
    }

    /// This connection timed out or talks nonsense: the keeper replaces it.
    pub fn broken(&self, epoch: u64) {
        self.broken.send_if_modified(|known| {
            let newer = *known < epoch;
            *known = epoch.max(*known);
            newer
        });
    }

    /// The server has just answered: no PING is needed for a while.
    pub fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the keeper has noticed that the connection of `epoch` is gone; false at the deadline.
    pub async fn replaced(&self, epoch: u64, deadline: Instant) -> bool {
        let mut state = self.state.clone();
        let gone = state.wait_for(|state| !matches!(state, State::Up(live) if live.epoch == epoch));
        let gone = time::timeout_at(deadline, gone).await;
        matches!(gone, Ok(Ok(_)))
    }
}

/// When the keeper tries again.
enum Retry {
    AtOnce,
    AfterPause,
}

/// The task that owns the connection.
pub struct Keeper {
    endpoint: Endpoint,
    connect_timeout: Duration,
    timeout: Duration,
    tracking: Option<Arc<Tracking>>,
    log: Log,
    state: watch::Sender<State>,
    broken: watch::Receiver<u64>,
    answers: Arc<AtomicU64>,
    /// What was last logged as the reason of the present outage.
    reason: Option<String>,
    /// Whether it was logged that tracking is refused.
    untracked: bool,
    /// Connections closed during the greeting, in a row.
    closed: u32,
}

impl Keeper {
    /// A keeper to be spawned with [`Keeper::run`], and the lookups' end of it.
    pub fn new(
        endpoint: Endpoint,
        connect_timeout: Duration,
        timeout: Duration,
        tracking: Option<Arc<Tracking>>,
        log: Log,
    ) -> (Self, Link) {
        let (state, receiver) = watch::channel(State::Connecting);
        let (broken_sender, broken) = watch::channel(0);
        let answers = Arc::new(AtomicU64::new(0));
        let link = Link {
            state: receiver,
            broken: Arc::new(broken_sender),
            answers: Arc::clone(&answers),
        };
        let keeper = Self {
            endpoint,
            connect_timeout,
            timeout,
            tracking,
            log,
            state,
            broken,
            answers,
            reason: None,
            untracked: false,
            closed: 0,
        };
        (keeper, link)
    }

    /// Runs until it is dropped with its runtime.
    pub async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        for epoch in 1.. {
            // The redis crate parses what a server sends: its panics must cost an attempt, not the helper.
            let cycle = AssertUnwindSafe(self.cycle(epoch, &mut backoff))
                .catch_unwind()
                .await;
            if cycle.is_err() {
                self.lost(epoch);
                self.state.send_replace(State::Down);
                self.down("the connection's task panicked");
            }
            if !matches!(cycle, Ok(Retry::AtOnce)) {
                time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// One connection, from the attempt to its end.
    async fn cycle(&mut self, epoch: u64, backoff: &mut Duration) -> Retry {
        let (opened, armed) = match within(self.connect_timeout, self.attempt(epoch)).await {
            Ok(opened) => opened,
            Err(failure) => {
                self.state.send_replace(State::Down);
                self.down(&format!("cannot connect: {failure}"));
                return Retry::AfterPause;
            }
        };
        let since = Instant::now();
        let answers = self.answers.load(Ordering::Relaxed);
        self.armed(epoch, &armed);
        self.up(Live {
            connection: opened.connection.clone(),
            epoch,
        });
        let why = self.watch(opened, armed, epoch).await;
        self.lost(epoch);
        // A server that drops each connection before it was of any use is not hammered, and jobs do not wait for it.
        let useful = since.elapsed() >= BACKOFF_MAX || self.answers.load(Ordering::Relaxed) != answers;
        let (state, retry) = if useful {
            *backoff = BACKOFF_MIN;
            (State::Connecting, Retry::AtOnce)
        } else {
            (State::Down, Retry::AfterPause)
        };
        self.state.send_replace(state);
        self.down(&format!("connection lost: {why}"));
        retry
    }

    /// Connects, and arms the connection if changes are to be tracked.
    async fn attempt(&mut self, epoch: u64) -> Result<(Opened, Armed), Failure> {
        let Some(tracking) = self.tracking.clone() else {
            let opened = greet(&self.endpoint, None).await?;
            opened.is_alive().await?;
            return Ok((opened, Armed::Unwanted));
        };
        let listener = (Arc::clone(&tracking), epoch);
        let (opened, armed) = match greet(&self.endpoint, Some(listener)).await {
            Ok(opened) => {
                let armed = arm(&opened.connection, &tracking).await?;
                (opened, armed)
            }
            Err(failure) => {
                self.closed = if is_closed(&failure) { self.closed + 1 } else { 0 };
                if !is_no_resp3(&failure) && self.closed < CLOSED_GREETINGS {
                    return Err(failure);
                }
                (greet(&self.endpoint, None).await?, Armed::No(failure.to_string()))
            }
        };
        // What it says to TRACKING it may say to a client that it will not serve.
        opened.is_alive().await?;
        self.closed = 0;
        Ok((opened, armed))
    }

    /// Tells that from here on changes are told, or never will be.
    fn armed(&mut self, epoch: u64, armed: &Armed) {
        let Some(tracking) = &self.tracking else { return };
        match armed {
            Armed::No(why) if !self.untracked => {
                let message = format!(
                    "{} does not tell what changes ({why}): \
                     what is cached lives as long as registry_auth_cache says",
                    self.endpoint
                );
                self.log.write(Level::Warn, &message);
                self.untracked = true;
            }
            Armed::Yes if self.untracked => {
                let message = format!("{} tells what changes again", self.endpoint);
                self.log.write(Level::Notice, &message);
                self.untracked = false;
            }
            _ => {}
        }
        tracking.armed(epoch, matches!(armed, Armed::Yes));
    }

    fn lost(&self, epoch: u64) {
        if let Some(tracking) = &self.tracking {
            tracking.lost(epoch);
        }
    }

    fn up(&mut self, live: Live) {
        if self.reason.take().is_some() {
            self.log
                .write(Level::Notice, &format!("{} is reachable again", self.endpoint));
        } else {
            self.log
                .write(Level::Info, &format!("connected to {}", self.endpoint));
        }
        self.state.send_replace(State::Up(live));
    }

    /// One line when an outage begins and one whenever its reason changes.
    fn down(&mut self, reason: &str) {
        if self.reason.as_deref() != Some(reason) {
            self.log
                .write(Level::Error, &format!("{}: {reason}", self.endpoint));
            self.reason = Some(reason.to_owned());
        }
    }

    /// Returns when the connection is of no use any more, with the reason. Dropping `driver` closes the socket for
    /// lookups still waiting on it, too: they fail now rather than at their timeout.
    async fn watch(&mut self, opened: Opened, armed: Armed, epoch: u64) -> Failure {
        let Opened {
            connection,
            mut driver,
        } = opened;
        let Some(task) = driver.0.as_mut() else {
            return Failure::Closed;
        };
        let mut ticks = time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut arm_at = matches!(armed, Armed::No(_)).then(|| Instant::now() + ARM_EVERY);
        let mut answers = self.answers.load(Ordering::Relaxed);
        loop {
            tokio::select! {
                _ = &mut *task => return Failure::Closed,
                () = reported(&mut self.broken, epoch) => return Failure::TimedOut,
                _ = ticks.tick() => {
                    let now = self.answers.load(Ordering::Relaxed);
                    if now == answers {
                        if let Err(failure) = ping(connection.clone(), self.timeout).await {
                            return failure;
                        }
                    }
                    answers = now;
                    if arm_at.is_some_and(|at| at <= Instant::now()) {
                        arm_at = match self.arm_late(&connection, epoch).await {
                            Ok(true) => None,
                            Ok(false) => Some(Instant::now() + ARM_EVERY),
                            Err(failure) => return failure,
                        };
                    }
                }
            }
        }
    }

    /// Tries again to arm a connection that is in use.
    async fn arm_late(&mut self, connection: &MultiplexedConnection, epoch: u64) -> Result<bool, Failure> {
        let Some(tracking) = self.tracking.clone() else {
            return Ok(true);
        };
        let armed = within(self.timeout, arm(connection, &tracking)).await?;
        let is_armed = matches!(armed, Armed::Yes);
        if is_armed {
            self.armed(epoch, &armed);
        }
        Ok(is_armed)
    }
}

/// Waits until a lookup reports the connection of `epoch`. (On its own so that the guard of `wait_for` is gone.)
async fn reported(broken: &mut watch::Receiver<u64>, epoch: u64) {
    drop(broken.wait_for(|broken| *broken >= epoch).await);
}

async fn ping(mut connection: MultiplexedConnection, limit: Duration) -> Result<(), Failure> {
    match time::timeout(limit, connection.send_packed_command(&redis::cmd("PING"))).await {
        Err(_) => Err(Failure::TimedOut),
        Ok(Err(error)) => Err(Failure::Redis(error)),
        Ok(Ok(Value::ServerError(error))) if !is_alive(&error) => Err(Failure::Redis(error.into())),
        Ok(Ok(_)) => Ok(()),
    }
}
