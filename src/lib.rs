//! The nginx module: who may log in, pull and push at the registry behind a location, and whose storage it
//! is.
//!
//! [`module`] registers the handlers; [`directives`] are read into [`conf`]. [`request`] is the way of one
//! request through the access phase, and of its answer; [`upstream`] sends it to the user's backend;
//! [`endpoints`] are the answers that the module makes itself; [`variables`] tell the log. [`worker`] is what
//! a worker process has for all requests. What can be decided without nginx is in the crates `registry-auth`,
//! `registry-auth-cache` and `registry-auth-lookup`; [`ffi`] wraps nginx and knows no registry.
#![deny(unsafe_code)]

/// Jobs and answers cross between two threads in batches: more small blocks of a size at once than glibc
/// keeps in reserve.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod conf;
#[allow(unsafe_code)]
mod directives;
mod endpoints;
#[allow(unsafe_code)]
mod ffi;
/// What must not compile: a file of misuse/snippets/, for misuse/check.
#[cfg(misuse)]
mod misuse {
    include!(env!("MISUSE"));
}
#[allow(unsafe_code)]
mod module;
mod request;
mod upstream;
mod variables;
mod worker;
