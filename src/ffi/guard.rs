//! The border with C: no panic may cross it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`; a panic, which nothing in this module should raise, becomes `fallback`, so that the request is
/// refused and the worker lives on.
#[inline]
pub fn guard<T>(fallback: T, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(fallback)
}
