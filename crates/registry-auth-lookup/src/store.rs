//! The store as nginx's worker holds it: one helper thread, a channel of jobs to it, a queue of completions back.
//!
//! Started in `init_process` of a worker, stopped in `exit_process`. Invariants: no method blocks (but `start`, until the helper
//! runs, and `stop`, for less than 100 ms); every job is answered once, whatever fails; the helper never runs with a signal
//! unblocked; all other threads of the store are started by the helper, and share its signal mask and its open files; nothing wakes
//! the helper's runtime from outside of them.

use crate::last_use::LastUses;
use crate::lookup::reply_cache::Familiars;
use crate::lookup::shared::SharedCache;
use crate::lookup::{self, Context};
use crate::messages::{Event, Job};
use crate::queue::events::Completions;
use crate::queue::jobs::{inbox, Door, Exit, Inbox};
use crate::queue::pending::{Arrivals, Waiting};
use crate::rehash::Renewals;
use crate::verify::decoy::Dummies;
use crate::verify::pool::Pool;
use crate::verify::verdict::{Passwords, Verifier};
use nix::sys::signal::{SigSet, SigmaskHow};
use registry_auth_redis::connection::supervisor::Keeper;
use registry_auth_redis::connection::tracking::{Tracking, Watcher};
use registry_auth_redis::log::{Level, Log, LogLine, LogQueue};
use registry_auth_redis::wake::Wake;
use registry_auth_redis::{Endpoint, InvalidEndpoint};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{sync_channel, RecvError};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio::sync::Semaphore;

/// Lists of jobs that are asked again, taken at once.
const BATCHES: usize = 1024;
/// Threads for name resolution (`getaddrinfo` blocks, for seconds when the resolver is down).
const RESOLVERS: usize = 8;

/// How a [`Store`] is to work.
pub struct Options {
    /// Which Redis.
    pub endpoint: Endpoint,
    /// Limit of one lookup's Redis part, a connection attempt that it waits for included (`timeout=`).
    pub timeout: Duration,
    /// Limit of one attempt to connect (`connect_timeout=`).
    pub connect_timeout: Duration,
    /// `registry_auth_hashing`.
    pub hashing: Hashing,
    /// Every `registry_auth_prefix` in use: the keys whose changes are told.
    pub prefixes: Vec<Box<str>>,
    /// Whether changes are to be told ([`crate::Event`]); false: events are completions only.
    pub tracking: bool,
    /// Whether the last use of access tokens is to be recorded in `P:token-use`.
    pub last_use: bool,
    /// Whether a weak password hash is to be replaced by argon2id when its owner logs in (`registry_auth_rehash`).
    pub rehash: bool,
    /// Called, from any thread, when [`Store::drain`] or [`Store::drain_log`] has something after having had
    /// nothing. Must not block or panic. Never called again once [`Store::stop`] has returned.
    pub wake: Box<dyn Fn() + Send + Sync>,
    /// Starts the helper's thread: [`own_thread`], or what changes something of it first, as the table of open files; all threads of
    /// the store inherit that.
    pub spawn: Spawn,
}

/// What a thread does.
pub type Work = Box<dyn FnOnce() + Send>;

/// Starts a thread of that name. In it the descriptor has to stay open, and what [`Options::wake`] needs.
pub type Spawn = Box<dyn FnOnce(&str, BorrowedFd<'_>, Work) -> io::Result<JoinHandle<()>>>;

/// A thread like any other.
#[must_use]
pub fn own_thread() -> Spawn {
    Box::new(|name, _, work| thread::Builder::new().name(name.to_owned()).spawn(work))
}

/// The pool for slow password hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashing {
    /// Threads; 0 is taken as 1.
    pub threads: usize,
    /// Passwords that may wait for a thread, a quarter of them from one network; one more is answered [`crate::Outcome::Busy`].
    pub queue: usize,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            threads: 1,
            queue: 256,
        }
    }
}

/// Why a [`Store`] could not be started. An unreachable Redis is no reason.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// User and password of the endpoint do not go together.
    Endpoint(InvalidEndpoint),
    /// No thread, no descriptor, no event queue, or no signal mask to be had.
    Os(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => write!(f, "{error}"),
            Self::Os(error) => write!(f, "cannot start the helper thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The handle of the helper thread. One thread uses it; dropping it stops the helper.
pub struct Store {
    inbox: Inbox,
    completions: Arc<Completions>,
    log: Arc<LogQueue>,
    helper: Option<JoinHandle<()>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("running", &self.helper.is_some())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Starts the helper and begins to connect; does not wait for Redis.
    ///
    /// # Errors
    /// [`StartError`] when the endpoint makes no sense or the system gives no thread.
    pub fn start(options: Options) -> Result<Self, StartError> {
        options.endpoint.check().map_err(StartError::Endpoint)?;
        let (inbox, exit) = inbox().map_err(StartError::Os)?;
        let (again, overtaken) = unbounded_channel();
        let wake = Arc::new(Wake::new(options.wake));
        let completions = Completions::new(Arc::clone(&wake), options.tracking, again);
        let mut store = Self {
            inbox,
            completions: Arc::new(completions),
            log: Arc::new(LogQueue::new(wake)),
            helper: None,
        };
        let parts = Parts {
            endpoint: options.endpoint,
            timeout: options.timeout,
            connect_timeout: options.connect_timeout,
            hashing: options.hashing,
            prefixes: options.prefixes,
            tracking: options.tracking,
            last_use: options.last_use,
            rehash: options.rehash,
            completions: Arc::clone(&store.completions),
            log: Arc::clone(&store.log),
            exit,
            overtaken,
        };
        // Threads inherit the mask of their creator: nginx's signals must reach nginx's thread only.
        let unblocked = SigSet::all()
            .thread_swap_mask(SigmaskHow::SIG_SETMASK)
            .map_err(os)?;
        let (ready, is_ready) = sync_channel(1);
        // The thread gets its parts when it has begun: until then the descriptor among them is lent.
        let (hand, handed) = sync_channel::<Parts>(1);
        let work = move || {
            let Ok(parts) = handed.recv() else { return };
            match parts.assemble() {
                Ok((runtime, helper)) => {
                    drop(ready.send(Ok(())));
                    helper.run(runtime);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let helper = (options.spawn)("registry-auth", parts.exit.bell(), Box::new(work));
        let restored = unblocked.thread_set_mask();
        store.helper = Some(helper.map_err(StartError::Os)?);
        restored.map_err(os)?;
        // An error means that the thread is gone, which the next line finds.
        drop(hand.send(parts));
        match is_ready.recv() {
            Ok(started) => started.map_err(StartError::Os)?,
            Err(RecvError) => return Err(StartError::Os(io::Error::other("it panicked"))),
        }
        Ok(store)
    }

    /// Hands jobs over; they are asked in one pipeline, together with others that wait by then. Costs a system call, unless the helper
    /// has others to take yet. When the helper is gone they are answered `Unavailable` at once.
    pub fn submit(&self, jobs: Vec<Job>) {
        if !jobs.is_empty() {
            self.inbox.leave(Arrivals::new(jobs, &self.completions));
        }
    }

    /// An empty list for the next jobs. It may be one that was submitted before: its memory comes back to the thread that made it,
    /// as a heap that two threads free from is slow for both.
    #[must_use]
    pub fn spare(&self) -> Vec<Job> {
        self.completions.spare()
    }

    /// Appends the events that are there. To be called after each wake-up; with an empty `out` it swaps buffers.
    pub fn drain(&self, out: &mut Vec<Event>) {
        self.completions.drain(out);
    }

    /// Appends the log lines that are there. To be called after each wake-up.
    pub fn drain_log(&self, out: &mut Vec<LogLine>) {
        self.log.drain(out);
    }

    /// Stops and joins the helper, within 100 ms also when Redis hangs. Threads in the middle of a password hash or of
    /// a name resolution cannot be interrupted: they are left to end by themselves and touch nothing of the caller's.
    /// Jobs under way are answered `Unavailable`; nobody is woken for them.
    pub fn stop(&mut self) {
        self.completions.close();
        self.inbox.close();
        if let Some(helper) = self.helper.take() {
            // An error is the payload of a panic, and `run` catches those.
            drop(helper.join());
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the helper is made of, on its own thread.
struct Parts {
    endpoint: Endpoint,
    timeout: Duration,
    connect_timeout: Duration,
    hashing: Hashing,
    prefixes: Vec<Box<str>>,
    tracking: bool,
    last_use: bool,
    rehash: bool,
    completions: Arc<Completions>,
    log: Arc<LogQueue>,
    exit: Exit,
    overtaken: UnboundedReceiver<Vec<Waiting>>,
}

impl Parts {
    fn assemble(self) -> io::Result<(Runtime, Helper)> {
        let completions = self.completions;
        let log = Log::new(self.log);
        log.tell_panics();
        let pool = Pool::start(self.hashing, &log)?;
        let resolvers = log.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(RESOLVERS)
            .thread_name("auth-resolver")
            .on_thread_start(move || resolvers.tell_panics())
            .build()?;
        let renewals = self.rehash.then(|| {
            let (endpoint, helper) = (self.endpoint.clone(), runtime.handle().clone());
            Renewals::new(endpoint, self.connect_timeout, self.timeout, log.clone(), helper)
        });
        let watcher: Arc<dyn Watcher> = Arc::<Completions>::clone(&completions);
        let tracking = Tracking::new(watcher, &self.prefixes);
        let (keeper, link) = Keeper::new(
            self.endpoint,
            self.connect_timeout,
            self.timeout,
            self.tracking.then_some(tracking).map(Arc::new),
            log.clone(),
        );
        let verifier = Verifier {
            dummies: Dummies::default(),
            log: log.clone(),
            completions: Arc::clone(&completions),
        };
        let familiars = Familiars::new().ok_or_else(|| io::Error::other("no random numbers"))?;
        let familiars = Arc::new(familiars);
        let last_uses = self
            .last_use
            .then(|| LastUses::new(link.clone(), self.timeout, log.clone()));
        let passwords = Passwords {
            verifier: Arc::new(verifier),
            pool,
            underway: Arc::default(),
            familiars: Arc::clone(&familiars),
            last_uses,
            renewals,
        };
        let context = Context {
            link,
            timeout: self.timeout,
            passwords,
            completions,
            log,
            resolver: Arc::default(),
            underway: Arc::default(),
            shared: SharedCache::default(),
            familiars,
            turns: Semaphore::new(lookup::AT_A_TIME),
        };
        let door = {
            let _in_runtime = runtime.enter();
            self.exit.open()?
        };
        runtime.spawn(keeper.run());
        let helper = Helper {
            door,
            overtaken: self.overtaken,
            context: Arc::new(context),
        };
        Ok((runtime, helper))
    }
}

fn os(error: nix::Error) -> StartError {
    StartError::Os(error.into())
}

/// What the helper thread works with.
struct Helper {
    door: Door,
    /// Jobs whose answers were overtaken by a change.
    overtaken: UnboundedReceiver<Vec<Waiting>>,
    context: Arc<Context>,
}

impl Helper {
    /// The helper thread's whole life.
    fn run(mut self, runtime: Runtime) {
        loop {
            // Lookups are tasks, and tokio catches their panics; this is for the loop itself.
            let served = catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.serve())));
            if served.is_ok() {
                break;
            }
            let log = &self.context.log;
            log.write(Level::Error, "the helper thread panicked and goes on");
        }
        self.context.passwords.pool.stop();
        // Before the runtime, which watches it.
        drop(self);
        runtime.shutdown_background();
    }

    /// Turns what comes into lookups until the store is stopped. Lookups overlap: the next pipeline is sent while the answers of the
    /// last are on their way.
    async fn serve(&mut self) {
        let (mut arrived, mut overtaken) = (Vec::new(), Vec::new());
        for batch in 1.. {
            tokio::select! {
                is_open = self.door.take(&mut arrived) => {
                    if !is_open {
                        return;
                    }
                }
                _ = self.overtaken.recv_many(&mut overtaken, BATCHES) => {}
            }
            let mut asked = Vec::new();
            let board = |job| self.context.board(job, batch);
            for jobs in overtaken.drain(..) {
                asked.extend(jobs.into_iter().filter_map(board));
            }
            for jobs in arrived.drain(..) {
                asked.extend(jobs.filter_map(board));
            }
            while !asked.is_empty() {
                let rest = asked.split_off(asked.len().min(lookup::TOGETHER));
                // Boxed: tokio moves a task several times before it runs.
                tokio::spawn(Box::pin(lookup::run(Arc::clone(&self.context), asked)));
                asked = rest;
            }
        }
    }
}
