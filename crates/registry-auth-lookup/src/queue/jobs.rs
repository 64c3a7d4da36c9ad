//! The way of jobs from nginx's thread to the helper.
//!
//! Invariant: nginx's thread does not touch the helper's runtime, nor the helper what nginx's thread rings by. The two may have
//! different tables of open files (see `Options::spawn`), in which a number stands for different files. Whoever leaves something in an
//! inbox that is closed, or is not emptied, gets it answered.

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

/// Rings that are heard at once: about as many as there are, since only the first of several jobs rings.
const RINGS: usize = 64;

/// What lies between the two ends.
type Shared = Arc<Mutex<Left>>;

#[derive(Default)]
struct Left {
    jobs: Vec<Arrivals>,
    closed: bool,
}

/// The end of nginx's thread. Dropping it does not close the inbox.
pub(crate) struct Inbox {
    bell: OwnedFd,
    left: Shared,
}

/// The helper's end, which may be on its way there. Dropping it closes the inbox.
pub(crate) struct Exit {
    bell: OwnedFd,
    left: CloseOnDrop,
}

/// The helper's end, in its runtime.
pub(crate) struct Door {
    bell: Receiver,
    left: CloseOnDrop,
}

struct CloseOnDrop(Shared);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        close(&self.0);
    }
}

/// A push does not unwind half-way: go on after a panic.
fn lock(left: &Shared) -> MutexGuard<'_, Left> {
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes nothing more, and answers what is left.
fn close(left: &Shared) {
    let mut left = lock(left);
    left.closed = true;
    let jobs = std::mem::take(&mut left.jobs);
    drop(left);
    // That answers them, which takes other locks.
    drop(jobs);
}

/// Both ends of an empty inbox.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn inbox() -> io::Result<(Inbox, Exit)> {
    let (out, into) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
    let left = Shared::default();
    let exit = Exit {
        bell: out,
        left: CloseOnDrop(Arc::clone(&left)),
    };
    Ok((Inbox { bell: into, left }, exit))
}

impl Inbox {
    /// Leaves jobs, and rings where the helper may not have been told already.
    pub(crate) fn leave(&self, jobs: Arrivals) {
        let mut left = lock(&self.left);
        if left.closed {
            drop(left);
            // That answers them.
            drop(jobs);
            return;
        }
        let was_empty = left.jobs.is_empty();
        left.jobs.push(jobs);
        drop(left);
        if was_empty {
            self.ring();
        }
    }

    /// Takes nothing more, answers what is left, and tells the helper.
    pub(crate) fn close(&self) {
        close(&self.left);
        self.ring();
    }

    /// It cannot fail in a way that matters: a pipe that is full has rung, and nobody hears one without a reader.
    fn ring(&self) {
        let _ = write(&self.bell, b"!");
    }
}

impl Exit {
    /// What the helper must have open.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// To be called in the helper's runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the bell.
    pub(crate) fn open(self) -> io::Result<Door> {
        let bell = Receiver::from_owned_fd(self.bell)?;
        let left = self.left;
        Ok(Door { bell, left })
    }
}

impl Door {
    /// Waits until something is left here, and appends it; `false` when the inbox is closed. Nothing is lost where it is dropped while
    /// it waits.
    pub(crate) async fn take(&mut self, jobs: &mut Vec<Arrivals>) -> bool {
        loop {
            if let Some(is_open) = look(&self.left.0, jobs) {
                return is_open;
            }
            let mut rings = [0; RINGS];
            let mut rings = ReadBuf::new(&mut rings);
            let heard = poll_fn(|context| Pin::new(&mut self.bell).poll_read(context, &mut rings)).await;
            if heard.is_err() || rings.filled().is_empty() {
                return false;
            }
        }
    }
}

/// Appends what is there; `None` where nothing is, `false` where the inbox is closed.
fn look(left: &Shared, jobs: &mut Vec<Arrivals>) -> Option<bool> {
    let mut left = lock(left);
    if left.closed {
        return Some(false);
    }
    if left.jobs.is_empty() {
        return None;
    }
    match jobs.is_empty() {
        true => std::mem::swap(&mut left.jobs, jobs),
        false => jobs.append(&mut left.jobs),
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::{inbox, Exit, Inbox};
    use crate::messages::{By, Event, Job, Keyspace};
    use crate::queue::events::Completions;
    use crate::queue::pending::Arrivals;
    use registry_auth_redis::Secret;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::timeout;

    struct Setting {
        completions: Arc<Completions>,
        inbox: Inbox,
    }

    impl Setting {
        fn new() -> (Self, Exit) {
            let (inbox, exit) = inbox().unwrap();
            let setting = Self {
                completions: Arc::new(Completions::alone(false).0),
                inbox,
            };
            (setting, exit)
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
                by: By::Password,
                verified: None,
                from: registry_auth::Network::Local,
            };
            self.inbox.leave(Arrivals::new(vec![job], &self.completions));
        }

        /// How many were answered: all that were dropped.
        fn answered(&self) -> usize {
            let mut events = Vec::new();
            self.completions.drain(&mut events);
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
        let (setting, exit) = Setting::new();
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
            let mut door = exit.open().unwrap();
            let (mut jobs, mut taken) = (Vec::new(), 0);
            while taken < ROUNDS {
                let open = timeout(Duration::from_secs(20), door.take(&mut jobs)).await;
                assert!(open.unwrap());
                taken += jobs.len() as u64;
                jobs.clear();
            }
            assert_eq!(taken, ROUNDS);
            // A bell that rang for nothing wakes nobody.
            assert!(timeout(Duration::from_millis(20), door.take(&mut jobs))
                .await
                .is_err());
        });
        leaves.join().unwrap();
        assert_eq!(setting.answered(), ROUNDS as usize);
    }

    #[test]
    fn a_closed_inbox_answers_what_is_left_in_it() {
        let (setting, exit) = Setting::new();
        setting.leave(1);
        setting.leave(2);
        assert_eq!(setting.answered(), 0);
        setting.inbox.close();
        assert_eq!(setting.answered(), 2);
        setting.leave(3);
        assert_eq!(setting.answered(), 1);
        runtime().block_on(async {
            let mut door = exit.open().unwrap();
            assert!(!door.take(&mut Vec::new()).await);
        });
    }

    #[test]
    fn a_helper_that_is_gone_has_closed_it() {
        let (setting, exit) = Setting::new();
        runtime().block_on(async {
            let door = exit.open().unwrap();
            setting.leave(1);
            drop(door);
        });
        setting.leave(2);
        assert_eq!(setting.answered(), 2);
    }
}
