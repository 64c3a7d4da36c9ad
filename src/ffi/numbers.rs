//! Numbers that all processes of one nginx share: memory that the master maps before it makes workers, and
//! keeps over reloads.
//!
//! For what is a hint and takes no lock. What must not be lost, or has to be true, belongs into a zone
//! ([`super::shm`]).

use core::ptr;
use core::slice;
use core::sync::atomic::AtomicU64;
use std::sync::OnceLock;

/// Maps that many numbers, all 0, once for as long as the process and its workers live; none where there is
/// no memory for that.
pub fn share(place: &OnceLock<&'static [AtomicU64]>, count: usize) {
    place.get_or_init(|| map(count).unwrap_or_default());
}

fn map(count: usize) -> Option<&'static [AtomicU64]> {
    let bytes = count
        .checked_mul(size_of::<AtomicU64>())
        .filter(|bytes| *bytes > 0)?;
    // SAFETY: a new mapping, which touches no other one.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if ptr::eq(start, libc::MAP_FAILED) {
        return None;
    }
    // SAFETY: so many bytes of zeros, on a page's boundary, which nobody unmaps. Other processes read and
    // write them as such numbers only.
    Some(unsafe { slice::from_raw_parts(start.cast::<AtomicU64>(), count) })
}
