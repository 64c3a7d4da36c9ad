//! The store as nginx's worker holds it: one helper thread, a channel of jobs to it, a queue of completions
//! back.
//!
//! Started in `init_process` of a worker, stopped in `exit_process`. Invariants: no method blocks (but
//! `start`, until the helper runs, `stop`, for less than 100 ms, and `wait`); every job is answered once,
//! whatever fails; the helper never runs with a signal unblocked; all other threads of the store are started
//! by the helper, and share its signal mask and its open files; nothing wakes the helper's runtime from
//! outside of them.

use crate::activity::Activity;
use crate::last_use::LastUses;
use crate::lookup::encode::Encoder;
use crate::lookup::reply_cache::ReplyCache;
use crate::lookup::resolver;
use crate::lookup::{self, Lookups};
use crate::messages::{Event, Job};
use crate::options::{Hashing, LookupOptions};
use crate::queue::events::EventQueue;
use crate::queue::jobs::{self, IdleReceiver, JobReceiver, JobSender};
use crate::queue::pending::{Arrivals, Outbox, PendingJob};
use crate::rehash::Renewals;
use crate::verify::decoy::Decoys;
use crate::verify::pool::Pool;
use crate::verify::stored_hash::PasswordTags;
use crate::verify::verdict::{Passwords, Verifier};
use nix::sys::signal::{SigSet, SigmaskHow};
use registry_auth::token::SigningKeys;
use registry_auth_redis::connection::supervisor::Supervisor;
use registry_auth_redis::connection::tracking::{Tracking, Watcher};
use registry_auth_redis::log::{Level, Log, LogLine, LogQueue};
use registry_auth_redis::wake::Wake;
use registry_auth_redis::{Changes, Endpoint, InvalidEndpoint};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Lists of jobs that are asked again, taken at once.
const BATCHES: usize = 1024;

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
            Self::Os(error) => write!(f, "cannot start the thread that asks Redis: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The handle of the helper thread. One thread uses it; dropping it stops the helper.
pub struct Store {
    jobs: JobSender,
    events: Arc<EventQueue>,
    log: Arc<LogQueue>,
    activity: Arc<Activity>,
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
    pub fn start(options: LookupOptions) -> Result<Self, StartError> {
        options.endpoint.check().map_err(StartError::Endpoint)?;
        let (jobs, receiver) = jobs::channel().map_err(StartError::Os)?;
        let wake = Arc::new(Wake::new(options.wake));
        let events = EventQueue::new(Arc::clone(&wake), options.changes.is_some());
        let mut store = Self {
            jobs,
            events: Arc::new(events),
            log: Arc::new(LogQueue::new(wake)),
            activity: Arc::default(),
            helper: None,
        };
        let parts = Parts {
            endpoint: options.endpoint,
            timeout: options.timeout,
            connect_timeout: options.connect_timeout,
            hashing: options.hashing,
            prefixes: options.prefixes,
            changes: options.changes,
            last_use: options.last_use,
            rehash: options.rehash,
            token_keys: options.token_keys,
            events: Arc::clone(&store.events),
            log: Arc::clone(&store.log),
            activity: Arc::clone(&store.activity),
            receiver,
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
        let helper = (options.spawn)("registry-auth", parts.receiver.pipe(), Box::new(work));
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

    /// Hands jobs over; they are asked in one pipeline, together with others that wait by then. Costs a
    /// system call, unless the helper has others to take yet. When the helper is gone they are answered
    /// `Unavailable` at once.
    pub fn submit(&self, jobs: Vec<Job>) {
        if !jobs.is_empty() {
            self.jobs.send(Arrivals::new(jobs, &self.events));
        }
    }

    /// Nobody waits for the answer to this job any more, which comes nevertheless: its password is not hashed
    /// where that has not begun, unless others wait for the same.
    pub fn cancel(&self, ticket: u64) {
        self.events.cancel(ticket);
    }

    /// Asks Redis for a sign of life. When it comes, [`Event::Proved`] of this number, or of a later one,
    /// stands behind all changes from before this call. It does not come where there is no connection.
    pub fn prove(&self, number: u64) {
        self.events.prove(number);
        self.jobs.send(Arrivals::new(Vec::new(), &self.events));
    }

    /// Waits until there are events, or `deadline`. For a worker whose event loop has ended.
    pub fn wait(&self, deadline: Instant) {
        self.events.wait(deadline);
    }

    /// Appends the events that are there. To be called after each wake-up; with an empty `out` it swaps
    /// buffers.
    pub fn drain(&self, out: &mut Vec<Event>) {
        self.events.drain(out);
    }

    /// What the store's threads have done and have to do.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Appends the log lines that are there. To be called after each wake-up.
    pub fn drain_log(&self, out: &mut Vec<LogLine>) {
        self.log.drain(out);
    }

    /// Stops and joins the helper, within 100 ms also when Redis hangs. Threads in the middle of a password
    /// hash or of a name resolution cannot be interrupted: they are left to end by themselves and touch
    /// nothing of the caller's. Jobs under way are answered `Unavailable`; nobody is woken for them.
    pub fn stop(&mut self) {
        self.events.close();
        self.jobs.close();
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
    changes: Option<Changes>,
    last_use: bool,
    rehash: bool,
    token_keys: Option<SigningKeys>,
    events: Arc<EventQueue>,
    log: Arc<LogQueue>,
    activity: Arc<Activity>,
    receiver: IdleReceiver,
}

impl Parts {
    fn assemble(self) -> io::Result<(Runtime, Helper)> {
        let log = Log::new(self.log);
        log.tell_panics();
        let pool = Pool::start(self.hashing, &log, &self.activity)?;
        let resolvers = log.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(resolver::THREADS)
            .thread_name("auth-resolver")
            .on_thread_start(move || resolvers.tell_panics())
            .build()?;
        let renewals = self.rehash.then(|| {
            let (endpoint, helper) = (self.endpoint.clone(), runtime.handle().clone());
            let keys = self.token_keys;
            Renewals::new(
                endpoint,
                self.connect_timeout,
                self.timeout,
                log.clone(),
                helper,
                keys,
            )
        });
        let watcher: Arc<dyn Watcher> = Arc::<EventQueue>::clone(&self.events);
        let tracking = self
            .changes
            .map(|changes| Tracking::new(watcher, &self.prefixes, changes));
        let (supervisor, link) = Supervisor::new(
            self.endpoint,
            self.connect_timeout,
            self.timeout,
            tracking.map(Arc::new),
            log.clone(),
        );
        let (again, overtaken) = unbounded_channel();
        let events = Arc::clone(&self.events);
        let outbox = Arc::new(Outbox::new(self.events, again));
        let verifier = Verifier {
            decoys: Decoys::default(),
            log: log.clone(),
            outbox: Arc::clone(&outbox),
        };
        let random = || io::Error::other("no random numbers");
        let last_uses = self
            .last_use
            .then(|| LastUses::new(link.clone(), self.timeout, log.clone()));
        let passwords = Passwords {
            verifier: Arc::new(verifier),
            pool,
            under_way: Arc::default(),
            tags: PasswordTags::new().ok_or_else(random)?,
            last_uses,
            renewals,
        };
        let lookups = Lookups {
            link,
            timeout: self.timeout,
            activity: self.activity,
            passwords,
            outbox,
            encoder: Encoder {
                resolver: Arc::default(),
                log,
            },
            under_way: Arc::default(),
            cache: ReplyCache::new().ok_or_else(random)?,
            turns: Semaphore::new(lookup::AT_A_TIME),
            large_keys: Arc::default(),
            late: Arc::new(Semaphore::new(lookup::LATE)),
        };
        let receiver = {
            let _in_runtime = runtime.enter();
            self.receiver.open()?
        };
        runtime.spawn(supervisor.run());
        let helper = Helper {
            receiver,
            events,
            overtaken,
            lookups: Arc::new(lookups),
        };
        Ok((runtime, helper))
    }
}

fn os(error: nix::Error) -> StartError {
    StartError::Os(error.into())
}

/// What the helper thread works with.
struct Helper {
    receiver: JobReceiver,
    events: Arc<EventQueue>,
    /// Jobs whose answers were overtaken by a change.
    overtaken: UnboundedReceiver<Vec<PendingJob>>,
    lookups: Arc<Lookups>,
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
            let log = &self.lookups.encoder.log;
            log.write(
                Level::Error,
                "the thread that asks Redis goes on after its panic; the requests of that moment got 503",
            );
        }
        self.lookups.passwords.pool.stop();
        // Before the runtime, which watches it.
        drop(self);
        runtime.shutdown_background();
    }

    /// Turns what comes into lookups until the store is stopped. Lookups overlap: the next pipeline is sent
    /// while the answers of the last are on their way.
    async fn serve(&mut self) {
        let (mut arrived, mut overtaken) = (Vec::new(), Vec::new());
        for number in 1.. {
            tokio::select! {
                is_open = self.receiver.recv(&mut arrived) => {
                    if !is_open {
                        return;
                    }
                }
                _ = self.overtaken.recv_many(&mut overtaken, BATCHES) => {}
            }
            self.lookups.link.prove(self.events.to_prove());
            let batch = self.lookups.batch(number);
            let (mut asked, mut ownerless) = (Vec::new(), Vec::new());
            let mut question = |job: PendingJob| {
                if job.ownerless_token().is_some() {
                    ownerless.push(job);
                    return None;
                }
                self.lookups.question(job, &batch)
            };
            for jobs in overtaken.drain(..) {
                asked.extend(jobs.into_iter().filter_map(&mut question));
            }
            for jobs in arrived.drain(..) {
                asked.extend(jobs.filter_map(&mut question));
            }
            while !asked.is_empty() {
                let rest = asked.split_off(asked.len().min(lookup::TOGETHER));
                // Boxed: tokio moves a task several times before it runs.
                tokio::spawn(Box::pin(lookup::run(Arc::clone(&self.lookups), asked)));
                asked = rest;
            }
            while !ownerless.is_empty() {
                let rest = ownerless.split_off(ownerless.len().min(lookup::TOGETHER));
                let jobs = std::mem::replace(&mut ownerless, rest);
                tokio::spawn(Box::pin(lookup::token_owners::run(
                    Arc::clone(&self.lookups),
                    jobs,
                )));
            }
        }
    }
}
