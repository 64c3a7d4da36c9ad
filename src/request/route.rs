//! What a request asks for, in the core's words; and the one thing that is changed in it: its query, where
//! that asks for more.
//!
//! Called by `access`. What the core decides about is what proxy_pass forwards: the target as the client
//! wrote it.

use std::borrow::Cow;

use registry_auth::Denial;
use registry_auth::route::{self, Method, Route, mount};

use crate::conf::Settings;
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;

/// The route of a request, or why it is refused. `content_type` is what [`content_type`] gave, which lives
/// longer than the route.
#[inline(always)]
pub fn route_of<'a>(
    request: &'a Request,
    content_type: Option<&'a [u8]>,
    settings: &Settings,
) -> Result<Route<'a>, Denial> {
    route::parse(&asked(request, content_type), &settings.routes)
}

/// The request as the core reads it.
#[inline(always)]
fn asked<'a>(request: &'a Request, content_type: Option<&'a [u8]>) -> route::Request<'a> {
    let method = Method::of(request.method());
    match request.target() {
        Some(target) => route::Request::from_target(method, target, request.uri(), content_type),
        None => route::Request {
            method,
            raw_path: request.uri(),
            decided_path: request.uri(),
            args: request.args(),
            content_type,
        },
    }
}

/// All `Content-Type` headers of a request that may start an upload: a backend may read any of several. None
/// where there is no body, for then they say nothing (`curl -d ''` sends that of a form).
#[inline]
pub fn content_type(request: &Request) -> Option<Cow<'_, [u8]>> {
    match request.method() == b"POST" && request.has_body() {
        true => content_types(request),
        false => None,
    }
}

/// Whether the body says that it is a form, which registries read before the query.
pub fn has_form(request: &Request) -> bool {
    request.has_body() && content_types(request).is_some_and(|content_type| mount::is_form(&content_type))
}

#[inline(never)]
fn content_types(request: &Request) -> Option<Cow<'_, [u8]>> {
    request
        .headers(b"content-type")
        .map(Cow::Borrowed)
        .reduce(|all, one| Cow::Owned([&*all, &*one].join(&b',')))
}

/// The query that is decided on, without its question mark.
pub fn query(request: &Request) -> &[u8] {
    match request.target() {
        Some(target) => query_of(target),
        None => request.args(),
    }
}

/// The query of a target, without its question mark.
pub fn query_of(target: &[u8]) -> &[u8] {
    target.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default()
}

/// What of a query does not go on.
#[derive(Clone, Copy)]
pub enum Strip {
    /// `mount` and `from`.
    Mount,
    /// `ns`.
    Ns,
    /// All of these.
    Both,
}

/// Takes that out of the query that is forwarded.
pub fn strip_query(request: &mut Request, what: Strip) -> Result<(), OutOfMemory> {
    let mut args = Vec::new();
    match what {
        Strip::Mount => mount::strip(query(request), mount::MOUNT, &mut args),
        Strip::Ns => mount::strip(query(request), mount::NS, &mut args),
        Strip::Both => {
            let names = [mount::MOUNT, mount::NS].concat();
            mount::strip(query(request), &names, &mut args);
        }
    }
    request.set_args(&args)
}
