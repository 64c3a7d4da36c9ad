//! The table of the registry's routes: which right does a request need, by its method and path?
//!
//! Called by the nginx module once a request, before anything else. It allocates only for V1 names of one
//! segment and for mounts. Guarantee: the repository of a route is the one that the backend will read out of
//! the raw path; else the request is refused. `tests/routes.txt` has the table as data.

mod canonical;
pub mod mount;
pub(crate) mod need;
pub(crate) mod reference;
mod request;
mod v1;
mod v2;

pub use need::{Api, Mount, Need, Route, RouteKind, Unknown};
pub use request::{Method, Request, RouteOptions};

use crate::denial::Denial;
use canonical::Escape;

/// Finds the route of a request: the right that it needs.
///
/// ```
/// use registry_auth::route::{self, Method, RouteOptions, Request};
/// use registry_auth::Action;
///
/// let target = b"/v2/team/app/blobs/uploads/?mount=sha256:0123456789abcdef&from=team/base";
/// let request = Request::from_target(Method::Post, target, b"/v2/team/app/blobs/uploads/", None);
/// let route = route::parse(&request, &RouteOptions { v1_images: true })?;
/// assert_eq!(route.repository().map(|name| name.as_str()), Some("team/app"));
/// assert_eq!(route.action(), Some(Action::Push));
///
/// // What nginx would decode is refused: the backend might decode it otherwise.
/// let (raw, decided) = (b"/v2/team/%61pp/tags/list", b"/v2/team/app/tags/list");
/// let request = Request::from_target(Method::Get, raw, decided, None);
/// assert_eq!(route::parse(&request, &RouteOptions { v1_images: true }).unwrap_err().status(), 400);
/// # Ok::<(), registry_auth::Denial>(())
/// ```
///
/// # Errors
/// The refusal: 400 for a path that is not canonical, and for an illegal name in a request that would change
/// something; 404 for a path that is on no row of the table, or on one that is turned off.
pub fn parse<'a>(request: &Request<'a>, options: &RouteOptions) -> Result<Route<'a>, Denial> {
    let escape = canonical::compare(request.raw_path, request.decided_path)?;
    let path = request.decided_path;
    if let Some(rest) = path.strip_prefix(b"/v2") {
        let route = v2::parse(request, rest, escape);
        // As it is, where it can be: it is large.
        if request.args.is_empty() {
            return route;
        }
        return route.map(|route| Route {
            names_mirrored: mount::has(request.args, mount::NS),
            ..route
        });
    }
    if escape == Escape::DigestColon {
        return Err(Denial::name_invalid());
    }
    if path == b"/_ping" || path == b"/v1/_ping" {
        return match request.method {
            Method::Get | Method::Head => Ok(Route::new(Api::Ping, Need::Nothing)),
            _ => Err(Denial::unsupported()),
        };
    }
    match path.strip_prefix(b"/v1/") {
        Some(rest) => v1::parse(request.method, rest, options),
        None => Err(Denial::unsupported()),
    }
}

/// What a path that is on a route refers to within its repository: the tag or digest of a manifest, the
/// digest of a blob, a tag of V1. `None` where the route has no such thing, as a list of tags and an upload
/// have none. `path` is the decided one.
///
/// ```
/// use registry_auth::route::reference;
///
/// assert_eq!(reference(b"/v2/team/app/manifests/v1"), Some(&b"v1"[..]));
/// assert_eq!(reference(b"/v2/team/app/tags/list"), None);
/// ```
pub fn reference(path: &[u8]) -> Option<&[u8]> {
    match path.strip_prefix(b"/v2/") {
        Some(rest) => v2::reference(rest),
        None => v1::reference(path.strip_prefix(b"/v1/repositories/")?),
    }
}

/// Whether bytes are a digest, `algorithm:encoded`, as a path or a header may hold one.
pub fn is_digest(bytes: &[u8]) -> bool {
    reference::is_digest(bytes)
}

/// Whether a path is one of the V1 API, its pings included, whatever route it is on, if on any. What it
/// answers is read by V1 clients, which know no tokens, and which send their password wherever an answer
/// points.
pub fn is_v1(path: &[u8]) -> bool {
    path.starts_with(b"/v1/") || path == b"/_ping"
}
