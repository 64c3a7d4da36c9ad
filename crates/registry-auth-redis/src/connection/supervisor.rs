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
use crate::connection::ladder::{self, Standing, Subscriber};
use crate::connection::locate::Locator;
use crate::connection::open::{Failure, Listener, Opened, Target, explain, is_alive, within};
use crate::connection::pulse::{Heard, Silence, TICK};
use crate::connection::tracking::{Rung, Tracking};
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
/// Time in which a large answer comes has such a part of its length: others wait for its end.
const COMING_COUNTS: u32 = 3;
/// How often a connection in doubt is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How often a connection that does not tell of all changes is tried again: an ACL may have been changed.
const CLIMB_EVERY: Duration = Duration::from_secs(10);

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
    to_prove: Arc<watch::Sender<u64>>,
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

    /// Has the watcher told when Redis has answered something that is asked from now on, as
    /// [`Watcher::proved`](crate::connection::tracking::Watcher::proved) of this `number`, or of a later one.
    /// Never where there is no connection.
    pub fn prove(&self, number: u64) {
        self.to_prove.send_if_modified(|known| {
            let is_later = *known < number;
            *known = number.max(*known);
            is_later
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
    standing: Standing,
    silence: Silence,
}

/// How a connection ends.
enum End {
    /// It is of no use any more.
    Lost(Failure),
    /// It was silent for so long that another was opened.
    Replaced(Box<Held>),
}

/// How long a connection has answered nothing, by the ticks of this process.
#[derive(Default)]
struct Unanswered {
    lasted: Duration,
    /// Lookups that were answered by then.
    answers: u64,
    /// Whether a question of the supervisor itself was under way.
    is_asked: bool,
}

impl Unanswered {
    fn new(answers: u64) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }

    /// The time by this tick. `is_under_way`: the supervisor has asked a question. `is_coming`: a part of a
    /// large answer has come, which has others wait; then it counts as less.
    fn measure(&mut self, answers: u64, is_under_way: bool, is_coming: bool) -> Duration {
        let is_answered = self.is_asked && !is_under_way || answers != self.answers;
        let passed = if is_coming { TICK / COMING_COUNTS } else { TICK };
        self.lasted = match is_answered {
            true => Duration::ZERO,
            false => self.lasted + passed,
        };
        (self.answers, self.is_asked) = (answers, is_under_way);
        self.lasted
    }
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
    to_prove: watch::Receiver<u64>,
    answers: Arc<AtomicU64>,
    /// What was last logged as the reason of the present outage.
    reason: Option<String>,
    /// How Redis tells what changes, as last logged.
    rung: Option<Rung>,
    /// The number of the last connection that was tried.
    tried: u64,
    /// The number of the one in use.
    in_use: u64,
    /// Where the last one in use led to.
    server: Option<Target>,
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
        let (prove_sender, to_prove) = watch::channel(0);
        let answers = Arc::new(AtomicU64::new(0));
        let detour = Arc::new(Detour::new(endpoint.clone()));
        let link = Link {
            state: receiver,
            broken: Arc::new(broken_sender),
            to_prove: Arc::new(prove_sender),
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
            to_prove,
            answers,
            reason: None,
            rung: None,
            tried: 0,
            in_use: 0,
            server: None,
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
            let server = self.server.replace(held.opened.target.clone());
            if let Some(tracking) = &self.tracking
                && server.is_some_and(|server| server != held.opened.target)
            {
                tracking.failed_over(held.epoch);
            }
            self.connected(&held);
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
        let (opened, standing) = within(self.connect_timeout, self.greet(epoch, locator)).await?;
        Ok(Held {
            epoch,
            silence: Silence::new(Heard::clone(&opened.heard)),
            opened,
            standing,
        })
    }

    /// Connects, and finds how Redis tells what changes if somebody wants to know.
    async fn greet(&mut self, epoch: u64, locator: &mut Locator) -> Result<(Opened, Standing), Failure> {
        let deadline = Instant::now() + self.connect_timeout;
        let (opened, standing) = match self.listener(epoch) {
            Some(listener) => ladder::connect(locator, &listener, deadline).await?,
            None => (locator.greet(None, deadline).await?, Standing::unwanted()),
        };
        // What it says to TRACKING it may say to a client that it will not serve.
        opened.is_alive().await?;
        Ok((opened, standing))
    }

    /// Who hears what the connection of `epoch` tells; `None` where nobody wants to.
    fn listener(&self, epoch: u64) -> Option<Listener> {
        self.tracking.clone().map(|tracking| (tracking, epoch))
    }

    /// Lets the watcher know what Redis says from here on of what changes; one line in the log when that is
    /// not as it was.
    fn connected(&mut self, held: &Held) {
        let Some(tracking) = &self.tracking else { return };
        let (rung, why) = (held.standing.rung, held.standing.why.join("; "));
        if self.rung != Some(rung) {
            let (level, words) = match rung {
                Rung::Broadcast => (Level::Notice, "tells what changes".to_owned()),
                Rung::Tracking => (
                    Level::Notice,
                    format!("tells what changes of what was asked for, as it does not know BCAST ({why})"),
                ),
                Rung::Channel => (
                    Level::Warn,
                    format!(
                        "tells what registry-authctl changes, by its channel; what others change counts when \
                         the ttl of registry_auth_cache has passed ({})",
                        if why.is_empty() { "changes=channel" } else { &why }
                    ),
                ),
                Rung::Ttl => (
                    Level::Warn,
                    format!(
                        "does not tell what changes ({why}): what is cached lives as long as \
                         registry_auth_cache says"
                    ),
                ),
            };
            self.log.write(level, &format!("{} {words}", self.endpoint));
            self.rung = Some(rung);
        }
        tracking.connected(held.epoch, rung, &held.opened.target);
    }

    fn connection_lost(&self, epoch: u64) {
        if let Some(tracking) = &self.tracking {
            tracking.connection_lost(epoch);
        }
    }

    fn up(&mut self, held: &Held) {
        // Which of several addresses, or what the sentinels have named.
        let at = match held.opened.target {
            Target::Tcp(address, _) => format!(", at {address}"),
            Target::Unix(_) => String::new(),
        };
        if self.reason.take().is_some() {
            self.log.write(
                Level::Notice,
                &format!("{} is reachable again{at}", self.endpoint),
            );
        } else {
            self.log
                .write(Level::Info, &format!("connected to {}{at}", self.endpoint));
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

    /// How long a connection may answer no question until it is left, though it is not silent: what it tells
    /// of changes is as late.
    fn limit(&self) -> Duration {
        self.patience() + HOPE
    }

    /// What is said of a connection that is left for that.
    fn mute(&self) -> String {
        format!("it says things, but has answered nothing for {:?}", self.limit())
    }

    /// Returns when something has to be done about the connection.
    async fn watch(&mut self, held: &mut Held, locator: &mut Locator) -> Trouble {
        let patience = self.patience();
        let (connection, epoch) = (held.opened.connection.clone(), held.epoch);
        let mut ticks = time::interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut climb_at = Instant::now() + CLIMB_EVERY;
        let mut unanswered = Unanswered::new(self.answers.load(Ordering::Relaxed));
        let mut unanswered_there = Unanswered::new(0);
        let mut moved = pin!(locator.moved(&connection, self.timeout));
        // The questions that are under way, here and on the connection for changes.
        let mut asked = pin!(Fuse::terminated());
        let mut asked_there = pin!(Fuse::terminated());
        let mut proof = pin!(Fuse::terminated());
        loop {
            tokio::select! {
                () = held.opened.driver.ended() => return Trouble::Lost(closed(&held.opened.heard)),
                why = ended(&mut held.standing.subscriber) => {
                    let why = format!("the connection for changes: {why}");
                    return Trouble::Lost(Failure::Unfit(why));
                }
                () = reported(&mut self.broken, epoch) => {
                    let odd = "a lookup was not answered as Redis does".to_owned();
                    return Trouble::Lost(Failure::Unfit(odd));
                }
                failure = &mut moved => return Trouble::Lost(failure),
                Err(failure) = &mut asked => return Trouble::Lost(failure),
                Err(failure) = &mut asked_there => return Trouble::Lost(failure),
                // What nobody has asked for yet is 0, and what was asked for before this connection began may
                // be proved by it, too.
                Ok(()) = self.to_prove.changed(), if proof.is_terminated() => {
                    let number = *self.to_prove.borrow_and_update();
                    let asked = ping(connection.clone());
                    proof.set(async move { asked.await.map(|()| number) }.fuse());
                }
                proved = &mut proof => match proved {
                    Ok(number) => {
                        if let Some(tracking) = &self.tracking {
                            tracking.proved(epoch, number);
                        }
                    }
                    Err(failure) => return Trouble::Lost(failure),
                },
                _ = ticks.tick() => {
                    let silence = held.silence.measure();
                    if silence >= patience {
                        return Trouble::Silent;
                    }
                    let answers = self.answers.load(Ordering::Relaxed);
                    let is_coming = held.silence.is_coming();
                    let lasted = unanswered.measure(answers, !asked.is_terminated(), is_coming);
                    if lasted >= self.limit() {
                        return Trouble::Lost(Failure::Unfit(self.mute()));
                    }
                    if lasted >= ASK_AFTER && asked.is_terminated() {
                        asked.set(ping(connection.clone()).fuse());
                        unanswered.is_asked = true;
                    }
                    if let Some(subscriber) = &mut held.standing.subscriber {
                        let silence = subscriber.silence.measure();
                        let is_coming = subscriber.silence.is_coming();
                        let lasted = unanswered_there.measure(0, !asked_there.is_terminated(), is_coming);
                        if silence >= patience || lasted >= self.limit() {
                            let why = match silence >= patience {
                                true => subscriber.silence.words(patience),
                                false => self.mute(),
                            };
                            let why = format!("the connection for changes: {why}");
                            return Trouble::Lost(Failure::Unfit(why));
                        }
                        if lasted >= ASK_AFTER && asked_there.is_terminated() {
                            asked_there.set(subscriber.ping().fuse());
                            unanswered_there.is_asked = true;
                        }
                    }
                    if held.standing.may_rise() && climb_at <= Instant::now() {
                        climb_at = Instant::now() + CLIMB_EVERY;
                        if let Err(failure) = self.climb(held).await {
                            return Trouble::Lost(failure);
                        }
                        if held.standing.subscriber.is_none() {
                            // That question ends with its connection, which was given up.
                            asked_there.set(Fuse::terminated());
                        }
                    }
                }
            }
        }
    }

    /// Tries a connection that is in use for a better rung.
    async fn climb(&mut self, held: &mut Held) -> Result<(), Failure> {
        let Some(listener) = self.listener(held.epoch) else {
            return Ok(());
        };
        let (opened, present) = (&held.opened, &held.standing);
        let better = ladder::climb_on(&self.endpoint, opened, &listener, present, self.timeout).await?;
        if let Some(better) = better {
            held.standing = better;
            self.connected(held);
        }
        Ok(())
    }

    /// The connection has been silent for long: another is tried, and the first of the two that says
    /// something is used. `None` where it is the old one. Nothing that Redis says is lost then, so that what
    /// is known stays good.
    async fn doubt(&mut self, held: &mut Held, locator: &mut Locator) -> Option<End> {
        let silent = Failure::Unfit(held.silence.words(self.patience()));
        self.down(&format!("connection lost: {silent}"));
        let Held { opened, silence, .. } = held;
        let spoke = async {
            while !silence.is_broken() {
                time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = opened.driver.ended() => Some(End::Lost(closed(&opened.heard))),
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

/// Waits until the second connection is gone, where there is one; why it is.
async fn ended(subscriber: &mut Option<Subscriber>) -> Failure {
    match subscriber {
        Some(subscriber) => {
            subscriber.ended().await;
            closed(subscriber.silence.heard())
        }
        None => std::future::pending().await,
    }
}

/// Why a connection has come to its end.
fn closed(heard: &Heard) -> Failure {
    match heard.why_ended() {
        Some(abandoned) => abandoned.into(),
        None => Failure::Closed,
    }
}

/// Asks for a sign of life. Nobody sets a limit: what counts is whether anything comes.
async fn ping(mut connection: MultiplexedConnection) -> Result<(), Failure> {
    match connection.send_packed_command(&redis::cmd("PING")).await {
        Err(error) => Err(Failure::Redis(error)),
        Ok(Value::ServerError(error)) if !is_alive(&error) => Err(Failure::Redis(error.into())),
        Ok(_) => Ok(()),
    }
}
