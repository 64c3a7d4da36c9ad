//! The catalogue, `GET /v2/_catalog`: which page the client wants, what to ask the registry for, and which of
//! its names to show.
//!
//! Called by the nginx module, which asks the registry for page after page until the client's page is full of
//! names that the client may know, or there are no more, or the registry was asked [`REQUESTS`] times.
//! Guarantees: no name is shown that `may_know` did not allow, neither in the body nor, unless it is sealed,
//! in a link; and every page of the registry goes further than the one before. Source: distribution's
//! registry/handlers/catalog.go and its specification, "Listing Repositories" and "Pagination".

use crate::cursor::is_sealed;
use crate::denial::{Denial, Reason};
use crate::listing::{Listing, Malformed, Reading, Shape};
use crate::name::RepositoryName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Names in a page at most, the client's and the registry's.
pub const PAGE: usize = 1_000;
/// Requests to registries, at most, for one of a client's: the answer says where to go on. No more of them
/// are merged.
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

/// The page for a client, while it is being made.
pub struct Catalog {
    /// Names wanted, [`PAGE`] at most.
    wanted: usize,
    /// What the client may know, in the registry's order, or of several in that of [`by_path`]; one more than
    /// wanted where there are more.
    names: Vec<String>,
    /// After which name the client's page begins, if it is not the first.
    start: Option<String>,
    /// The registries, one at least.
    registries: Vec<Registry>,
    /// Which of them is asked.
    at: usize,
    /// The registry's page that is being read.
    page: Listing,
    /// The last name of it so far.
    last: Option<String>,
    requests: usize,
    /// Where the client has to go on asking, if the registries were asked too often.
    unfinished: Option<String>,
    /// Whether a list was not in the order in which lists are merged.
    is_disordered: bool,
}

/// One registry.
#[derive(Default)]
struct Registry {
    /// What it is called; several may have one name, as the addresses of a host.
    name: Box<[u8]>,
    /// Where its next page begins, if it is not the first.
    cursor: Option<String>,
    is_asked: bool,
    /// Whether there is no more to be asked of it.
    is_done: bool,
    is_left_out: bool,
}

/// The order of distribution's lists, that of a walk through folders: what lies in `a` comes before `a-b`.
pub fn by_path(one: &str, other: &str) -> Ordering {
    fn ranks(name: &str) -> impl Iterator<Item = u8> + '_ {
        name.bytes().map(|byte| if byte == b'/' { 0 } else { byte })
    }
    ranks(one).cmp(ranks(other))
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
    /// Reads the client's query (without its `?`): `n` and `last`; others are of no meaning. `open` reads a
    /// `last` that was sealed.
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
            start: cursor.clone(),
            registries: vec![Registry {
                cursor,
                ..Registry::default()
            }],
            at: 0,
            page: Listing::new(Shape::Names),
            last: None,
            requests: 0,
            unfinished: None,
            is_disordered: false,
        })
    }

    /// Says which registries there are, by name. To be called before each page, and each time with the same
    /// names. `is_down` is asked once of each whether it is known to be down. Answers which of them that page
    /// is of.
    ///
    /// # Errors
    /// [`Malformed`] where there are too many, or others than before.
    pub fn among<'n>(
        &mut self,
        names: impl ExactSizeIterator<Item = &'n [u8]>,
        mut is_down: impl FnMut(usize) -> bool,
    ) -> Result<usize, Malformed> {
        if names.len() > REQUESTS {
            return Err(Malformed(
                "it is to be merged of more than 50 addresses of backends",
            ));
        }
        if self.requests > 0 || self.is_merged() || names.len() == 1 {
            let are_same = match self.registries.len() {
                1 => names.len() == 1,
                _ => names.eq(self.registries.iter().map(|registry| &*registry.name)),
            };
            return match are_same {
                true => Ok(self.at),
                false => Err(Malformed("the backends have changed meanwhile")),
            };
        }
        let registry = |(at, name): (usize, &[u8])| {
            let is_down = is_down(at);
            Registry {
                name: name.into(),
                cursor: self.start.clone(),
                is_asked: false,
                is_done: is_down,
                is_left_out: is_down,
            }
        };
        self.registries = names.enumerate().map(registry).collect();
        let first = self.registries.iter().position(|registry| !registry.is_done);
        if first.is_none() {
            // Rather than nothing.
            for registry in &mut self.registries {
                (registry.is_done, registry.is_left_out) = (false, false);
            }
        }
        self.at = first.unwrap_or_default();
        Ok(self.at)
    }

    /// Whether the lists of several registries are merged.
    pub fn is_merged(&self) -> bool {
        self.registries.len() > 1
    }

    /// Whether a list was not in the order in which lists are merged, so that at the end of a page names may
    /// get lost.
    pub fn is_disordered(&self) -> bool {
        self.is_disordered
    }

    /// Whether a registry was left out, and none of the same name was asked.
    pub fn is_incomplete(&self) -> bool {
        self.registries.iter().any(|out| {
            let is_it =
                |registry: &Registry| registry.name == out.name && registry.is_asked && !registry.is_left_out;
            out.is_left_out && !self.registries.iter().any(is_it)
        })
    }

    /// The query of the registry's next page, without its `?`.
    pub fn args(&self) -> String {
        let mut args = format!("n={PAGE}");
        let registry = self.registries.get(self.at);
        if let Some(last) = registry.and_then(|registry| registry.cursor.as_ref()) {
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

    /// The registry's page is complete.
    pub fn complete(&mut self) {
        self.page.complete();
    }

    /// Reads what has arrived of the registry's page, as long as `go_on` gives true. A name that no
    /// repository may have is left out.
    ///
    /// # Errors
    /// [`Malformed`] where it is no page of a catalogue.
    pub fn read(
        &mut self,
        mut may_know: impl FnMut(&RepositoryName<'_>) -> bool,
        go_on: impl FnMut() -> bool,
    ) -> Result<Reading, Malformed> {
        let is_merged = self.is_merged();
        let (names, start, wanted) = (&mut self.names, self.start.as_deref(), self.wanted);
        let (last, is_disordered) = (&mut self.last, &mut self.is_disordered);
        self.page.read(
            |entry| {
                if is_merged
                    && last
                        .as_deref()
                        .is_some_and(|last| by_path(last, entry.name).is_gt())
                {
                    *is_disordered = true;
                }
                let last = last.get_or_insert_default();
                last.clear();
                last.push_str(entry.name);
                let Ok(name) = RepositoryName::parse(entry.name.as_bytes()) else {
                    return;
                };
                let place = match is_merged {
                    false => Some(names.len()),
                    // Before the client's page, or there already.
                    true if start.is_some_and(|start| by_path(entry.name, start).is_le()) => None,
                    true => names.binary_search_by(|known| by_path(known, entry.name)).err(),
                };
                if let Some(at) = place.filter(|at| *at <= wanted && may_know(&name)) {
                    names.insert(at, entry.name.to_owned());
                    names.truncate(wanted.saturating_add(1));
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
        if !self.is_merged() && self.names.len() > self.wanted {
            return Ok(Progress::Done);
        }
        let Some(registry) = self.registries.get_mut(self.at) else {
            return Ok(Progress::Done);
        };
        registry.is_asked = true;
        match last.filter(|_| more) {
            None => registry.is_done = true,
            Some(last) if last.len() > CURSOR || registry.cursor.as_ref() == Some(&last) => {
                return Err(Malformed("a page does not go further than the one before"));
            }
            last => registry.cursor = last,
        }
        self.next()
    }

    /// Goes on without the registry that was asked, which did not list. Only if the lists of several are
    /// merged.
    ///
    /// # Errors
    /// As of [`Catalog::end`].
    pub fn leave_out(&mut self) -> Result<Progress, Malformed> {
        self.requests += 1;
        self.page = Listing::new(Shape::Names);
        self.last = None;
        if let Some(registry) = self.registries.get_mut(self.at) {
            (registry.is_done, registry.is_left_out) = (true, true);
        }
        self.next()
    }

    /// Chooses the registry that is behind the others, unless the client's page is made.
    fn next(&mut self) -> Result<Progress, Malformed> {
        fn place(registry: &Registry) -> Option<&str> {
            registry.cursor.as_deref().filter(|_| registry.is_asked)
        }
        let behind =
            |one: &(usize, &Registry), other: &(usize, &Registry)| match (place(one.1), place(other.1)) {
                (Some(one), Some(other)) => by_path(one, other),
                (one, other) => one.is_some().cmp(&other.is_some()),
            };
        let registries = self.registries.iter().enumerate();
        let Some((at, registry)) = registries
            .filter(|(_, registry)| !registry.is_done)
            .min_by(behind)
        else {
            return Ok(Progress::Done);
        };
        self.at = at;
        // Of a registry that was not asked, anything may come; and there are no more of them than requests.
        let Some(place) = place(registry) else {
            return Ok(Progress::Ask);
        };
        // All have listed what comes before that.
        let is_made = self.names.get(self.wanted);
        if is_made.is_some_and(|beyond| by_path(beyond, place).is_le()) {
            return Ok(Progress::Done);
        }
        if self.requests < REQUESTS {
            return Ok(Progress::Ask);
        }
        if self.is_merged() {
            if self
                .start
                .as_deref()
                .is_some_and(|start| by_path(place, start).is_le())
            {
                return Err(Malformed("a page does not go further than the one before"));
            }
            self.names.retain(|name| by_path(name, place).is_le());
        }
        self.unfinished = Some(place.to_owned());
        Ok(Progress::Done)
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

    /// The value of `Link`, where there is more that the client may know, or there may be. It goes on after a
    /// name that was shown; where it cannot, after one that `seal` keeps from the client.
    pub fn link(&self, seal: impl FnOnce(&str) -> Option<String>) -> Option<String> {
        if self.wanted == 0 {
            // A client that asks for no names gets no further by asking again.
            return None;
        }
        let last = match self.names.get(self.wanted) {
            Some(_) => self.names.get(self.wanted.checked_sub(1)?)?.clone(),
            None => {
                let cursor = self.unfinished.as_ref()?;
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
