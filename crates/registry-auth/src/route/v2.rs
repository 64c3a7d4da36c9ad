//! The routes of the OCI distribution API, below `/v2`.
//!
//! Called by `route::parse`. Guarantee: there is only one way to read a path. It is read from the right,
//! because a name may have segments such as `blobs` or `manifests`: no reference contains a `/`, so the
//! segment before the last one alone tells the route. distribution's `routeDescriptors` are anchored patterns
//! of the same kind; where both accept a path, they agree on the name.

use super::canonical::Escape;
use super::mount;
use super::need::{Api, Mount, Need, Route, RouteKind, Unknown};
use super::reference::{self, Reference, split_last};
use super::request::{Method, Request};
use crate::denial::{Denial, Reason};
use crate::name::{ByteSet, RepositoryName};
use crate::scope::{Action, Scope};

/// What the segments after the name name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suffix {
    Manifest,
    Blob,
    NewUpload,
    Upload,
    Tags,
    Referrers,
    Extension,
}

impl Suffix {
    /// The same for those who count requests.
    fn counted(self) -> RouteKind {
        match self {
            Self::Manifest => RouteKind::Manifest,
            Self::Blob => RouteKind::Blob,
            Self::NewUpload | Self::Upload => RouteKind::Upload,
            Self::Tags => RouteKind::Tags,
            Self::Referrers => RouteKind::Referrers,
            Self::Extension => RouteKind::Extension,
        }
    }
}

/// Finds the route of a path without its `/v2`.
pub(super) fn parse<'a>(request: &Request<'a>, rest: &'a [u8], escape: Escape) -> Result<Route<'a>, Denial> {
    let rest = match rest {
        b"" | b"/" => return base(request.method),
        b"/_catalog" => return catalog(request.method),
        _ => rest.strip_prefix(b"/").ok_or_else(Denial::unsupported)?,
    };
    let (name, kind, reference) = split(rest)?;
    if escape == Escape::DigestColon && reference != Some(Reference::Digest) {
        return Err(Denial::name_invalid());
    }
    let repository = match RepositoryName::parse(name) {
        Ok(_) if reference == Some(Reference::Illegal) => {
            return unknown(request.method, rest, unknown_reference(kind));
        }
        Ok(repository) => repository,
        Err(_) => return unknown(request.method, rest, Some(Unknown::Name)),
    };
    if matches!(
        (kind, request.method),
        (Suffix::Manifest | Suffix::Blob, Method::Head)
    ) {
        return Ok(Route {
            kind: kind.counted(),
            ..Route::new(Api::V2, Need::Existence(repository))
        });
    }
    let action = action(kind, request.method).ok_or_else(Denial::unsupported)?;
    let mount = match kind {
        Suffix::NewUpload => new_upload(request)?,
        _ => Mount::Absent,
    };
    Ok(Route {
        api: Api::V2,
        kind: kind.counted(),
        need: Need::Repository(Scope { repository, action }),
        mount,
        is_upload: kind == Suffix::Upload,
        names_mirrored: false,
    })
}

/// The route of a path that names what no registry can have; `what` is `None` where the table has no row for
/// that.
#[cold]
fn unknown<'a>(method: Method, rest: &[u8], what: Option<Unknown>) -> Result<Route<'a>, Denial> {
    match (what, method) {
        (Some(what), Method::Get | Method::Head) if is_plain(rest) => {
            Ok(Route::new(Api::V2, Need::Unknown(what)))
        }
        _ => Err(Denial::name_invalid()),
    }
}

/// What it is that has an illegal reference.
fn unknown_reference(kind: Suffix) -> Option<Unknown> {
    match kind {
        Suffix::Manifest => Some(Unknown::Manifest),
        Suffix::Blob => Some(Unknown::Blob),
        Suffix::NewUpload | Suffix::Upload | Suffix::Tags | Suffix::Referrers | Suffix::Extension => None,
    }
}

fn base<'a>(method: Method) -> Result<Route<'a>, Denial> {
    match method {
        Method::Get | Method::Head => Ok(Route::new(Api::V2, Need::Login)),
        _ => Err(Denial::unsupported()),
    }
}

fn catalog<'a>(method: Method) -> Result<Route<'a>, Denial> {
    match method {
        Method::Get => Ok(Route::new(Api::V2, Need::Catalog)),
        _ => Err(Denial::unsupported()),
    }
}

/// The reference of a path without its `/v2/`.
pub(super) fn reference(rest: &[u8]) -> Option<&[u8]> {
    match split(rest).ok()? {
        (_, Suffix::Manifest | Suffix::Blob | Suffix::Referrers, _) => split_last(rest).map(|(_, last)| last),
        (_, Suffix::NewUpload | Suffix::Upload | Suffix::Tags | Suffix::Extension, _) => None,
    }
}

/// Splits `<name>/<kind>/<reference>` from the right. The name is not yet checked, the reference is.
fn split(path: &[u8]) -> Result<(&[u8], Suffix, Option<Reference>), Denial> {
    let (head, last) = split_last(path).ok_or_else(Denial::unsupported)?;
    if last.is_empty() {
        let name = head
            .strip_suffix(b"/blobs/uploads")
            .ok_or_else(Denial::unsupported)?;
        return Ok((name, Suffix::NewUpload, None));
    }
    // What is asked for most is compared rather than looked for, which takes a third of that.
    let (name, word) = match head.strip_suffix(b"/manifests") {
        Some(name) => (name, &b"manifests"[..]),
        None => split_last(head).unwrap_or((&[], head)),
    };
    match word {
        b"manifests" => Ok((name, Suffix::Manifest, Some(reference::parse(last)))),
        // The registry redirects it to the path with the slash, or does not know it.
        b"blobs" if last == b"uploads" => Ok((name, Suffix::NewUpload, None)),
        b"blobs" => Ok((name, Suffix::Blob, Some(reference::parse_digest(last)))),
        b"referrers" if !is_in_extension(name) => {
            Ok((name, Suffix::Referrers, Some(reference::parse_digest(last))))
        }
        b"tags" if last == b"list" => Ok((name, Suffix::Tags, None)),
        b"uploads" => match name.strip_suffix(b"/blobs") {
            Some(name) if reference::is_upload_id(last) => Ok((name, Suffix::Upload, None)),
            Some(_) => Err(Denial::name_invalid()),
            None => extension(path),
        },
        _ => extension(path),
    }
}

/// Whether a path can be read in one way only, though what it names is illegal: no empty or dot segment, and
/// no byte that anybody decodes or cuts at.
fn is_plain(path: &[u8]) -> bool {
    static PLAIN: ByteSet =
        ByteSet::new(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:@");
    path.split(|byte| *byte == b'/')
        .all(|segment| !matches!(segment, b"" | b"." | b"..") && segment.iter().all(|byte| PLAIN.has(*byte)))
}

/// `<name>/_<ext>/…` (OCI distribution-spec, extensions): no legal segment of a name starts with `_`, so the
/// first one that does ends the name.
fn extension(path: &[u8]) -> Result<(&[u8], Suffix, Option<Reference>), Denial> {
    let at = memchr::memmem::find(path, b"/_").ok_or_else(Denial::unsupported)?;
    let (Some(name), Some(rest)) = (path.get(..at), path.get(at + 1..)) else {
        return Err(Denial::unsupported());
    };
    let (extension, tail) = split_first(rest).ok_or_else(Denial::unsupported)?;
    let mut segments = tail.split(|byte| *byte == b'/');
    if extension != b"_"
        && reference::is_extension_segment(extension)
        && segments.all(reference::is_extension_segment)
    {
        Ok((name, Suffix::Extension, None))
    } else {
        Err(Denial::name_invalid())
    }
}

/// The bytes around the first `/`, if there are some on both sides.
fn split_first(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'/', path)?;
    let (first, rest) = (path.get(..at)?, path.get(at + 1..)?);
    (!first.is_empty() && !rest.is_empty()).then_some((first, rest))
}

/// Whether a path goes on within an extension, so that its last words are the extension's own.
fn is_in_extension(name: &[u8]) -> bool {
    memchr::memmem::find(name, b"/_").is_some()
}

/// The right that a method needs; `None` where the table has no such row.
fn action(kind: Suffix, method: Method) -> Option<Action> {
    match (kind, method) {
        (Suffix::Manifest | Suffix::Blob, Method::Get) => Some(Action::Pull),
        (Suffix::Extension, Method::Get | Method::Head) => Some(Action::Pull),
        (Suffix::Tags | Suffix::Referrers, Method::Get) => Some(Action::Pull),
        (Suffix::Manifest, Method::Put) => Some(Action::Push),
        (Suffix::NewUpload, Method::Post) => Some(Action::Push),
        (Suffix::Upload, Method::Get | Method::Patch | Method::Put | Method::Delete) => Some(Action::Push),
        (Suffix::Manifest | Suffix::Blob, Method::Delete) => Some(Action::Delete),
        _ => None,
    }
}

/// The start of an upload: its query may ask for a mount, its body must not be a form.
fn new_upload<'a>(request: &Request<'a>) -> Result<Mount<'a>, Denial> {
    if request.content_type.is_some_and(mount::is_form) {
        return Err(Denial::new(
            Reason::FormBody,
            "an upload must not be started with a form",
        ));
    }
    Ok(mount::classify(request.args))
}
