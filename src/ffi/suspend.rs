//! Requests that wait, for another thread or for their turn: each has a ticket, a timer, and a guard that
//! forgets it when nginx drops the request.
//!
//! The guard lives in the request's own state. The timer is the wait's limit and, not being cancelable, keeps
//! a worker that shuts down gracefully from leaving before its requests are answered. Nothing here can resume
//! a request that nginx has freed or terminated: both take the ticket out of the table first.

use core::cell::RefCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_event_t, ngx_http_block_reading, ngx_http_cleanup_add, ngx_http_cleanup_t, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_test_reading,
};

use super::event::{Idle, NoConnection};
use super::request::Request;
use super::slot_pool::Block;
use super::visit::Visit;
use super::{guard::guard, shim};

/// One waiting request, in a block of its own. Dropping it forgets the request. Its owner must
/// be the request's own state, which nginx drops with the request.
pub struct Suspension(NonNull<Waiter>);

#[repr(C)]
struct Waiter {
    /// First, as the waiter is its timer's data.
    head: NoConnection,
    event: ngx_event_t,
    request: *mut ngx_http_request_t,
    /// Where it waits.
    visit: Visit,
    cleanup: *mut ngx_http_cleanup_t,
    ticket: u64,
    on_timeout: fn(&mut Request),
    on_gone: fn(u64),
    waiting: bool,
}

/// Tickets to waiters. A ticket is an index and, above it, how often that index was given out, so that a late
/// answer for an earlier holder finds nobody.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    free: Vec<u32>,
}

struct Row {
    generation: u32,
    waiter: *mut Waiter,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

impl Table {
    fn add(&mut self, waiter: *mut Waiter) -> Option<u64> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.rows.push(Row {
                    generation: 0,
                    waiter: ptr::null_mut(),
                });
                u32::try_from(self.rows.len() - 1).ok()?
            }
        };
        let row = self.rows.get_mut(index as usize)?;
        row.waiter = waiter;
        Some(u64::from(row.generation) << 32 | u64::from(index))
    }

    /// The row of a ticket whose holder still waits.
    fn row(&mut self, ticket: u64) -> Option<&mut Row> {
        let row = self.rows.get_mut(ticket as u32 as usize)?;
        (u64::from(row.generation) == ticket >> 32 && !row.waiter.is_null()).then_some(row)
    }

    fn remove(&mut self, ticket: u64) {
        if let Some(row) = self.row(ticket) {
            row.generation = row.generation.wrapping_add(1);
            row.waiter = ptr::null_mut();
            self.free.push(ticket as u32);
        }
    }
}

impl Suspension {
    /// Has `request` wait at most `timeout` milliseconds; the caller then returns NGX_AGAIN from its phase
    /// handler. When time is up, `on_timeout` notes it and the request goes on. Where nginx drops the request
    /// meanwhile, as its client is gone, `on_gone` gets the ticket. `None` when memory is out.
    pub fn new(
        request: &mut Request,
        timeout: u64,
        on_timeout: fn(&mut Request),
        on_gone: fn(u64),
    ) -> Option<Suspension> {
        let visit = request.visit();
        let r = request.as_ptr();
        // SAFETY: the request is valid; the record, which does nothing without a handler, is ours to fill.
        let cleanup = unsafe { ngx_http_cleanup_add(r, 0) };
        if cleanup.is_null() {
            return None;
        }
        let waiter = Block::new(|| Waiter {
            head: NoConnection::HEAD,
            // SAFETY: all-zero is a valid ngx_event_t.
            event: unsafe { MaybeUninit::zeroed().assume_init() },
            request: r,
            visit,
            cleanup,
            ticket: 0,
            on_timeout,
            on_gone,
            waiting: false,
        })?;
        // From here on the guard drops the waiter, however this ends.
        let suspension = Suspension(waiter.into_raw());
        let address = suspension.0.as_ptr();
        // SAFETY: `address` stays valid until the guard, dropped before the request is freed, takes timer,
        // record and row away.
        unsafe {
            (*address).ticket = TABLE.with_borrow_mut(|table| table.add(address))?;
            (*address).waiting = true;
            (*cleanup).handler = Some(abandoned);
            (*cleanup).data = address.cast();

            let event = &mut (*address).event;
            event.handler = Some(timed_out);
            event.data = address.cast();
            event.log = (*(*r).connection).log;
            shim::rga_add_timer(event, timeout as usize);

            (*r).read_event_handler = Some(ngx_http_test_reading);
        }
        Some(suspension)
    }

    /// What [`resume`] knows the request by.
    pub fn ticket(&self) -> u64 {
        // SAFETY: the waiter lives until the guard is dropped.
        unsafe { self.0.as_ref() }.ticket
    }
}

impl Waiter {
    /// Takes the waiter out of all that could reach it, as the request is being dropped.
    fn abandon(&mut self) {
        if self.waiting {
            self.leave();
            (self.on_gone)(self.ticket);
        }
    }

    /// Takes the waiter out of all that could reach it.
    fn leave(&mut self) {
        if !core::mem::replace(&mut self.waiting, false) {
            return;
        }
        TABLE.with_borrow_mut(|table| table.remove(self.ticket));
        // SAFETY: while `waiting`, event and record are ours and the request lives.
        unsafe {
            shim::rga_del_timer(&mut self.event);
            (*self.cleanup).handler = None;
        }
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        // SAFETY: the guard was given the block, and only it; nothing refers to the waiter once it has left.
        let mut waiter = unsafe { Block::from_raw(self.0) };
        waiter.abandon();
    }
}

/// Lets the request of `ticket` go on, after `fill` has put the answer into its state (which may drop its
/// [`Suspension`]). Nothing happens where it no longer waits, nor where nginx has moved it: it does something
/// else there (`post_action` of a client that is gone), which is not to be disturbed. The request may be
/// freed, or wait anew, by then: hence no other one may be in use.
pub fn resume(_: &mut Idle, ticket: u64, fill: impl FnOnce(&mut Request)) {
    let Some(waiter) = TABLE.with_borrow_mut(|table| table.row(ticket).map(|row| row.waiter)) else {
        return;
    };
    // SAFETY: a waiter in the table is that of a request that lives and waits.
    unsafe { go_on(waiter, fill) }
}

/// # Safety
/// `waiter` must be that of a request that lives and waits.
unsafe fn go_on(waiter: *mut Waiter, fill: impl FnOnce(&mut Request)) {
    // SAFETY: as the caller says; `waiter` is not used after `fill`, which may free it. As nginx's own event
    // handlers do, the connection is kept before the request runs, which may free the request.
    unsafe {
        let r = (*waiter).request;
        (*waiter).leave();
        let Some(request) = Request::from_raw(r).filter(|request| request.visit() == (*waiter).visit) else {
            return;
        };
        let connection = (*r).connection;
        (*r).read_event_handler = Some(ngx_http_block_reading);
        fill(request);
        if let Some(run) = (*r).write_event_handler {
            run(r);
        }
        ngx_http_run_posted_requests(connection);
    }
}

/// The wait's timer.
unsafe extern "C" fn timed_out(event: *mut ngx_event_t) {
    // SAFETY: only `Suspension::new` sets this handler, with its waiter, and the timer goes when the waiter
    // does.
    guard((), || unsafe {
        let waiter = (*event).data.cast::<Waiter>();
        let on_timeout = (*waiter).on_timeout;
        go_on(waiter, on_timeout);
    });
}

/// The request is being freed or terminated.
unsafe extern "C" fn abandoned(data: *mut c_void) {
    // SAFETY: the record's handler is set only while the waiter is there.
    guard((), || unsafe { (*data.cast::<Waiter>()).abandon() });
}
