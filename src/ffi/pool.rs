//! nginx's memory pools: checked allocation, and Rust values that a pool drops.
//!
//! ngx 0.5.1's `Pool::allocate` writes before its null check; hence our own.

use core::cell::Cell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use std::rc::Rc;

use nginx_sys::{ngx_palloc, ngx_pnalloc, ngx_pool_cleanup_add, ngx_pool_t, ngx_str_t};

/// Memory is out: the request fails, and the worker goes on.
#[derive(Clone, Copy, Debug)]
pub struct OutOfMemory;

/// A pool that lives at least as long as `'p`.
#[derive(Clone, Copy)]
pub struct Pool<'p> {
    raw: NonNull<ngx_pool_t>,
    life: PhantomData<&'p ngx_pool_t>,
}

impl<'p> Pool<'p> {
    /// # Safety
    /// `raw` must be null or a pool that outlives `'p`.
    pub(super) unsafe fn from_raw(raw: *mut ngx_pool_t) -> Option<Self> {
        NonNull::new(raw).map(|raw| Pool {
            raw,
            life: PhantomData,
        })
    }

    /// Copies `bytes` into the pool; `None` when memory is out.
    pub fn copy(self, bytes: &[u8]) -> Option<&'p mut [u8]> {
        if bytes.is_empty() {
            return Some(&mut []);
        }
        // SAFETY: ngx_pnalloc gives null or `len` writable bytes that live as long as the pool and are nobody
        // else's.
        unsafe {
            let to = ngx_pnalloc(self.raw.as_ptr(), bytes.len()).cast::<u8>();
            if to.is_null() {
                return None;
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            Some(core::slice::from_raw_parts_mut(to, bytes.len()))
        }
    }

    /// Copies `bytes` into the pool as an nginx string.
    pub fn string(self, bytes: &[u8]) -> Option<ngx_str_t> {
        let copy = self.copy(bytes)?;
        Some(ngx_str_t {
            len: copy.len(),
            data: copy.as_mut_ptr(),
        })
    }

    /// Moves `value`, which needs no drop, into the pool.
    pub(super) fn place<T: Copy>(self, value: T) -> Option<NonNull<T>> {
        // SAFETY: ngx_palloc gives null or memory aligned to NGX_ALIGNMENT, enough for nginx's own
        // structures.
        let to = unsafe { ngx_palloc(self.raw.as_ptr(), core::mem::size_of::<T>()) }.cast::<T>();
        let to = NonNull::new(to)?;
        // SAFETY: just allocated for a T, and nobody else's.
        unsafe { to.as_ptr().write(value) };
        Some(to)
    }

    /// Room for so many values in the pool, not written to yet.
    pub(super) fn place_all<T: Copy>(self, count: usize) -> Option<NonNull<T>> {
        let size = count.checked_mul(core::mem::size_of::<T>())?;
        // SAFETY: as in `place`.
        NonNull::new(unsafe { ngx_palloc(self.raw.as_ptr(), size) }.cast::<T>())
    }

    /// Boxes `value` and has the pool drop it when it is destroyed.
    pub(super) fn own<T: 'static>(self, value: T) -> Option<NonNull<T>> {
        // SAFETY: the pool is valid; a size of 0 asks for the cleanup record alone.
        let cleanup = unsafe { ngx_pool_cleanup_add(self.raw.as_ptr(), 0) };
        let cleanup = NonNull::new(cleanup)?;
        let boxed = NonNull::from(Box::leak(Box::new(value)));
        // SAFETY: the record was made just now; its handler runs once, with this very box.
        unsafe {
            (*cleanup.as_ptr()).data = boxed.as_ptr().cast();
            (*cleanup.as_ptr()).handler = Some(drop_boxed::<T>);
        }
        Some(boxed)
    }
}

/// A pointer to what lives as long as a pool, or less: it leads nowhere once the pool is gone, so that
/// whoever keeps it longer has nothing. Read on nginx's thread only, which also destroys pools.
pub(super) struct Lent<T>(Rc<Cell<Option<NonNull<T>>>>);

impl<T> Clone for Lent<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: 'static> Lent<T> {
    /// One that leads nowhere yet. `None` when memory is out.
    pub(super) fn nowhere(pool: Pool<'_>) -> Option<Self> {
        let lent = Self(Rc::default());
        pool.own(TakeBack(lent.clone()))?;
        Some(lent)
    }

    /// One that leads to `place`. `None` when memory is out.
    ///
    /// # Safety
    /// `place` must be valid for as long as the pool, and its owner must not write to it through other
    /// pointers while Rust reads it.
    pub(super) unsafe fn to(pool: Pool<'_>, place: NonNull<T>) -> Option<Self> {
        let lent = Self::nowhere(pool)?;
        lent.0.set(Some(place));
        Some(lent)
    }

    /// Where it leads now.
    #[inline]
    pub(super) fn get(&self) -> Option<NonNull<T>> {
        self.0.get()
    }

    /// The place itself, for callbacks that are given one pointer; it is valid as long as the pool.
    pub(super) fn as_cell(&self) -> *const Cell<Option<NonNull<T>>> {
        Rc::as_ptr(&self.0)
    }

    /// Has it lead nowhere from now on.
    pub(super) fn take_back(&self) {
        self.0.set(None);
    }
}

/// What the pool drops.
struct TakeBack<T: 'static>(Lent<T>);

impl<T> Drop for TakeBack<T> {
    fn drop(&mut self) {
        self.0.take_back();
    }
}

/// Drops a box that [`Pool::own`] leaked.
unsafe extern "C" fn drop_boxed<T>(data: *mut c_void) {
    // SAFETY: `own` registered exactly this pointer, and a pool runs each cleanup once.
    super::guard::guard((), || drop(unsafe { Box::from_raw(data.cast::<T>()) }));
}
