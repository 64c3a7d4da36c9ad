//! The catalogue, `GET /v2/_catalog`: which page a client wants, what the registry is asked for it, and what is left of its answers.
//!
//! Used by the nginx module. The registry is asked page after page, until the client's page is full of names that the client may
//! know, or there are no more. Invariants: no name gets out that was not asked about, neither in the body nor in a link; every page
//! goes further than the one before, so that it comes to an end. Source: distribution's registry/handlers/catalog.go and its
//! specification, "Listing Repositories" and "Pagination".

use crate::denial::{Denial, Reason};
use crate::name::RepositoryName;
use percent_encoding::{percent_decode, utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use serde::Deserialize;
use std::fmt::Write as _;

/// Names in a page at most, the client's and the registry's.
pub const PAGE: usize = 1_000;
/// Bytes of a registry's page at most: it may know no pages, and name all it has at once.
pub const PAGE_BYTES: usize = 16 << 20;
/// Pages asked for to fill one of a client's.
const PAGES: usize = 1_000;
/// Bytes of `last` at most.
const CURSOR: usize = 1_024;

/// What stays as it is in a query's value: what a repository's name is made of.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_');

/// A registry's answer is no page of a catalogue, or there is no end to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl Malformed {
    /// What is wrong with it.
    pub fn why(&self) -> &'static str {
        self.0
    }
}

/// What a registry answers.
#[derive(Deserialize)]
struct Page {
    /// `null` where Go had no list to show.
    repositories: Option<Vec<String>>,
}

/// A client's page in the making.
#[derive(Debug)]
pub struct Catalog {
    /// Names wanted, 1 to [`PAGE`].
    wanted: usize,
    /// What the client may know, in the registry's order; one more than wanted where there are more.
    names: Vec<String>,
    /// Where the registry's next page begins, if it is not the first.
    cursor: Option<String>,
    /// Of the registry's page that is being read.
    body: Vec<u8>,
    pages: usize,
}

/// What is to be done after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The registry is to be asked for the next one.
    Ask,
    /// The client's page is made.
    Done,
}

impl Catalog {
    /// Reads the client's query (without its `?`): `n` and `last`; others are of no meaning.
    ///
    /// # Errors
    /// A [`Denial`] (400) where `n` is no number above 0, or one of them is there twice, or is no text.
    pub fn new(args: &[u8]) -> Result<Self, Denial> {
        let invalid = || Denial::new(Reason::PaginationNumber, "n or last of the catalog is not valid");
        let (mut wanted, mut cursor) = (None, None);
        for parameter in args.split(|byte| *byte == b'&') {
            let mut parts = parameter.splitn(2, |byte| *byte == b'=');
            let slot = match parts.next() {
                Some(b"n") => &mut wanted,
                Some(b"last") => &mut cursor,
                _ => continue,
            };
            let value = percent_decode(parts.next().unwrap_or_default());
            let value = value.decode_utf8().map_err(|_| invalid())?.into_owned();
            if value.len() > CURSOR || slot.replace(value).is_some() {
                return Err(invalid());
            }
        }
        let wanted = match wanted {
            None => PAGE,
            // Not `+5`, which `parse` would read.
            Some(n) if n.bytes().all(|byte| byte.is_ascii_digit()) => match n.parse() {
                Ok(0) => return Err(invalid()),
                Ok(n) => PAGE.min(n),
                // Digits, but too many of them.
                Err(_) if !n.is_empty() => PAGE,
                Err(_) => return Err(invalid()),
            },
            Some(_) => return Err(invalid()),
        };
        Ok(Self {
            wanted,
            names: Vec::new(),
            cursor: cursor.filter(|last| !last.is_empty()),
            body: Vec::new(),
            pages: 0,
        })
    }

    /// The query of the registry's next page, without its `?`.
    pub fn args(&self) -> String {
        let mut args = format!("n={PAGE}");
        if let Some(last) = &self.cursor {
            // Writing to a string does not fail.
            let _ = write!(args, "&last={}", utf8_percent_encode(last, KEPT));
        }
        args
    }

    /// Takes a piece of the registry's page.
    ///
    /// # Errors
    /// [`Malformed`] where it gets too long.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        if self.body.len() + piece.len() > PAGE_BYTES {
            return Err(Malformed("a page is too long"));
        }
        self.body.extend_from_slice(piece);
        Ok(())
    }

    /// The registry's page is complete, `more` if it linked to another one. Names that no repository may have are left out: nobody
    /// could be asked about them.
    ///
    /// # Errors
    /// [`Malformed`] where it is no page of a catalogue, or does not go further than the one before.
    pub fn end(
        &mut self,
        more: bool,
        mut may_know: impl FnMut(&RepositoryName<'_>) -> bool,
    ) -> Result<Progress, Malformed> {
        let body = std::mem::take(&mut self.body);
        let page: Page =
            serde_json::from_slice(&body).map_err(|_| Malformed("it is no list of repositories in JSON"))?;
        let page = page.repositories.unwrap_or_default();
        let last = page.last().cloned();
        for name in page {
            if RepositoryName::parse(name.as_bytes()).is_ok_and(|name| may_know(&name)) {
                self.names.push(name);
            }
            if self.names.len() > self.wanted {
                return Ok(Progress::Done);
            }
        }
        let Some(last) = last.filter(|_| more) else {
            return Ok(Progress::Done);
        };
        self.pages += 1;
        if self.pages >= PAGES {
            return Err(Malformed("there is no end to it"));
        }
        if last.len() > CURSOR || self.cursor.as_ref() == Some(&last) {
            return Err(Malformed("a page does not go further than the one before"));
        }
        self.cursor = Some(last);
        Ok(Progress::Ask)
    }

    /// The client's page.
    pub fn to_json(&self) -> Vec<u8> {
        let shown = self.names.get(..self.wanted).unwrap_or(&self.names);
        let mut json = serde_json::json!({ "repositories": shown })
            .to_string()
            .into_bytes();
        json.push(b'\n');
        json
    }

    /// The value of `Link`, where there is more that the client may know.
    pub fn link(&self) -> Option<String> {
        let last = self
            .names
            .get(self.wanted)
            .and(self.names.get(self.wanted.checked_sub(1)?))?;
        let last = utf8_percent_encode(last, KEPT);
        Some(format!(
            "</v2/_catalog?last={last}&n={}>; rel=\"next\"",
            self.wanted
        ))
    }
}

/// Whether a `Link` header of a registry says that there is another page.
pub fn has_next(link: &[u8]) -> bool {
    let text = String::from_utf8_lossy(link).to_ascii_lowercase();
    let parameters = text.split(';').skip(1);
    parameters
        .filter_map(|parameter| parameter.trim().strip_prefix("rel="))
        .any(|rel| {
            rel.trim_matches('"')
                .split_ascii_whitespace()
                .any(|rel| rel == "next")
        })
}
