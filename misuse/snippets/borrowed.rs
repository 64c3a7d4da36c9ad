// What belongs to a request, a zone or a callback does not outlive it.

use core::cell::Cell;

use crate::conf::{CacheOptions, Location};
use crate::request::context::Context;
use crate::ffi::event::Idle;
use crate::ffi::suspend::resume;
use crate::ffi::pool::Pool;
use crate::ffi::request::{RequestBytes, Request};

pub fn pool_beside_a_change(request: &mut Request) {
    let pool = request.pool();
    request.set_args(b""); //~ E0502
    drop(pool);
}

pub fn location_beside_a_change(request: &mut Request) {
    let location = request.location::<Location>();
    request.set_args(b""); //~ E0502
    drop(location);
}

thread_local! {
    static POOL: Cell<Option<Pool<'static>>> = const { Cell::new(None) };
    static IDLE: Cell<Option<&'static mut Idle>> = const { Cell::new(None) };
    static LOCATION: Cell<Option<&'static Location>> = const { Cell::new(None) };
}

pub fn pool_kept(request: &Request) {
    POOL.set(request.pool()); //~ E0521
}

pub fn location_kept(request: &Request) {
    LOCATION.set(request.location::<Location>()); //~ E0521
}

pub fn location_kept_by_its_loan(request: &mut Request) {
    request.with_location::<Location, _>(|_, location| LOCATION.set(Some(location))); //~ E0521
}

pub fn kept_bytes_after_a_change(request: &mut Request, kept: &RequestBytes) {
    let bytes = request.kept::<Context>(kept);
    request.set_args(b""); //~ E0502
    drop(bytes.len());
}

pub fn idle_kept(idle: &mut Idle) {
    IDLE.set(Some(idle)); //~ E0521
}

pub fn resumed_while_another_is_at_hand(idle: &mut Idle, one: u64, other: u64) {
    resume(idle, one, |_| resume(idle, other, |_| ())); //~ E0500 E0501
}

pub fn request_kept(idle: &mut Idle, ticket: u64) {
    let mut kept = None;
    resume(idle, ticket, |request| kept = Some(request)); //~ E0521
    drop(kept);
}

pub fn zone_gone_while_locked(options: CacheOptions) {
    let zone = options.zone;
    let locked = zone.lock();
    drop(zone); //~ E0505
    drop(locked);
}
