//! The call that wakes nginx's thread, shared by the queues that it drains.
//!
//! Invariant: after [`Wake::close`] has returned the call is never made again, as its file descriptor may be
//! closed by then.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What is called; it must be quick and must not block or panic.
pub type Call = Box<dyn Fn() + Send + Sync>;

/// A call that can be taken away. It has a lock of its own, so that a thread that it wakes does not find a
/// queue locked by its waker.
pub struct Wake(Mutex<Option<Call>>);

impl Wake {
    /// Open, until [`Wake::close`].
    #[must_use]
    pub fn new(call: Call) -> Self {
        Self(Mutex::new(Some(call)))
    }

    /// Wakes nginx's thread, unless this is closed.
    pub fn wake(&self) {
        if let Some(call) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            call();
        }
    }

    /// Forgets the call, after one under way.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake(..)")
    }
}
