//! Which right does a request need? The table of the registry's routes, read from method and path.
//!
//! Called once a request by the nginx module, before anything else; allocates only for V1 names of one segment and
//! for mounts. Invariant: the repository in the answer is the one that the backend will read out of the raw path, or
//! the request is refused. `tests/routes.txt` holds the table as data.

mod canonical;
pub mod mount;
mod reference;
mod v1;
mod v2;

use crate::denial::Denial;
use crate::name::RepositoryName;
use crate::scope::{Action, Scope};
use canonical::Escape;

pub(crate) use reference::is_digest;

/// The request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// Any other one: on no route.
    Other,
}

/// What of a request decides its route.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path that will be forwarded, before the first `?`, not decoded.
    pub raw_path: &'a [u8],
    /// The path that nginx decides on (`r->uri`): decoded and normalised.
    pub decided_path: &'a [u8],
    /// The query that will be forwarded, after the first `?`, not decoded. **Not** nginx's `r->args`: that ends at a
    /// `#`, which the forwarded query does not.
    pub args: &'a [u8],
    /// The `Content-Type` of the request; where it has several, all of them, joined by commas: a backend may heed any.
    pub content_type: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Splits the target as it will be forwarded (nginx's `r->unparsed_uri`) into path and query.
    pub fn from_target(
        method: Method,
        target: &'a [u8],
        decided_path: &'a [u8],
        content_type: Option<&'a [u8]>,
    ) -> Self {
        let (raw_path, args) = match memchr::memchr(b'?', target) {
            Some(at) => target.split_at(at),
            None => (target, &[][..]),
        };
        let args = args.strip_prefix(b"?").unwrap_or(args);
        Self {
            method,
            raw_path,
            decided_path,
            args,
            content_type,
        }
    }
}

/// Which routes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether `/v1/images/…` is served (`registry_auth_v1_images`).
    pub v1_images: bool,
}

/// The API a route belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// The OCI distribution API.
    V2,
    /// The API of docker-archive/docker-registry.
    V1,
    /// V1's `/_ping` and `/v1/_ping`.
    Ping,
}

/// What a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Nothing: open to everybody.
    Nothing,
    /// Any verified user.
    Login,
    /// Any verified user; the answer is to be filtered.
    Catalog,
    /// V1's search: any verified user; the answer is to be filtered.
    Search,
    /// Any verified user: V1 images belong to no repository.
    Images(Action),
    /// A right on a repository.
    Repository(Scope<'a>),
    /// The right to pull from a repository, or to push to it: whether it has a manifest or a blob. Clients ask so before
    /// they push either.
    Existence(RepositoryName<'a>),
    /// Any verified user, who then learns that there is no such thing: the path is canonical, but no registry can have
    /// what it names.
    Unknown(Unknown),
}

/// What no registry can have, since its name is illegal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// A repository.
    Name,
    /// A manifest.
    Manifest,
    /// A blob.
    Blob,
}

/// What becomes of the query parameters `mount` and `from` (end-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount<'a> {
    /// There are none: the query goes on as it is.
    Absent,
    /// They go in any case: the query must be rewritten with [`crate::route::mount::strip`].
    Strip,
    /// They stay if the sender may pull from this repository, else they go.
    From(RepositoryName<'a>),
}

/// A request that the table knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Its API.
    pub api: Api,
    /// The right it needs.
    pub need: Need<'a>,
    /// Its cross-repository mount.
    pub mount: Mount<'a>,
    /// Whether it goes on with an upload that has begun.
    pub is_upload: bool,
    /// Whether its query may name the registry that a mirror is to ask ([`crate::route::mount::NS`]).
    pub names_mirrored: bool,
}

impl<'a> Route<'a> {
    fn new(api: Api, need: Need<'a>) -> Self {
        Self {
            api,
            need,
            mount: Mount::Absent,
            is_upload: false,
            names_mirrored: false,
        }
    }

    /// The repository, where the route has one (`$registry_auth_repository`).
    pub fn repository(&self) -> Option<&RepositoryName<'a>> {
        match &self.need {
            Need::Repository(scope) => Some(&scope.repository),
            Need::Existence(repository) => Some(repository),
            Need::Nothing
            | Need::Login
            | Need::Catalog
            | Need::Search
            | Need::Images(_)
            | Need::Unknown(_) => None,
        }
    }

    /// The action, where the route has one (`$registry_auth_action`).
    pub fn action(&self) -> Option<Action> {
        match &self.need {
            Need::Repository(scope) => Some(scope.action),
            Need::Images(action) => Some(*action),
            Need::Existence(_) => Some(Action::Pull),
            Need::Nothing | Need::Login | Need::Catalog | Need::Search | Need::Unknown(_) => None,
        }
    }
}

/// Finds the route of a request, or why it is refused: 400 for a path that is not canonical, and for an illegal name in
/// a request that would change something; 404 for what is on no row of the table or on one that is turned off.
pub fn parse<'a>(request: &Request<'a>, options: &Options) -> Result<Route<'a>, Denial> {
    let escape = canonical::compare(request.raw_path, request.decided_path)?;
    let path = request.decided_path;
    if let Some(rest) = path.strip_prefix(b"/v2") {
        let mut route = v2::parse(request, rest, escape)?;
        route.names_mirrored = !request.args.is_empty() && mount::has(request.args, mount::NS);
        return Ok(route);
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

/// Whether a path is one of the V1 API, its pings included, whatever route it is on, if on any. What it answers is read by
/// V1 clients, which know no tokens, and which send their password wherever an answer points.
pub fn is_v1(path: &[u8]) -> bool {
    path.starts_with(b"/v1/") || path == b"/_ping"
}

/// The bytes around the last `/`; `None` if there is none.
fn split_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memrchr(b'/', path)?;
    Some((path.get(..at)?, path.get(at + 1..)?))
}
