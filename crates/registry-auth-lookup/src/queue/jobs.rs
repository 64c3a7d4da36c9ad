//! The way of jobs from nginx's thread to the helper.
//!
//! Invariant: nginx's thread does not touch the helper's runtime, nor the helper what nginx's thread writes
//! to. The two may have different tables of open files (see `LookupOptions::spawn`), in which a number names
//! different files. What is sent to a receiver that has closed, or is not received, is answered.

use crate::queue::pending::Arrivals;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, write};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;

/// Bytes of the pipe that are read at once: about as many as there are, since only the first of several jobs
/// writes one.
const BYTES: usize = 64;

/// What lies between the two ends.
type Shared = Arc<Mutex<Sent>>;

#[derive(Default)]
struct Sent {
    jobs: Vec<Arrivals>,
    closed: bool,
}

/// The end of nginx's thread. Dropping it does not close the queue.
pub(crate) struct JobSender {
    pipe: OwnedFd,
    sent: Shared,
}

/// The helper's end, which may be on its way there. Dropping it closes the queue.
pub(crate) struct IdleReceiver {
    pipe: OwnedFd,
    sent: CloseOnDrop,
}

/// The helper's end, in its runtime.
pub(crate) struct JobReceiver {
    pipe: Receiver,
    sent: CloseOnDrop,
}

struct CloseOnDrop(Shared);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        close(&self.0);
    }
}

/// A push does not unwind half-way: go on after a panic.
fn lock(sent: &Shared) -> MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes nothing more, and answers what is left.
fn close(sent: &Shared) {
    let mut sent = lock(sent);
    sent.closed = true;
    let jobs = std::mem::take(&mut sent.jobs);
    drop(sent);
    // That answers them, which takes other locks.
    drop(jobs);
}

/// Both ends of an empty queue.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn channel() -> io::Result<(JobSender, IdleReceiver)> {
    let (out, into) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
    let sent = Shared::default();
    let receiver = IdleReceiver {
        pipe: out,
        sent: CloseOnDrop(Arc::clone(&sent)),
    };
    Ok((JobSender { pipe: into, sent }, receiver))
}

impl JobSender {
    /// Sends jobs, and writes to the pipe where the helper may not have been notified already.
    pub(crate) fn send(&self, jobs: Arrivals) {
        let mut sent = lock(&self.sent);
        if sent.closed {
            drop(sent);
            // That answers them.
            drop(jobs);
            return;
        }
        let was_empty = sent.jobs.is_empty();
        sent.jobs.push(jobs);
        drop(sent);
        if was_empty {
            self.notify();
        }
    }

    /// Takes nothing more, answers what is left, and notifies the helper.
    pub(crate) fn close(&self) {
        close(&self.sent);
        self.notify();
    }

    /// It cannot fail in a way that matters: a pipe that is full notifies, and one without a reader has
    /// nobody to notify.
    fn notify(&self) {
        let _ = write(&self.pipe, b"!");
    }
}

impl IdleReceiver {
    /// What the helper must have open.
    pub(crate) fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// To be called in the helper's runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the pipe.
    pub(crate) fn open(self) -> io::Result<JobReceiver> {
        let pipe = Receiver::from_owned_fd(self.pipe)?;
        let sent = self.sent;
        Ok(JobReceiver { pipe, sent })
    }
}

impl JobReceiver {
    /// Waits until something is left here, and appends it; `false` when the queue is closed. Nothing is lost
    /// where it is dropped while it waits.
    pub(crate) async fn recv(&mut self, jobs: &mut Vec<Arrivals>) -> bool {
        loop {
            if let Some(is_open) = try_recv(&self.sent.0, jobs) {
                return is_open;
            }
            let mut bytes = [0; BYTES];
            let mut bytes = ReadBuf::new(&mut bytes);
            let read = poll_fn(|context| Pin::new(&mut self.pipe).poll_read(context, &mut bytes)).await;
            if read.is_err() || bytes.filled().is_empty() {
                return false;
            }
        }
    }
}

/// Appends what is there; `None` where nothing is, `false` where the queue is closed.
fn try_recv(sent: &Shared, jobs: &mut Vec<Arrivals>) -> Option<bool> {
    let mut sent = lock(sent);
    if sent.closed {
        return Some(false);
    }
    if sent.jobs.is_empty() {
        return None;
    }
    match jobs.is_empty() {
        true => std::mem::swap(&mut sent.jobs, jobs),
        false => jobs.append(&mut sent.jobs),
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::{IdleReceiver, JobSender, channel};
    use crate::messages::{Event, Job, Keyspace, Proof};
    use crate::queue::events::EventQueue;
    use crate::queue::pending::Arrivals;
    use registry_auth_redis::Secret;
    use registry_auth_redis::wake::Wake;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::timeout;

    struct Setting {
        events: Arc<EventQueue>,
        jobs: JobSender,
    }

    impl Setting {
        fn new() -> (Self, IdleReceiver) {
            let (jobs, idle) = channel().unwrap();
            let setting = Self {
                events: Arc::new(EventQueue::new(Arc::new(Wake::new(Box::new(|| ()))), false)),
                jobs,
            };
            (setting, idle)
        }

        fn leave(&self, ticket: u64) {
            let space = Arc::new(Keyspace {
                prefix: "P".into(),
                salt: Box::default(),
            });
            let job = Job {
                ticket,
                space,
                user: None,
                password: Secret::default(),
                proof: Proof::Password,
                verified: None,
                from: registry_auth::Network::Local,
            };
            self.jobs.send(Arrivals::new(vec![job], &self.events));
        }

        /// How many were answered: all that were dropped.
        fn answered(&self) -> usize {
            let mut events = Vec::new();
            self.events.drain(&mut events);
            assert!(events.iter().all(|event| matches!(event, Event::Completion(_))));
            events.len()
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn what_is_left_is_taken_once_whenever_it_comes() {
        const ROUNDS: u64 = 2_000;
        let (setting, idle) = Setting::new();
        let setting = Arc::new(setting);
        let other = Arc::clone(&setting);
        let leaves = std::thread::spawn(move || {
            for n in 0..ROUNDS {
                other.leave(n);
                if n % 7 == 0 {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        runtime().block_on(async {
            let mut receiver = idle.open().unwrap();
            let (mut jobs, mut taken) = (Vec::new(), 0);
            while taken < ROUNDS {
                let open = timeout(Duration::from_secs(20), receiver.recv(&mut jobs)).await;
                assert!(open.unwrap());
                taken += jobs.len() as u64;
                jobs.clear();
            }
            assert_eq!(taken, ROUNDS);
            // A pipe that rang for nothing wakes nobody.
            assert!(
                timeout(Duration::from_millis(20), receiver.recv(&mut jobs))
                    .await
                    .is_err()
            );
        });
        leaves.join().unwrap();
        assert_eq!(setting.answered(), ROUNDS as usize);
    }

    #[test]
    fn a_closed_queue_answers_what_is_left_in_it() {
        let (setting, idle) = Setting::new();
        setting.leave(1);
        setting.leave(2);
        assert_eq!(setting.answered(), 0);
        setting.jobs.close();
        assert_eq!(setting.answered(), 2);
        setting.leave(3);
        assert_eq!(setting.answered(), 1);
        runtime().block_on(async {
            let mut receiver = idle.open().unwrap();
            assert!(!receiver.recv(&mut Vec::new()).await);
        });
    }

    #[test]
    fn a_helper_that_is_gone_has_closed_it() {
        let (setting, idle) = Setting::new();
        runtime().block_on(async {
            let receiver = idle.open().unwrap();
            setting.leave(1);
            drop(receiver);
        });
        setting.leave(2);
        assert_eq!(setting.answered(), 2);
    }
}
