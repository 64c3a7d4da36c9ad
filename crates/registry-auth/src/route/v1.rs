//! The routes of docker-archive/docker-registry's API, below `/v1/`.
//!
//! That registry reads `/v1/repositories/<path>/<word>` with patterns that overlap. Invariant: a name that holds one of
//! the words, and a tag that is one, are refused, so that there is one way only to read a path.

use super::reference;
use super::{Api, Method, Need, Options, Route};
use crate::denial::Denial;
use crate::name::RepositoryName;
use crate::scope::{Action, Scope};

/// Finds the route of a path without its `/v1/`.
pub(super) fn parse<'a>(method: Method, rest: &'a [u8], options: &Options) -> Result<Route<'a>, Denial> {
    match rest {
        b"users" | b"users/" if method == Method::Get => return Ok(Route::new(Api::V1, Need::Login)),
        _ => {}
    }
    if let Some(rest) = rest.strip_prefix(b"repositories/") {
        return repository(method, rest);
    }
    match rest.strip_prefix(b"images/") {
        Some(rest) if options.v1_images => image(method, rest),
        _ => Err(Denial::unsupported()),
    }
}

/// `/v1/images/<id>/<word>`: no repository, hence any verified user.
fn image<'a>(method: Method, rest: &[u8]) -> Result<Route<'a>, Denial> {
    let (id, word) = super::split_last(rest).ok_or_else(Denial::unsupported)?;
    let action = match (word, method) {
        (b"layer" | b"json" | b"ancestry" | b"checksum" | b"files" | b"diff", Method::Get | Method::Head) => {
            Action::Pull
        }
        (b"layer" | b"json" | b"checksum", Method::Put) => Action::Push,
        _ => return Err(Denial::unsupported()),
    };
    if !reference::is_image_id(id) {
        return Err(Denial::name_invalid());
    }
    Ok(Route::new(Api::V1, Need::Images(action)))
}

/// `/v1/repositories/<name>/<tail>`
fn repository<'a>(method: Method, rest: &'a [u8]) -> Result<Route<'a>, Denial> {
    let (name, tail) = split_name(rest).ok_or_else(Denial::unsupported)?;
    let repository = RepositoryName::from_v1(name).map_err(|_| Denial::name_invalid())?;
    if tail == b"auth" {
        return match method {
            Method::Put => Ok(Route::new(Api::V1, Need::Login)),
            _ => Err(Denial::unsupported()),
        };
    }
    let action = action(method, tail)?;
    Ok(Route::new(
        Api::V1,
        Need::Repository(Scope { repository, action }),
    ))
}

/// Splits before the first segment that is a word of the API, or at the final `/`.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    for slash in memchr::memchr_iter(b'/', path) {
        let (name, tail) = (path.get(..slash)?, path.get(slash + 1..)?);
        let segment = tail.split(|byte| *byte == b'/').next()?;
        if segment.is_empty() || is_word(segment) {
            // A name may not begin with a word either: `/v1/repositories/tags/json` reads in two ways.
            let first = name.split(|byte| *byte == b'/').next()?;
            return (!is_word(first)).then_some((name, tail));
        }
    }
    None
}

fn is_word(segment: &[u8]) -> bool {
    matches!(segment, b"images" | b"tags" | b"json" | b"properties" | b"auth")
}

/// The right that a method needs on what follows the name.
fn action(method: Method, tail: &[u8]) -> Result<Action, Denial> {
    let tag = tail.strip_prefix(b"tags/");
    match (method, tail) {
        (Method::Get, b"images" | b"tags" | b"json" | b"properties") => return Ok(Action::Pull),
        (Method::Put, b"" | b"images" | b"properties") => return Ok(Action::Push),
        (Method::Delete, b"" | b"images" | b"tags") => return Ok(Action::Delete),
        _ => {}
    }
    match (method, tag) {
        (Method::Get, Some(tag)) => {
            check_tag(tag.strip_suffix(b"/json").unwrap_or(tag)).map(|()| Action::Pull)
        }
        (Method::Put, Some(tag)) => check_tag(tag).map(|()| Action::Push),
        (Method::Delete, Some(tag)) => check_tag(tag).map(|()| Action::Delete),
        _ => Err(Denial::unsupported()),
    }
}

fn check_tag(tag: &[u8]) -> Result<(), Denial> {
    if tag.contains(&b'/') {
        Err(Denial::unsupported())
    } else if reference::is_tag(tag) && !is_word(tag) {
        Ok(())
    } else {
        Err(Denial::name_invalid())
    }
}
