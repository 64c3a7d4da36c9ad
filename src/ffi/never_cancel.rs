//! nginx's thread is never cancelled, and says so: system calls are cheaper then.
//!
//! In a process with several threads, glibc has a thread be cancellable at any moment around each system call
//! that may wait, by an atomic operation before the call and another one after it. A thread that is already
//! so needs neither; and one that refuses to be cancelled, as this one does first, may be so without danger.
//! Nobody cancels threads here: neither nginx nor the module calls `pthread_cancel()`.

use super::event::NginxThread;
use super::shim;

/// Has the calling thread, which is nginx's, refuse to be cancelled. To be called before another thread is
/// started.
pub fn never_cancel(_: NginxThread) {
    // SAFETY: it takes nothing, and changes how the calling thread is cancelled, which nobody does.
    unsafe { shim::rga_never_cancel() };
}
