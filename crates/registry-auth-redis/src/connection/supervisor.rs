//! One connection to Redis and its supervisor: connects, watches, reconnects.
//!
//! Used by `registry-auth-lookup`, through [`Link`]. Invariants: a connection is published only after Redis
//! has answered on it, so that a frozen server never counts as up; where changes are tracked, tracking
//! begins, and the watcher hears of it, before the connection is published, and the watcher hears of its loss
//! before the next is tried.
//!
//! `redis::aio::ConnectionManager` is not used: it says nothing when it reconnects, and does not track.

use crate::connection::cluster::{Detour, Redirected};
use crate::connection::endpoint::Endpoint;
use crate::connection::locate::Locator;
use crate::connection::open::{
    Failure, Opened, TrackingState, explain, is_alive, is_closed, is_no_resp3, start_tracking, within,
};
use crate::connection::pulse::{Heard, Silence, TICK};
use crate::connection::tracking::Tracking;
use crate::log::{Level, Log};
use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{self, Instant};

/// First pause between attempts; doubles up to [`BACKOFF_MAX`]. With it an outage's end is noticed within 2
/// s.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Longest pause where another server may be the master by then.
const BACKOFF_MOVED: Duration = Duration::from_millis(250);
/// A connection that is silent for so long is asked for a sign of life.
const ASK_AFTER: Duration = Duration::from_millis(500);
/// One that is silent for so long, or for the limits of two lookups, is in doubt: others are tried.
const DOUBT_AFTER: Duration = Duration::from_millis(1500);
/// For so long after that, a connection in doubt may come back as if nothing had been.
const HOPE: Duration = Duration::from_millis(2500);
/// How often a connection in doubt is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How often tracking is tried again on a connection where it was refused: an ACL may have been changed.
const TRACK_EVERY: Duration = Duration::from_secs(10);
/// Connections closed during RESP3's greeting in a row until RESP2 is tried: some proxies close on what they
/// do not know, but so does a server that is being restarted.
const CLOSED_GREETINGS: u32 = 2;

/// A connection that Redis has answered on.
#[derive(Clone)]
pub struct Live {
    /// To be cloned by each task that asks Redis.
    pub connection: MultiplexedConnection,
    /// Counts connections from 1: answers from different epochs must not be mixed in a cache.
    pub epoch: u64,
}

/// The supervisor's state, as lookups see it.
pub(crate) enum LinkState {
    /// An attempt is under way that may well succeed: at the start, or right after a loss. Jobs wait for it.
    Connecting,
    /// Connected.
    Up(Live),
    /// The last attempt failed: jobs fail at once.
    Down,
}

/// The lookups' end of the supervisor.
#[derive(Clone)]
pub struct Link {
    state: watch::Receiver<LinkState>,
    broken: Arc<watch::Sender<u64>>,
    answers: Arc<AtomicU64>,
    detour: Arc<Detour>,
}

impl Link {
    /// The connection, waiting until `deadline` for an attempt under way; `None` when there is none.
    pub async fn live(&self, deadline: Instant) -> Option<Live> {
        if let Some(known) = Self::settled(&self.state.borrow()) {
            return known;
        }
        let mut state = self.state.clone();
        loop {
            if let Some(known) = Self::settled(&state.borrow_and_update()) {
                return known;
            }
            time::timeout_at(deadline, state.changed()).await.ok()?.ok()?;
        }
    }

    /// The connection, if there is one now.
    pub fn up(&self) -> Option<Live> {
        Self::settled(&self.state.borrow()).flatten()
    }

    fn settled(state: &LinkState) -> Option<Option<Live>> {
        match state {
            LinkState::Up(live) => Some(Some(live.clone())),
            LinkState::Down => Some(None),
            LinkState::Connecting => None,
        }
    }

    /// This connection talks nonsense, or has logged us out: the supervisor replaces it.
    pub fn broken(&self, epoch: u64) {
        self.broken.send_if_modified(|known| {
            let newer = *known < epoch;
            *known = epoch.max(*known);
            newer
        });
    }

    /// Follows what of the replies on the connection of `epoch` sends elsewhere, as a Cluster does. Where the
    /// slot of all keys has moved, the connection is replaced.
    pub async fn follow(
        &self,
        epoch: u64,
        commands: &Pipeline,
        replies: &mut [Value],
        deadline: Instant,
    ) -> Redirected {
        let redirected = self.detour.follow(commands, replies, deadline).await;
        if redirected == Redirected::Moved {
            self.broken(epoch);
        }
        redirected
    }

    /// A lookup was answered: the connection is of use.
    pub fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the supervisor has noticed that the connection of `epoch` is gone; false at the deadline.
    pub async fn replaced(&self, epoch: u64, deadline: Instant) -> bool {
        let mut state = self.state.clone();
        let gone = state.wait_for(|state| !matches!(state, LinkState::Up(live) if live.epoch == epoch));
        let gone = time::timeout_at(deadline, gone).await;
        matches!(gone, Ok(Ok(_)))
    }
}

/// When the supervisor tries again.
enum Retry {
    AtOnce,
    AfterPause,
}

/// A connection, and what is known of it.
struct Held {
    epoch: u64,
    opened: Opened,
    tracked: TrackingState,
    silence: Silence,
}

/// How a connection ends.
enum End {
    /// It is of no use any more.
    Lost(Failure),
    /// It was silent for so long that another was opened.
    Replaced(Box<Held>),
}

/// Why a connection is not simply used.
enum Trouble {
    /// It is of no use any more.
    Lost(Failure),
    /// Nothing has come for long; all may be well with it.
    Silent,
}

/// The task that owns the connection.
pub struct Supervisor {
    endpoint: Endpoint,
    detour: Arc<Detour>,
    connect_timeout: Duration,
    timeout: Duration,
    tracking: Option<Arc<Tracking>>,
    log: Log,
    state: watch::Sender<LinkState>,
    broken: watch::Receiver<u64>,
    answers: Arc<AtomicU64>,
    /// What was last logged as the reason of the present outage.
    reason: Option<String>,
    /// Whether it was logged that tracking is refused.
    untracked: bool,
    /// Connections closed during the greeting, in a row.
    closed: u32,
    /// The number of the last connection that was tried.
    tried: u64,
    /// The number of the one in use.
    in_use: u64,
}

impl Supervisor {
    /// A supervisor to be spawned with [`Supervisor::run`], and the lookups' end of it.
    pub fn new(
        endpoint: Endpoint,
        connect_timeout: Duration,
        timeout: Duration,
        tracking: Option<Arc<Tracking>>,
        log: Log,
    ) -> (Self, Link) {
        let (state, receiver) = watch::channel(LinkState::Connecting);
        let (broken_sender, broken) = watch::channel(0);
        let answers = Arc::new(AtomicU64::new(0));
        let detour = Arc::new(Detour::new(endpoint.clone()));
        let link = Link {
            state: receiver,
            broken: Arc::new(broken_sender),
            answers: Arc::clone(&answers),
            detour: Arc::clone(&detour),
        };
        let supervisor = Self {
            endpoint,
            detour,
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
            tried: 0,
            in_use: 0,
        };
        (supervisor, link)
    }

    /// Runs until it is dropped with its runtime.
    pub async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut locator = Locator::with(self.endpoint.clone(), Arc::clone(&self.detour));
        let longest = if locator.may_move() {
            BACKOFF_MOVED
        } else {
            BACKOFF_MAX
        };
        loop {
            // The redis crate parses what a server sends: its panics must cost an attempt, not the helper.
            let cycle = AssertUnwindSafe(self.cycle(&mut locator, &mut backoff))
                .catch_unwind()
                .await;
            if cycle.is_err() {
                self.connection_lost(self.in_use);
                self.state.send_replace(LinkState::Down);
                self.down("the connection's task panicked (see the line before, and please report it)");
            }
            if !matches!(cycle, Ok(Retry::AtOnce)) {
                time::sleep(shaken(backoff)).await;
                backoff = (backoff * 2).min(longest);
            }
        }
    }

    /// One connection, from the attempt to its end; and those that take the place of one that is silent.
    async fn cycle(&mut self, locator: &mut Locator, backoff: &mut Duration) -> Retry {
        let mut held = match self.attempt(locator).await {
            Ok(held) => held,
            Err(failure) => {
                self.state.send_replace(LinkState::Down);
                self.down(&format!("cannot connect: {}", explain(&self.endpoint, &failure)));
                return Retry::AfterPause;
            }
        };
        loop {
            let since = Instant::now();
            let answers = self.answers.load(Ordering::Relaxed);
            self.connected(held.epoch, &held.tracked);
            self.up(&held);
            let why = match self.serve(&mut held, locator).await {
                End::Lost(why) => why,
                End::Replaced(other) => {
                    self.connection_lost(held.epoch);
                    held = *other;
                    continue;
                }
            };
            self.connection_lost(held.epoch);
            // A server that drops each connection before it was of any use is not hammered, and jobs do not
            // wait for it.
            let useful = since.elapsed() >= BACKOFF_MAX || self.answers.load(Ordering::Relaxed) != answers;
            let is_silent = matches!(why, Failure::TimedOut);
            let (state, retry) = if useful && !is_silent {
                *backoff = BACKOFF_MIN;
                (LinkState::Connecting, Retry::AtOnce)
            } else {
                (LinkState::Down, Retry::AfterPause)
            };
            self.state.send_replace(state);
            self.down(&format!("connection lost: {why}"));
            return retry;
        }
    }

    /// Opens a connection, within the limit for that.
    async fn attempt(&mut self, locator: &mut Locator) -> Result<Held, Failure> {
        self.tried += 1;
        let epoch = self.tried;
        let (opened, tracked) = within(self.connect_timeout, self.greet(epoch, locator)).await?;
        Ok(Held {
            epoch,
            silence: Silence::new(Heard::clone(&opened.heard)),
            opened,
            tracked,
        })
    }

    /// Connects, and has Redis track changes if that is wanted.
    async fn greet(&mut self, epoch: u64, locator: &mut Locator) -> Result<(Opened, TrackingState), Failure> {
        let deadline = Instant::now() + self.connect_timeout;
        let Some(tracking) = self.tracking.clone() else {
            let opened = locator.greet(None, deadline).await?;
            opened.is_alive().await?;
            return Ok((opened, TrackingState::Off));
        };
        let listener = (Arc::clone(&tracking), epoch);
        let (opened, tracked) = match locator.greet(Some(listener), deadline).await {
            Ok(opened) => {
                let tracked = start_tracking(&opened.connection, &tracking).await?;
                (opened, tracked)
            }
            Err(failure) => {
                self.closed = if is_closed(&failure) { self.closed + 1 } else { 0 };
                if !is_no_resp3(&failure) && self.closed < CLOSED_GREETINGS {
                    return Err(failure);
                }
                (
                    locator.greet(None, deadline).await?,
                    TrackingState::Refused(failure.to_string()),
                )
            }
        };
        // What it says to TRACKING it may say to a client that it will not serve.
        opened.is_alive().await?;
        self.closed = 0;
        Ok((opened, tracked))
    }

    /// Lets the watcher know whether Redis says from here on what changes.
    fn connected(&mut self, epoch: u64, tracked: &TrackingState) {
        let Some(tracking) = &self.tracking else { return };
        match tracked {
            TrackingState::Refused(why) if !self.untracked => {
                let message = format!(
                    "{} does not tell what changes ({why}): \
                     what is cached lives as long as registry_auth_cache says",
                    self.endpoint
                );
                self.log.write(Level::Warn, &message);
                self.untracked = true;
            }
            TrackingState::On if self.untracked => {
                let message = format!("{} tells what changes again", self.endpoint);
                self.log.write(Level::Notice, &message);
                self.untracked = false;
            }
            _ => {}
        }
        tracking.connected(epoch, matches!(tracked, TrackingState::On));
    }

    fn connection_lost(&self, epoch: u64) {
        if let Some(tracking) = &self.tracking {
            tracking.connection_lost(epoch);
        }
    }

    fn up(&mut self, held: &Held) {
        if self.reason.take().is_some() {
            self.log
                .write(Level::Notice, &format!("{} is reachable again", self.endpoint));
        } else {
            self.log
                .write(Level::Info, &format!("connected to {}", self.endpoint));
        }
        self.in_use = held.epoch;
        self.state.send_replace(LinkState::Up(Live {
            connection: held.opened.connection.clone(),
            epoch: held.epoch,
        }));
    }

    /// One line when an outage begins and one whenever its reason changes.
    fn down(&mut self, reason: &str) {
        if self.reason.as_deref() != Some(reason) {
            self.log
                .write(Level::Error, &format!("{}: {reason}", self.endpoint));
            self.reason = Some(reason.to_owned());
        }
    }

    /// Returns when the connection is of no use any more. That drops its driver, which closes the socket for
    /// lookups still waiting on it, too: they fail, or are asked again, now rather than at their deadline.
    async fn serve(&mut self, held: &mut Held, locator: &mut Locator) -> End {
        loop {
            match self.watch(held, locator).await {
                Trouble::Lost(failure) => return End::Lost(failure),
                Trouble::Silent => {}
            }
            // Jobs wait: it may speak again in time for them.
            self.state.send_replace(LinkState::Connecting);
            if let Some(end) = self.doubt(held, locator).await {
                return end;
            }
            self.up(held);
        }
    }

    /// How long a connection may be silent until it is in doubt.
    fn patience(&self) -> Duration {
        DOUBT_AFTER.max(2 * self.timeout)
    }

    /// Returns when something has to be done about the connection.
    async fn watch(&mut self, held: &mut Held, locator: &mut Locator) -> Trouble {
        let patience = self.patience();
        let connection = held.opened.connection.clone();
        let Some(task) = held.opened.driver.0.as_mut() else {
            return Trouble::Lost(Failure::Closed);
        };
        let mut ticks = time::interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let is_refused = matches!(held.tracked, TrackingState::Refused(_));
        let mut track_at = is_refused.then(|| Instant::now() + TRACK_EVERY);
        let mut moved = pin!(locator.moved(&connection, self.timeout));
        // The question that is under way.
        let mut asked = pin!(Fuse::terminated());
        loop {
            tokio::select! {
                _ = &mut *task => return Trouble::Lost(Failure::Closed),
                () = reported(&mut self.broken, held.epoch) => {
                    let odd = "a lookup was not answered as Redis does".to_owned();
                    return Trouble::Lost(Failure::Unfit(odd));
                }
                failure = &mut moved => return Trouble::Lost(failure),
                Err(failure) = &mut asked => return Trouble::Lost(failure),
                _ = ticks.tick() => {
                                let silence = held.silence.measure();
                    if silence >= patience {
                        return Trouble::Silent;
                    }
                    if silence >= ASK_AFTER && asked.is_terminated() {
                        asked.set(ping(connection.clone()).fuse());
                    }
                                if track_at.is_some_and(|at| at <= Instant::now()) {
                        track_at = match self.retry_tracking(&connection, held.epoch).await {
                            Ok(true) => None,
                            Ok(false) | Err(Failure::TimedOut) => Some(Instant::now() + TRACK_EVERY),
                            Err(failure) => return Trouble::Lost(failure),
                        };
                    }
                }
            }
        }
    }

    /// The connection has been silent for long: another is tried, and the first of the two that says
    /// something is used. `None` where it is the old one. Nothing that Redis says is lost then, so that what
    /// is known stays good.
    async fn doubt(&mut self, held: &mut Held, locator: &mut Locator) -> Option<End> {
        let silent = Failure::Unfit(format!("silent for {:?}", self.patience()));
        self.down(&format!("connection lost: {silent}"));
        let Held { opened, silence, .. } = held;
        let Some(task) = opened.driver.0.as_mut() else {
            return Some(End::Lost(Failure::Closed));
        };
        let spoke = async {
            while !silence.is_broken() {
                time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            _ = task => Some(End::Lost(Failure::Closed)),
            () = spoke => None,
            other = self.another(locator) => match silence.is_broken() {
                true => None,
                false => Some(End::Replaced(Box::new(other))),
            },
            () = time::sleep(HOPE) => Some(End::Lost(Failure::TimedOut)),
        }
    }

    /// Opens a connection, however often it has to be tried.
    async fn another(&mut self, locator: &mut Locator) -> Held {
        loop {
            match self.attempt(locator).await {
                Ok(held) => return held,
                Err(failure) => {
                    self.down(&format!("cannot connect: {}", explain(&self.endpoint, &failure)));
                    time::sleep(shaken(BACKOFF_MIN)).await;
                }
            }
        }
    }

    /// Tries again to have changes tracked on a connection that is in use.
    async fn retry_tracking(
        &mut self,
        connection: &MultiplexedConnection,
        epoch: u64,
    ) -> Result<bool, Failure> {
        let Some(tracking) = self.tracking.clone() else {
            return Ok(true);
        };
        let tracked = within(self.timeout, start_tracking(connection, &tracking)).await?;
        let is_on = matches!(tracked, TrackingState::On);
        if is_on {
            self.connected(epoch, &tracked);
        }
        Ok(is_on)
    }
}

/// A pause of which a random part is left out, so that many workers do not come back at once.
fn shaken(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 256;
    pause - pause.mul_f64(random as f64 / 1024.0)
}

/// Waits until a lookup reports the connection of `epoch`. (On its own so that the guard of `wait_for` is
/// gone.)
async fn reported(broken: &mut watch::Receiver<u64>, epoch: u64) {
    drop(broken.wait_for(|broken| *broken >= epoch).await);
}

/// Asks for a sign of life. Nobody sets a limit: what counts is whether anything comes.
async fn ping(mut connection: MultiplexedConnection) -> Result<(), Failure> {
    match connection.send_packed_command(&redis::cmd("PING")).await {
        Err(error) => Err(Failure::Redis(error)),
        Ok(Value::ServerError(error)) if !is_alive(&error) => Err(Failure::Redis(error.into())),
        Ok(_) => Ok(()),
    }
}
