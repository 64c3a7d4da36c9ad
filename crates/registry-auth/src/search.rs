//! V1's search, `GET /v1/search`: what is left of a registry's results.
//!
//! Used by the nginx module, which asks the registry once, with the client's query. Source: docker-registry's docker_registry/search.py.

use crate::listing::{Listing, Malformed, Reading, Shape};
use crate::name::RepositoryName;
use serde::Serialize;

/// Results at most.
pub const RESULTS: usize = 1_000;

/// One result that the client may know.
#[derive(Debug, Serialize)]
struct Found {
    name: String,
    description: Option<String>,
}

/// The answer, as docker-registry makes it.
#[derive(Serialize)]
struct Answer<'a> {
    num_results: usize,
    query: &'a str,
    results: &'a [Found],
}

/// A client's results in the making.
pub struct Search {
    listing: Listing,
    found: Vec<Found>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            listing: Listing::new(Shape::Results),
            found: Vec::new(),
        }
    }
}

impl Search {
    /// Takes a piece of the registry's answer.
    ///
    /// # Errors
    /// [`Malformed`] where it gets too long.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        self.listing.feed(piece)
    }

    /// The registry's answer has come to its end.
    pub fn complete(&mut self) {
        self.listing.complete();
    }

    /// Reads what has come, as long as `go_on` says so. Names that no repository may have are left out: nobody could be asked about
    /// them.
    ///
    /// # Errors
    /// [`Malformed`] where it is no list of results.
    pub fn read(
        &mut self,
        mut may_know: impl FnMut(&RepositoryName<'_>) -> bool,
        go_on: impl FnMut() -> bool,
    ) -> Result<Reading, Malformed> {
        let found = &mut self.found;
        self.listing.read(
            |entry| {
                let name = RepositoryName::from_v1(entry.name.as_bytes());
                if found.len() < RESULTS && name.is_ok_and(|name| may_know(&name)) {
                    found.push(Found {
                        name: entry.name.to_owned(),
                        description: entry.description.map(str::to_owned),
                    });
                }
            },
            go_on,
        )
    }

    /// The client's answer.
    pub fn to_json(&self) -> Vec<u8> {
        let answer = Answer {
            num_results: self.found.len(),
            query: self.listing.query().unwrap_or_default(),
            results: &self.found,
        };
        // Of texts and a number nothing fails.
        serde_json::to_vec(&answer).unwrap_or_default()
    }
}
