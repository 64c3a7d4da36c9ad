//! Safe wrappers of nginx: what the handlers need of requests, pools, configuration, events and peers.
//!
//! The one place, with `module.rs` and `directives.rs`, where raw pointers and `unsafe` stand. It knows no registry: what it
//! calls back is named by traits. Everything here runs on nginx's own thread; only [`event::Ringer`] may leave it.

pub mod bytes;
pub mod conf;
pub mod event;
pub mod filter;
pub mod guard;
pub mod log;
pub mod parking;
pub mod peer;
pub mod pool;
pub mod request;
pub mod shm;
pub mod variable;

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

/// An nginx HTTP module, and the types it keeps in nginx's slots.
///
/// # Safety
/// `descriptor` must return the module that the configuration callbacks of [`conf`] were registered with for these types,
/// and nothing else may write to that module's slots.
pub unsafe trait Module: 'static {
    /// What http{} holds once.
    type Main: Default + 'static;
    /// What each upstream{} holds.
    type Upstream: Default + 'static;
    /// What each http{}, server{} and location{} holds.
    type Location: Default + 'static;
    /// What each request holds from the access phase on.
    type Context: Default + 'static;

    /// The module's descriptor.
    fn descriptor() -> *mut ngx_module_t;
}
