//! Open files: a table of their own for threads that need none of nginx's.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

/// Standard input, output and error.
const STANDARD: core::ops::Range<i32> = 0..3;

/// Starts a thread with a table of open files of its own, in which of what is open now only `keep` is, and
/// has it do `work`. Returns once the table is its own.
///
/// # Errors
/// The system gives no thread.
pub fn spawn_with_own_fds<const N: usize>(
    name: &str,
    keep: [BorrowedFd<'_>; N],
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let keep = keep.map(|file| file.as_raw_fd());
    let (apart, is_apart) = sync_channel(0);
    let thread = Builder::new().name(name.to_owned()).spawn(move || {
        unshare_fds(keep);
        // Nobody is waiting for it any more only where nginx's thread has panicked.
        let _ = apart.send(());
        work();
    })?;
    // An error means that the thread is gone, as its handle will say.
    let _ = is_apart.recv();
    Ok(thread)
}

/// Gives this thread, and those that it starts from now on, a table of open files of its own. Of nginx's
/// nothing is open in it but `keep`: a socket that nginx closes, or a log that it opens anew, must not stay
/// open for a thread that does not use it. Standard error, which is the error log in a worker, leads nowhere.
///
/// With one table for all threads the kernel counts in each system call, by two atomic operations, who uses
/// the file (`__fget_light()` in its fs/file.c); with a thread alone in its table it does not. For nginx's
/// thread that was half of what a cached request costs. A kernel that cannot do it (Linux before 5.9) leaves
/// the table shared, which is right as well.
///
/// To be called by a thread that has not opened anything yet; what is to be kept must be open meanwhile.
fn unshare_fds<const N: usize>(mut keep: [RawFd; N]) {
    keep.sort_unstable();
    // From the top, where the kernel need not even copy what is closed.
    let (mut last, mut flags) = (i32::MAX, libc::CLOSE_RANGE_UNSHARE);
    for kept in keep.into_iter().rev().chain([STANDARD.end - 1]) {
        if kept < last {
            if !close(kept + 1, last, flags) {
                return;
            }
            flags = 0;
        }
        last = kept - 1;
    }
    let Ok(nowhere) = File::options().read(true).write(true).open("/dev/null") else {
        return;
    };
    for standard in STANDARD.filter(|standard| !keep.contains(standard)) {
        // SAFETY: takes no pointers. What is replaced is so in this thread's table only, which no other
        // thread shares yet. Should it fail, the old file stays, which does no harm.
        unsafe { libc::dup2(nowhere.as_raw_fd(), standard) };
    }
}

/// Closes descriptors, those at both ends included; `false` where that failed and nothing was done.
fn close(first: i32, last: i32, flags: u32) -> bool {
    // SAFETY: takes no pointers (close_range(2)). The table is this thread's own, by the flag of the first
    // call; it has opened nothing itself, and so nobody owns a descriptor in it but nginx's thread, whose own
    // table has it still. By number, as a libc older than the kernel knows no such function.
    0 == unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }
}
