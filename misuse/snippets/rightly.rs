// What the other snippets do wrongly, done rightly: this compiles.

use crate::conf::{CacheOptions, Location};
use crate::request::context::Context;
use crate::ffi::event::{Deferred, Idle, NginxThread};
use crate::ffi::log;
use crate::ffi::suspend::resume;
use crate::ffi::request::Request;

pub fn pool_then_change(request: &mut Request) -> Option<()> {
    let length = request.pool()?.copy(b"text")?.len();
    request.add_header("X-Length", length.to_string().as_bytes()).ok()
}

pub fn one_after_the_other(idle: &mut Idle, one: u64, other: u64) {
    resume(idle, one, |_| ());
    resume(idle, other, |request| {
        request.existing_context::<Context, _>(|_, _| ());
    });
}

pub fn while_the_zone_is_there(options: &CacheOptions) -> Option<(u64, u64)> {
    options.zone.lock().map(|locked| locked.pages())
}

pub fn on_nginxs_thread(thread: NginxThread) -> Deferred {
    log::write(thread, log::Level::Info, format_args!("here"));
    Deferred::new(thread, |idle| log::write(idle.thread(), log::Level::Info, format_args!("later")))
}

pub fn kept_where_it_may_be_read(request: &mut Request, bytes: &[u8]) -> usize {
    let kept = request.keep_own::<Context>(bytes);
    kept.map_or(0, |kept| request.kept::<Context>(&kept).len())
}

pub fn location_beside_a_change(request: &mut Request) {
    request.with_location::<Location, _>(|request, location| {
        request.set_args(b"");
        location.settings.is_some()
    });
}

pub fn of_its_kind(request: &Request) -> bool {
    request.location::<Location>().is_some()
}
