//! The catalogue, `GET /v2/_catalog`: which page a client wants, what the registry is asked for it, and what is left of its answers.
//!
//! Used by the nginx module. The registry is asked page after page, until the client's page is full of names that the client may
//! know, or there are no more, or the registry has been asked often enough. Invariants: no name gets out that was not asked about,
//! neither in the body nor, but for a sealed one, in a link; every page goes further than the one before. Source: distribution's registry/handlers/catalog.go and its
//! specification, "Listing Repositories" and "Pagination".

use crate::cursor::is_sealed;
use crate::denial::{Denial, Reason};
use crate::listing::{Listing, Malformed, Reading, Shape};
use crate::name::RepositoryName;
use percent_encoding::{percent_decode, utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use std::fmt::Write as _;

/// Names in a page at most, the client's and the registry's.
pub const PAGE: usize = 1_000;
/// Requests to the registry, at most, for one of a client's: it is told where to go on.
pub const REQUESTS: usize = 50;
/// Bytes of `last` at most.
const CURSOR: usize = 1_024;
/// The same, sealed.
const SEALED: usize = 2 * CURSOR;

/// What stays as it is in a query's value: what a repository's name is made of.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_');

/// A client's page in the making.
pub struct Catalog {
    /// Names wanted, [`PAGE`] at most.
    wanted: usize,
    /// What the client may know, in the registry's order; one more than wanted where there are more.
    names: Vec<String>,
    /// Where the registry's next page begins, if it is not the first.
    cursor: Option<String>,
    /// The registry's page that is being read.
    page: Listing,
    /// The last name of it so far.
    last: Option<String>,
    requests: usize,
    /// Whether the client has to ask again for what comes after the cursor.
    is_unfinished: bool,
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
    /// Reads the client's query (without its `?`): `n` and `last`; others are of no meaning. `open` reads a `last` that was sealed.
    ///
    /// # Errors
    /// A [`Denial`] (400) where one of them is there twice, or is no text.
    pub fn new(args: &[u8], open: impl FnOnce(&str) -> Option<String>) -> Result<Self, Denial> {
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
            if value.len() > SEALED || slot.replace(value).is_some() {
                return Err(invalid());
            }
        }
        let wanted = match wanted {
            None => PAGE,
            // As distribution reads it: what is no number, or below 0, is as if it were not there.
            Some(n) => n.parse().map_or(PAGE, |n: usize| PAGE.min(n)),
        };
        let cursor = match cursor {
            Some(sealed) if is_sealed(&sealed) => Some(open(&sealed).ok_or_else(invalid)?),
            Some(long) if long.len() > CURSOR => return Err(invalid()),
            cursor => cursor.filter(|last| !last.is_empty()),
        };
        Ok(Self {
            wanted,
            names: Vec::new(),
            cursor,
            page: Listing::new(Shape::Names),
            last: None,
            requests: 0,
            is_unfinished: false,
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

    /// Takes a piece of the registry's page, to be read later.
    ///
    /// # Errors
    /// [`Malformed`] where it gets too long.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        self.page.feed(piece)
    }

    /// The registry's page has come to its end.
    pub fn complete(&mut self) {
        self.page.complete();
    }

    /// Reads what has come of the registry's page, as long as `go_on` says so. Names that no repository may have are left out: nobody
    /// could be asked about them.
    ///
    /// # Errors
    /// [`Malformed`] where it is no page of a catalogue.
    pub fn read(
        &mut self,
        mut may_know: impl FnMut(&RepositoryName<'_>) -> bool,
        go_on: impl FnMut() -> bool,
    ) -> Result<Reading, Malformed> {
        let (names, last, wanted) = (&mut self.names, &mut self.last, self.wanted);
        self.page.read(
            |entry| {
                let last = last.get_or_insert_default();
                last.clear();
                last.push_str(entry.name);
                let name = RepositoryName::parse(entry.name.as_bytes());
                if names.len() <= wanted && name.is_ok_and(|name| may_know(&name)) {
                    names.push(entry.name.to_owned());
                }
            },
            go_on,
        )
    }

    /// The registry's page is read to its end; `more` if it linked to another one.
    ///
    /// # Errors
    /// [`Malformed`] where it does not go further than the one before.
    pub fn end(&mut self, more: bool) -> Result<Progress, Malformed> {
        self.requests += 1;
        self.page = Listing::new(Shape::Names);
        let last = self.last.take();
        if self.names.len() > self.wanted {
            return Ok(Progress::Done);
        }
        let Some(last) = last.filter(|_| more) else {
            return Ok(Progress::Done);
        };
        if last.len() > CURSOR || self.cursor.as_ref() == Some(&last) {
            return Err(Malformed("a page does not go further than the one before"));
        }
        self.cursor = Some(last);
        self.is_unfinished = self.requests >= REQUESTS;
        Ok(match self.is_unfinished {
            true => Progress::Done,
            false => Progress::Ask,
        })
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

    /// The value of `Link`, where there is more that the client may know, or there may be. It goes on after a name that was shown; where
    /// it cannot, after one that `seal` keeps from the client.
    pub fn link(&self, seal: impl FnOnce(&str) -> Option<String>) -> Option<String> {
        if self.wanted == 0 {
            // Who asks for none gets no further by asking again.
            return None;
        }
        let last = match self.names.get(self.wanted) {
            Some(_) => self.names.get(self.wanted.checked_sub(1)?)?.clone(),
            None => {
                let cursor = self.cursor.as_ref().filter(|_| self.is_unfinished)?;
                match self.names.last() == Some(cursor) {
                    true => cursor.clone(),
                    false => seal(cursor)?,
                }
            }
        };
        let last = utf8_percent_encode(&last, KEPT);
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
