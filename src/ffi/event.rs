//! nginx's event loop: an eventfd by which another thread notifies nginx's, and work put off to the end of
//! the loop's round or for a while.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicPtr, AtomicUsize, Ordering};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::thread::JoinHandle;

use nginx_sys::{
    NGX_OK, ngx_close_connection, ngx_connection_t, ngx_cycle, ngx_event_t, ngx_get_connection,
    ngx_handle_read_event, ngx_int_t, ngx_socket_t,
};

use super::{bytes, guard::guard, shim, unshare_fds};

/// The event loop's clock, in milliseconds: monotonic, the same in all workers, and as of the round that is
/// under way.
pub fn now() -> u64 {
    // SAFETY: a number of nginx's, which is there as long as the program. It is read whole, on whichever
    // thread.
    let now = unsafe { AtomicUsize::from_ptr(&raw mut nginx_sys::ngx_current_msec) };
    now.load(Ordering::Relaxed) as u64
}

/// The time as people count it, in seconds since 1970: as of the round that is under way.
pub fn unix_seconds() -> u64 {
    // SAFETY: nginx's own time: it points to one of many slots, which is not written to again for a minute,
    // and so may be read on whichever thread (ngx_times.c). Both are read whole.
    let seconds = unsafe {
        let now = AtomicPtr::from_ptr(&raw mut nginx_sys::ngx_cached_time).load(Ordering::Acquire);
        AtomicI64::from_ptr(&raw mut (*now).sec).load(Ordering::Relaxed)
    };
    u64::try_from(seconds).unwrap_or(0)
}

/// How long it is until that second since 1970, in milliseconds: as of the round that is under way.
pub fn milliseconds_until(second: u64) -> u64 {
    // SAFETY: as in `unix_seconds`.
    let (seconds, milliseconds) = unsafe {
        let now = AtomicPtr::from_ptr(&raw mut nginx_sys::ngx_cached_time).load(Ordering::Acquire);
        (
            AtomicI64::from_ptr(&raw mut (*now).sec).load(Ordering::Relaxed),
            AtomicUsize::from_ptr(&raw mut (*now).msec).load(Ordering::Relaxed),
        )
    };
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let left = second.saturating_sub(seconds).saturating_mul(1000);
    left.saturating_sub(milliseconds as u64)
}

/// The same as RFC 3339 has it.
pub fn rfc3339(_: NginxThread) -> String {
    // SAFETY: a string of nginx's own, which this thread writes, between rounds.
    String::from_utf8_lossy(unsafe { bytes::of(shim::rga_iso8601()) }).into_owned()
}

/// nginx's thread, on which all of its memory may be used. Nobody can send it to another one.
#[derive(Clone, Copy)]
pub struct NginxThread(PhantomData<*const ()>);

impl NginxThread {
    /// # Safety
    /// To be called by nginx, in the process that is to use it.
    pub(crate) unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// nginx's thread between two callbacks of its event loop, when no request is being handled. What may free
/// requests takes it; and it lives as long as the callback of the loop.
pub struct Idle(NginxThread);

impl Idle {
    /// # Safety
    /// For a callback that nginx's event loop makes itself, with no other under way.
    unsafe fn new() -> Self {
        Self(NginxThread(PhantomData))
    }

    /// The thread.
    pub fn thread(&self) -> NginxThread {
        self.0
    }
}

/// An eventfd in nginx's event loop: `handler` runs on nginx's thread after another thread has notified it.
pub struct EventFd {
    connection: NonNull<ngx_connection_t>,
    _state: Box<EventFdState>,
}

struct EventFdState {
    handler: fn(&mut Idle),
    /// Our own descriptor of the same eventfd, to empty it by.
    fd: File,
}

/// What notifies an [`EventFd`]; it may be used on any thread, and outlive the eventfd.
pub struct Notifier(File);

impl Notifier {
    /// Wakes the event loop. It cannot fail in a way that matters: a full counter means that it is notified
    /// already.
    pub fn notify(&self) {
        let _ = (&self.0).write_all(&1_u64.to_ne_bytes());
    }

    /// Starts a thread which is parted from the files that nginx has open, but for this eventfd and for
    /// `other`: see [`unshare_fds::spawn_with_own_fds`].
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn_with_own_fds(
        &self,
        name: &str,
        other: BorrowedFd<'_>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        unshare_fds::spawn_with_own_fds(name, [self.0.as_fd(), other], work)
    }
}

impl EventFd {
    /// Takes a connection of the worker's for a new eventfd.
    ///
    /// # Errors
    /// No descriptor, no free connection, or the event method refused it.
    pub fn open(_: NginxThread, handler: fn(&mut Idle)) -> io::Result<(EventFd, Notifier)> {
        // SAFETY: eventfd() takes no pointers; its result is checked and owned at once.
        let fd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let notifier = Notifier(File::from(fd.try_clone()?));
        let mut state = Box::new(EventFdState {
            handler,
            fd: File::from(fd.try_clone()?),
        });

        // SAFETY: runs in init_process, where ngx_cycle is the worker's. The connection is ours until it is
        // closed, and so are its two events; `state` is boxed, so that its address stays, and outlives the
        // connection (see Drop).
        unsafe {
            let log = (*ngx_cycle).log;
            let raw = ngx_get_connection(fd.as_raw_fd(), log);
            let Some(connection) = NonNull::new(raw) else {
                return Err(io::Error::other("no free worker_connections"));
            };
            let _ = fd.into_raw_fd(); // ngx_close_connection() closes it
            let c = connection.as_ptr();
            (*c).data = (&raw mut *state).cast::<c_void>();
            (*c).log = log;
            (*(*c).read).log = log;
            (*(*c).write).log = log;
            (*(*c).read).handler = Some(notified);
            let event_fd = EventFd {
                connection,
                _state: state,
            };
            if ngx_handle_read_event((*c).read, 0) != NGX_OK as ngx_int_t {
                return Err(io::Error::other("the event method refused an eventfd"));
            }
            Ok((event_fd, notifier))
        }
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: the connection is ours and open; closing it removes its events, so that `notified` is not
        // called again.
        unsafe { ngx_close_connection(self.connection.as_ptr()) };
    }
}

/// The eventfd's read event.
unsafe extern "C" fn notified(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: the event is the read event of an EventFd's connection, whose data is its state.
        let state = unsafe {
            let connection = (*event).data.cast::<ngx_connection_t>();
            &*(*connection).data.cast::<EventFdState>()
        };
        // An edge-triggered method reports each write by itself: emptying the counter would be a system call
        // for nothing (as ngx_epoll_notify_handler() also finds). A level-triggered one would report it for
        // ever. SAFETY: reads a global that is set once, before workers start.
        if unsafe { shim::rga_edge_triggered() } == 0 {
            let _ = (&state.fd).read(&mut [0; 8]);
        }
        // SAFETY: the event loop calls this, with nothing else under way.
        (state.handler)(&mut unsafe { Idle::new() });
    });
}

/// What the data of an event without a connection begins with. nginx's debug log takes the data of every
/// event that has a timer for a connection, and prints its descriptor (`ngx_event_ident()` in its
/// ngx_event.h): none, here.
#[repr(C)]
pub(super) struct NoConnection {
    _before: [usize; 3],
    fd: ngx_socket_t,
}

const _: () = assert!(offset_of!(NoConnection, fd) == offset_of!(ngx_connection_t, fd));

impl NoConnection {
    pub(super) const HEAD: Self = Self {
        _before: [0; 3],
        fd: -1,
    };
}

/// Work to be done once, after the current events and before the loop sleeps again.
pub struct Deferred {
    event: Box<ngx_event_t>,
    /// What `event.data` points to.
    _data: Box<DeferredData>,
}

#[repr(C)]
struct DeferredData {
    head: NoConnection,
    handler: fn(&mut Idle),
}

impl Deferred {
    /// Names the work.
    pub fn new(_: NginxThread, handler: fn(&mut Idle)) -> Deferred {
        // SAFETY: all-zero is a valid ngx_event_t, as nginx's own ngx_pcalloc() of it.
        let mut event = Box::new(unsafe { MaybeUninit::<ngx_event_t>::zeroed().assume_init() });
        let mut data = Box::new(DeferredData {
            head: NoConnection::HEAD,
            handler,
        });
        event.handler = Some(run_deferred);
        event.data = (&raw mut *data).cast::<c_void>();
        // SAFETY: ngx_cycle is the worker's, and its log outlives it.
        event.log = unsafe { (*ngx_cycle).log };
        Deferred { event, _data: data }
    }

    /// Has the work done in this round; asking twice does it once.
    pub fn post(&mut self) {
        // SAFETY: the event is boxed and ours; Drop takes it out of the queue.
        unsafe { shim::rga_post_event(&mut *self.event) };
    }

    /// Has the work done in so many milliseconds, or once those are over that were asked for before. A worker
    /// that is about to leave does not wait for it.
    pub fn post_in(&mut self, milliseconds: usize) {
        if self.event.timer_set() == 0 {
            self.event.set_cancelable(1);
            // SAFETY: as in `post`.
            unsafe { shim::rga_add_timer(&mut *self.event, milliseconds) };
        }
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // SAFETY: as in `post`.
        unsafe {
            shim::rga_del_posted(&mut *self.event);
            shim::rga_del_timer(&mut *self.event);
        }
    }
}

unsafe extern "C" fn run_deferred(event: *mut ngx_event_t) {
    // SAFETY: only `Deferred::new` sets this handler, with its own data; the event loop calls it, with
    // nothing else under way.
    guard((), || unsafe {
        let handler = (*(*event).data.cast::<DeferredData>()).handler;
        handler(&mut Idle::new());
    });
}
