//! Safe wrappers of nginx: what the handlers need of requests, pools, configuration, events and peers.
//!
//! The one place, with `module.rs` and `directives.rs`, where raw pointers and `unsafe` stand. It knows no
//! registry: what it calls back is named by traits. Everything here runs on nginx's own thread; only
//! [`event::Notifier`] may leave it.

pub mod answer;
pub mod body;
pub mod bytes;
pub mod conf;
pub mod content;
pub mod event;
pub mod file;
pub mod filter;
mod flags;
pub mod guard;
pub mod log;
pub mod never_cancel;
pub mod numbers;
pub mod observe;
mod once;
pub mod peer;
pub mod pool;
pub mod request;
pub mod shm;
mod slot_pool;
pub mod steering;
pub mod subrequest;
pub mod suspend;
mod unshare_fds;
mod values;
pub mod variable;
pub mod visit;

/// `shim.h` as functions; the types are nginx-sys's.
#[allow(
    missing_docs,
    non_upper_case_globals,
    non_camel_case_types,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub mod shim {
    use nginx_sys::*;
    include!(concat!(env!("OUT_DIR"), "/shim.rs"));
}

use nginx_sys::ngx_module_t;

/// The version of nginx, which is the one that the module was built for: it loads into no other.
pub fn nginx_version() -> &'static str {
    nginx_sys::NGINX_VERSION.to_str().unwrap_or_default()
}

/// A value that an nginx HTTP module keeps in one of nginx's slots: once for http{}, for each server{} or
/// upstream{}, for each location{}, or for each request.
///
/// # Safety
/// `descriptor` must return the module in whose slot of the kind `Kind` the callbacks of [`conf`], or
/// [`request`], put such a value, and nothing else may write to that slot.
pub unsafe trait Slot: Default + 'static {
    /// Which of the module's slots.
    type Kind;

    /// The descriptor of the module that keeps it.
    fn descriptor() -> *mut ngx_module_t;
}

/// The kinds of [`Slot`], so that none is taken for another.
pub mod slots {
    /// Once for http{}.
    pub enum Http {}
    /// For each server{} or upstream{}.
    pub enum Server {}
    /// For each location{}.
    pub enum Location {}
    /// For each request.
    pub enum Request {}
}
