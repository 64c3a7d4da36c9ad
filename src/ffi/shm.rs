//! A shared memory zone, as nginx gives it to all workers and keeps it over reloads, with its slab allocator.
//!
//! Everything happens under the slab pool's own mutex: the one lock that the master releases when a worker
//! dies. Only nginx's thread may lock. What lies in the zone is another crate's: here it is bytes, addressed
//! from the pool's first page, so that nobody can write over the pool's own structures.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use nginx_sys::{
    NGX_OK, ngx_cycle_t, ngx_int_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_shmtx_lock, ngx_shmtx_unlock,
    ngx_slab_alloc_locked, ngx_slab_free_locked, ngx_slab_init, ngx_slab_pool_t,
};
use registry_auth_cache::Memory;

use super::Slot;
use super::conf::Conf;
use super::pool::Lent;

/// Offsets begin here, so that 0 is none.
const FIRST: usize = 8;
/// Offsets are 32 bits wide.
pub const MOST: usize = u32::MAX as usize;

/// A zone of the configuration, which can be used from when nginx has mapped its memory until it unmaps it.
#[derive(Clone)]
pub struct Zone(Lent<ngx_slab_pool_t>);

thread_local! {
    /// The zones of all configurations that this process has read and not given up, with their cycles.
    static ZONES: RefCell<Vec<(*const ngx_cycle_t, Zone)>> = const { RefCell::new(Vec::new()) };
}

/// A size as nginx writes it (`10m`), in bytes.
pub fn size(text: &[u8]) -> Option<usize> {
    let mut line = nginx_sys::ngx_str_t {
        len: text.len(),
        data: text.as_ptr().cast_mut(),
    };
    // SAFETY: the line is valid and only read.
    let size = unsafe { nginx_sys::ngx_parse_size(&mut line) };
    usize::try_from(size).ok()
}

/// The smallest zone that nginx can make a pool of.
pub fn least() -> usize {
    // SAFETY: set once, before any configuration is read.
    8 * unsafe { nginx_sys::ngx_pagesize }
}

/// Declares a zone of the module that keeps `T`. `None` where the name is taken: with another size, by
/// another module, or by this one.
pub fn declare<T: Slot>(conf: &mut Conf<'_>, name: &[u8], size: usize) -> Option<Zone> {
    let pool = conf.pool()?;
    let mut name = pool.string(name)?;
    let zone = Zone(Lent::nowhere(pool)?);
    // SAFETY: the name lives as long as the configuration; the zone is null or the configuration's, and so is
    // what it gets as data.
    unsafe {
        let declared =
            ngx_shared_memory_add(conf.as_ptr(), &mut name, size, T::descriptor().cast::<c_void>());
        let declared = declared.as_mut()?;
        if !declared.data.is_null() {
            return None;
        }
        declared.init = Some(init);
        declared.data = zone.0.as_cell().cast_mut().cast();
        let cycle = (*conf.as_ptr()).cycle.cast_const();
        ZONES.with_borrow_mut(|zones| zones.push((cycle, zone.clone())));
    }
    Some(zone)
}

/// Gives up the zones of earlier configurations: nginx, which has mapped those of this cycle, may unmap
/// theirs now. Only where one process is all there is does anybody use them still; workers have them until
/// they leave.
pub fn give_up_all_but(cycle: *const ngx_cycle_t) {
    ZONES.with_borrow_mut(|zones| {
        zones.retain(|(of, zone)| {
            let stays = ptr::eq(*of, cycle);
            if !stays {
                zone.0.take_back();
            }
            stays
        });
    });
}

/// nginx has made the pool, or found an earlier configuration's: what it holds is looked at when it is first
/// opened.
unsafe extern "C" fn init(zone: *mut ngx_shm_zone_t, _earlier: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx's own pointer; the zone's memory begins with its pool, and its data is what `declare`
    // made, which the configuration owns.
    unsafe {
        let pool = (*zone).shm.addr.cast::<ngx_slab_pool_t>();
        // A full pool is how the cache learns to evict, not an error.
        (*pool).set_log_nomem(0);
        let lent = &*(*zone).data.cast::<Cell<Option<NonNull<ngx_slab_pool_t>>>>();
        lent.set(NonNull::new(pool));
    }
    NGX_OK as ngx_int_t
}

impl Zone {
    /// The number at `offset` from the root, without the lock; `None` while there is no root. It is one that
    /// stood there, in a block that may have been set up anew meanwhile.
    #[inline]
    pub fn peek(&self, offset: usize) -> Option<u64> {
        let pool = self.0.get()?.as_ptr();
        // SAFETY: as in `lock`. The root is a pointer that is written whole; what it is read as is looked at:
        // 8 aligned bytes of the pool's pages, which stay mapped, and which the processor reads as one
        // number, whoever writes to them.
        unsafe {
            let root = AtomicPtr::from_ptr((&raw mut (*pool).data).cast::<*mut u8>()).load(Ordering::Acquire);
            if root.is_null() {
                return None;
            }
            let at = root.wrapping_add(offset);
            let pages = (*pool).start..(*pool).end;
            if !pages.contains(&at) || at.wrapping_add(8) > (*pool).end || !at.cast::<u64>().is_aligned() {
                return None;
            }
            Some(AtomicU64::from_ptr(at.cast::<u64>()).load(Ordering::Acquire))
        }
    }

    /// Waits for the lock. `None` where the memory is not mapped yet, or no more.
    #[inline]
    pub fn lock(&self) -> Option<Locked<'_>> {
        let pool = self.0.get()?.as_ptr();
        // SAFETY: `init` has put it there, and it is taken back before the memory goes: which happens in no
        // callback.
        unsafe { ngx_shmtx_lock(&mut (*pool).mutex) };
        Some(Locked {
            pool,
            zone: PhantomData,
        })
    }
}

/// A zone whose lock is held until this is dropped.
pub struct Locked<'z> {
    pool: *mut ngx_slab_pool_t,
    zone: PhantomData<&'z Zone>,
}

impl Locked<'_> {
    /// Bytes of pages that are free, and of all pages.
    pub fn pages(&self) -> (u64, u64) {
        // SAFETY: the pool is locked.
        unsafe {
            let free = (*self.pool).pfree as u64 * nginx_sys::ngx_pagesize as u64;
            let all = (*self.pool).end.offset_from((*self.pool).start) as u64;
            (free, all)
        }
    }

    /// Where offset 0 would be, and how many bytes there are from there.
    fn extent(&self) -> (*mut u8, usize) {
        // SAFETY: the pool is locked; its pages end at `end`.
        unsafe {
            let base = (*self.pool).start.sub(FIRST);
            (base, (*self.pool).end.offset_from(base) as usize)
        }
    }
}

impl Memory for Locked<'_> {
    fn bytes(&self) -> &[u8] {
        let (base, length) = self.extent();
        // SAFETY: mapped memory of the zone, behind the mutex; nobody else touches it while the lock is held.
        unsafe { core::slice::from_raw_parts(base, length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let (base, length) = self.extent();
        // SAFETY: as in `bytes`, and `&mut self` makes this the only slice.
        unsafe { core::slice::from_raw_parts_mut(base, length) }
    }

    fn allocate(&mut self, size: usize) -> Option<u32> {
        // SAFETY: the pool is locked. What it gives lies in its pages.
        unsafe {
            let at = ngx_slab_alloc_locked(self.pool, size).cast::<u8>();
            if at.is_null() {
                return None;
            }
            u32::try_from(at.offset_from(self.extent().0)).ok()
        }
    }

    fn free(&mut self, at: u32) {
        let (base, length) = self.extent();
        if at as usize >= FIRST && (at as usize) < length {
            // SAFETY: the pool is locked and the address its own; one that is no allocation it logs and
            // ignores.
            unsafe { ngx_slab_free_locked(self.pool, base.add(at as usize).cast()) };
        }
    }

    fn root(&self) -> u32 {
        let (base, _) = self.extent();
        // SAFETY: the pool is locked; its `data` is null or what `set_root` stored.
        unsafe {
            let root = (*self.pool).data.cast::<u8>();
            if root.is_null() {
                0
            } else {
                u32::try_from(root.offset_from(base)).unwrap_or(0)
            }
        }
    }

    fn set_root(&mut self, at: u32) {
        let (base, _) = self.extent();
        // SAFETY: an offset that `allocate` gave.
        unsafe { (*self.pool).data = base.add(at as usize).cast() };
    }

    fn reset(&mut self) {
        // SAFETY: the pool is locked; ngx_slab_init() sets all up anew but the mutex, the pool's end and its
        // smallest size.
        unsafe {
            ngx_slab_init(self.pool);
            (*self.pool).set_log_nomem(0);
            (*self.pool).data = ptr::null_mut();
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: this process holds the lock.
        unsafe { ngx_shmtx_unlock(&mut (*self.pool).mutex) };
    }
}
