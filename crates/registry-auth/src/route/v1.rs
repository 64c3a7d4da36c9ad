//! The routes of docker-archive/docker-registry's API, below `/v1/`.
//!
//! Called by `route::parse`. That registry reads `/v1/repositories/<path>/<word>` with patterns that overlap:
//! `<name>/tags/<word>` is a tag, or `<word>` of a repository `<name>/tags`. Guarantee: there is only one way
//! to read a path. For that, a name with a segment `tags`, and a tag that is one of the words, are refused.
//! Other words are legal segments of a name: each pattern is anchored at the end of the path, where the word
//! is.

use super::need::{Api, Need, Route};
use super::reference::{self, split_last};
use super::request::{Method, RouteOptions};
use crate::denial::Denial;
use crate::name::RepositoryName;
use crate::scope::{Action, Scope};

/// Finds the route of a path without its `/v1/`.
pub(super) fn parse<'a>(method: Method, rest: &'a [u8], options: &RouteOptions) -> Result<Route<'a>, Denial> {
    if rest == b"search" {
        return match method {
            Method::Get => Ok(Route::new(Api::V1, Need::Search)),
            _ => Err(Denial::unsupported()),
        };
    }
    if let b"users" | b"users/" = rest {
        return match method {
            Method::Get => Ok(Route::new(Api::V1, Need::Login)),
            // A login of docker's begins with signing up, without credentials, and goes on only after a 401.
            // No user can sign up here, whatever is sent.
            Method::Post => Err(Denial::unauthenticated()),
            _ => Err(Denial::unsupported()),
        };
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
    let (id, word) = split_last(rest).ok_or_else(Denial::unsupported)?;
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
    if name.split(|byte| *byte == b'/').any(|segment| segment == b"tags") {
        return Err(Denial::name_invalid());
    }
    let repository = RepositoryName::from_v1(name).map_err(|_| Denial::name_invalid())?;
    let action = match (method, tail) {
        (Method::Put, Tail::Word(b"auth")) => return Ok(Route::new(Api::V1, Need::Login)),
        (Method::Get, Tail::Word(b"images" | b"tags" | b"json" | b"properties")) => Action::Pull,
        (Method::Put, Tail::Nothing | Tail::Word(b"images" | b"properties")) => Action::Push,
        (Method::Delete, Tail::Nothing | Tail::Word(b"images" | b"tags")) => Action::Delete,
        (Method::Get, Tail::Tag(tag) | Tail::JsonOfTag(tag)) => check_tag(tag).map(|()| Action::Pull)?,
        (Method::Put, Tail::Tag(tag)) => check_tag(tag).map(|()| Action::Push)?,
        (Method::Delete, Tail::Tag(tag)) => check_tag(tag).map(|()| Action::Delete)?,
        _ => return Err(Denial::unsupported()),
    };
    Ok(Route::new(
        Api::V1,
        Need::Repository(Scope { repository, action }),
    ))
}

/// The tag of a path without its `/v1/repositories/`.
pub(super) fn reference(rest: &[u8]) -> Option<&[u8]> {
    match split_name(rest)?.1 {
        Tail::Tag(tag) | Tail::JsonOfTag(tag) => Some(tag),
        Tail::Nothing | Tail::Word(_) => None,
    }
}

/// What follows the name of a repository.
#[derive(Clone, Copy)]
enum Tail<'a> {
    /// A `/`.
    Nothing,
    /// One of the API's words.
    Word(&'a [u8]),
    /// `/tags/<tag>`
    Tag(&'a [u8]),
    /// `/tags/<tag>/json`
    JsonOfTag(&'a [u8]),
}

/// Splits a path into name and tail, from the right.
fn split_name(path: &[u8]) -> Option<(&[u8], Tail<'_>)> {
    let (before, last) = split_last(path)?;
    match last {
        b"" => Some((before, Tail::Nothing)),
        // The `json` of a repository `<name>/tags/<tag>` reads the same, and is no repository.
        b"json" => match split_tag(before) {
            Some((name, tag)) => Some((name, Tail::JsonOfTag(tag))),
            None => Some((before, Tail::Word(last))),
        },
        word if is_word(word) => Some((before, Tail::Word(word))),
        _ => split_tag(path).map(|(name, tag)| (name, Tail::Tag(tag))),
    }
}

/// The name and the tag of `<name>/tags/<tag>`.
fn split_tag(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, tag) = split_last(path)?;
    Some((before.strip_suffix(b"/tags")?, tag))
}

fn is_word(segment: &[u8]) -> bool {
    matches!(segment, b"images" | b"tags" | b"json" | b"properties" | b"auth")
}

fn check_tag(tag: &[u8]) -> Result<(), Denial> {
    if reference::is_tag(tag) && !is_word(tag) {
        Ok(())
    } else {
        Err(Denial::name_invalid())
    }
}
