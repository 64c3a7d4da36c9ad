//! The nginx module: who may log in, pull and push at the registry behind a location, and whose storage it is.
//!
//! A request's way: [`module`] registers the handlers; [`access`] decides about what is [`wanted`] (a route that [`routing`] reads, or
//! a [`token`]) by what the [`sender`]'s [`claim`] comes to, asking [`cache`] and then [`completions`] for what Redis knows of them,
//! whose [`identity`] it becomes; [`catalog`] filters one kind of answer, as one of the [`lists`] in the making; [`upstream`] sends requests to the user's backend; a
//! [`refusal`] goes out as [`response`] words it; [`signing`] has the keys of tokens; [`variables`] tell the log, [`counters`] and
//! [`status`] those who watch. The configuration is read by [`directives`] into [`conf`]; what is known of a request lies in its
//! [`context`]. What can be decided without nginx is in the crates `registry-auth`, `registry-auth-cache` and
//! `registry-auth-lookup`; [`ffi`] wraps nginx and knows no registry.
#![deny(unsafe_code)]

/// Jobs and answers cross between two threads in batches: more small blocks of a size at once than glibc keeps at hand.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod access;
mod cache;
mod catalog;
mod claim;
mod completions;
mod conf;
mod context;
mod counters;
#[allow(unsafe_code)]
mod directives;
#[allow(unsafe_code)]
mod ffi;
mod health;
mod identity;
mod lines;
mod lists;
/// What must not compile: a file of misuse/snippets/, for misuse/check.
#[cfg(misuse)]
mod misuse {
    include!(env!("MISUSE"));
}
#[allow(unsafe_code)]
mod module;
mod process;
mod refusal;
mod response;
mod routing;
mod sender;
mod signing;
mod status;
mod token;
mod uploads;
mod upstream;
mod v1;
mod variables;
mod wanted;
