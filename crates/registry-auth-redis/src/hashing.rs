//! The pool for slow password hashes: `threads` threads behind a queue of `queue` places.
//!
//! Only `lookup` uses it. Invariant: a full queue refuses at once, so that a flood of logins costs memory for `queue`
//! passwords and no more, and the helper thread itself never computes a slow hash (security rows 20, 21).

use crate::log::{Level, Log};
use crate::runtime::Hashing;
use crossbeam_channel::{bounded, Receiver, Sender, TrySendError};
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

/// Something to compute; dropping it unrun must answer its job.
pub(crate) trait Work: Send + 'static {
    fn run(self);
}

/// The helper's end. Dropping it lets the threads end.
pub(crate) struct Pool<W> {
    queue: Sender<W>,
    stopped: Arc<AtomicBool>,
}

impl<W: Work> Pool<W> {
    /// Starts the threads; they inherit the caller's signal mask and open files. They are never joined: a hash cannot be interrupted.
    pub(crate) fn start(hashing: Hashing, log: &Log) -> io::Result<Self> {
        let (queue, work) = bounded(hashing.queue);
        let stopped = Arc::new(AtomicBool::new(false));
        for number in 0..hashing.threads.max(1) {
            let (work, stopped, log) = (work.clone(), Arc::clone(&stopped), log.clone());
            thread::Builder::new()
                .name(format!("auth-hash-{number}"))
                .spawn(move || compute(&work, &stopped, &log))?;
        }
        Ok(Self { queue, stopped })
    }

    /// Queues `work`, or gives it back when the queue is full.
    pub(crate) fn submit(&self, work: W) -> Result<(), W> {
        self.queue.try_send(work).map_err(|error| match error {
            TrySendError::Full(work) | TrySendError::Disconnected(work) => work,
        })
    }

    /// What is queued is dropped; what is being computed ends by itself.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn compute<W: Work>(queue: &Receiver<W>, stopped: &AtomicBool, log: &Log) {
    log.tell_panics();
    for work in queue {
        if stopped.load(Ordering::Relaxed) {
            continue;
        }
        if catch_unwind(AssertUnwindSafe(|| work.run())).is_err() {
            log.write_once(
                "hash panic",
                Level::Error,
                "verifying a password panicked; its request was refused",
            );
        }
    }
}
