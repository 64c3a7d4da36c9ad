//! The store as nginx's worker holds it: one helper thread, a channel of jobs to it, a queue of completions back.
//!
//! Started in `init_process` of a worker, stopped in `exit_process`. Invariants: no method blocks (but `stop`, for
//! less than 100 ms); every job is answered once, whatever fails; the helper never runs with a signal unblocked.

use crate::completions::{Completions, Wake};
use crate::connection::Keeper;
use crate::dummy::Dummies;
use crate::familiar::Familiars;
use crate::hashing::Pool;
use crate::job::{Event, Job};
use crate::last_use::LastUses;
use crate::log::{Level, Log, LogLine};
use crate::lookup::{self, Context};
use crate::shared::SharedCache;
use crate::tracking::Tracking;
use crate::verify::{Passwords, Verifier};
use crate::waiting::{Arrivals, Waiting};
use crate::{Endpoint, InvalidEndpoint};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::fmt;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};

/// Batches taken from the channel at once; they go into one pipeline.
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
    /// Called, from any thread, when [`Store::drain`] or [`Store::drain_log`] has something after having had
    /// nothing. Must not block or panic. Never called again once [`Store::stop`] has returned.
    pub wake: Box<dyn Fn() + Send + Sync>,
}

/// The pool for slow password hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashing {
    /// Threads; 0 is taken as 1.
    pub threads: usize,
    /// Passwords that may wait for a thread; one more is answered [`crate::Outcome::Busy`].
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
    /// No thread, no event queue, or no signal mask to be had.
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

/// What is sent to the helper.
pub(crate) enum Work {
    /// New jobs.
    Ask(Arrivals),
    /// Jobs whose answers were overtaken by a change.
    Again(Vec<Waiting>),
}

/// The handle of the helper thread. One thread uses it; dropping it stops the helper.
pub struct Store {
    work: Option<UnboundedSender<Work>>,
    completions: Arc<Completions>,
    helper: Option<JoinHandle<()>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("running", &self.work.is_some())
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
        let (work, receiver) = unbounded_channel();
        // The helper lives until its work's last sender is gone, and `completions` outlives that.
        let completions = Completions::new(options.wake as Wake, options.tracking, work.downgrade());
        let completions = Arc::new(completions);
        let tracking = Tracking::new(Arc::clone(&completions), &options.prefixes);
        let tracking = options.tracking.then_some(tracking).map(Arc::new);
        let log = Log::new(Arc::clone(&completions));
        // Threads inherit the mask of their creator: nginx's signals must reach nginx's thread only. The threads that
        // tokio starts later inherit it from the helper.
        let unblocked = SigSet::all()
            .thread_swap_mask(SigmaskHow::SIG_SETMASK)
            .map_err(os)?;
        let helper = Pool::start(options.hashing, &log).and_then(|pool| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .max_blocking_threads(RESOLVERS)
                .thread_name("auth-resolver")
                .build()?;
            let (keeper, link) = Keeper::new(
                options.endpoint,
                options.connect_timeout,
                options.timeout,
                tracking,
                log.clone(),
            );
            let verifier = Verifier {
                dummies: Dummies::default(),
                log: log.clone(),
                completions: Arc::clone(&completions),
            };
            let familiars = Familiars::new().ok_or_else(|| io::Error::other("no random numbers"))?;
            let familiars = Arc::new(familiars);
            let last_uses = options
                .last_use
                .then(|| LastUses::new(link.clone(), options.timeout, log.clone()));
            let passwords = Passwords {
                verifier: Arc::new(verifier),
                pool,
                underway: Arc::default(),
                familiars: Arc::clone(&familiars),
                last_uses,
            };
            let context = Context {
                link,
                timeout: options.timeout,
                passwords,
                completions: Arc::clone(&completions),
                log,
                resolver: Arc::default(),
                underway: Arc::default(),
                shared: SharedCache::default(),
                familiars,
            };
            thread::Builder::new()
                .name("registry-auth".to_owned())
                .spawn(move || help(runtime, keeper, receiver, Arc::new(context)))
        });
        let restored = unblocked.thread_set_mask();
        let mut store = Self {
            work: Some(work),
            completions,
            helper: None,
        };
        store.helper = Some(helper.map_err(StartError::Os)?);
        restored.map_err(os)?;
        Ok(store)
    }

    /// Hands jobs over; they are asked in one pipeline, together with others that wait by then. Costs one send. When
    /// the helper is gone they are answered `Unavailable` at once.
    pub fn submit(&self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        // Dropped, which is what both a failed send and no sender come to, it answers them.
        let jobs = Arrivals::new(jobs, &self.completions);
        if let Some(sender) = &self.work {
            drop(sender.send(Work::Ask(jobs)));
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
        self.completions.drain_log(out);
    }

    /// Stops and joins the helper, within 100 ms also when Redis hangs. Threads in the middle of a password hash or of
    /// a name resolution cannot be interrupted: they are left to end by themselves and touch nothing of the caller's.
    /// Jobs under way are answered `Unavailable`; nobody is woken for them.
    pub fn stop(&mut self) {
        self.completions.close();
        self.work.take();
        if let Some(helper) = self.helper.take() {
            // An error is the payload of a panic, and `help` catches those.
            drop(helper.join());
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

fn os(error: nix::Error) -> StartError {
    StartError::Os(error.into())
}

/// The helper thread's whole life.
fn help(runtime: Runtime, keeper: Keeper, mut work: UnboundedReceiver<Work>, context: Arc<Context>) {
    runtime.spawn(keeper.run());
    loop {
        // Lookups are tasks, and tokio catches their panics; this is for the loop itself.
        let served = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve(&mut work, &context))));
        if served.is_ok() {
            break;
        }
        context
            .log
            .write(Level::Error, "the helper thread panicked and goes on");
    }
    context.passwords.pool.stop();
    runtime.shutdown_background();
}

/// Turns what waits in the channel into lookups until the store is stopped. Lookups overlap: the next pipeline is sent
/// while the answers of the last are on their way.
async fn serve(work: &mut UnboundedReceiver<Work>, context: &Arc<Context>) {
    let mut waiting = Vec::new();
    for batch in 1.. {
        if work.recv_many(&mut waiting, BATCHES).await == 0 {
            return;
        }
        let mut asked = Vec::new();
        for work in waiting.drain(..) {
            match work {
                Work::Ask(jobs) => asked.extend(jobs.filter_map(|job| context.board(job, batch))),
                Work::Again(jobs) => {
                    let jobs = jobs.into_iter();
                    asked.extend(jobs.filter_map(|job| context.board(job, batch)));
                }
            }
        }
        if !asked.is_empty() {
            // Boxed: tokio moves a task several times before it runs.
            tokio::spawn(Box::pin(lookup::run(Arc::clone(context), asked)));
        }
    }
}
