//! How much memory an allocation takes, for the caches that are bounded in bytes.
//!
//! Used by the caches of the workers and of the store's threads. The figures are estimates: allocators
//! differ.

/// About how many bytes of memory an allocator takes for an allocation of so many bytes: it rounds sizes up
/// to classes that are an eighth apart.
pub const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => (bytes + bytes / 8 + 15) & !15,
    }
}
