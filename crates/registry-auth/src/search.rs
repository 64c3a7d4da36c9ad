//! V1's search, `GET /v1/search`: the part of the registry's results that the client may see.
//!
//! Called by the nginx module, which sends the client's query to the registry once. Guarantee: no name is
//! shown that `may_know` did not allow. Source: docker-registry's docker_registry/search.py.

use crate::listing::{Listing, Malformed, Reading, Shape};
use crate::name::RepositoryName;
use serde::Serialize;

/// The largest number of results.
pub const RESULTS: usize = 1_000;

/// One result that the client may know.
#[derive(Debug, Serialize)]
struct Found {
    name: String,
    description: Option<String>,
}

/// The answer, as docker-registry makes it.
#[derive(Serialize)]
struct SearchAnswer<'a> {
    num_results: usize,
    query: &'a str,
    results: &'a [Found],
}

/// The results for a client, while they are being made.
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
    /// Takes a piece of the registry's answer, to be read later.
    ///
    /// # Errors
    /// [`Malformed`] where it gets too long.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        self.listing.feed(piece)
    }

    /// The registry's answer is complete.
    pub fn complete(&mut self) {
        self.listing.complete();
    }

    /// Reads what has arrived, as long as `go_on` gives true. A name that no repository may have is left out.
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
        let answer = SearchAnswer {
            num_results: self.found.len(),
            query: self.listing.query().unwrap_or_default(),
            results: &self.found,
        };
        // Of texts and a number nothing fails.
        serde_json::to_vec(&answer).unwrap_or_default()
    }
}
