//! Repeated log lines: of the same line of the same client, ten a second are written; the others are counted.
//!
//! Called by the nginx module for its refusals, with its clock. Guarantees: the memory for this is bounded,
//! and every line that is not written is counted in a summary when its second is over.

use crate::Network;
use std::collections::HashMap;

/// Lines of one client that are written in a second, of those that are the same.
pub const WRITTEN: u32 = 10;
/// Milliseconds after which a summary is due.
pub const SECOND: u64 = 1_000;
/// Different lines that are remembered; where they are more, those that are not remembered are written.
const LINES: usize = 1_024;

/// What was written lately, each line with its level, `L`.
pub struct Repeats<L>(HashMap<(Network, Box<str>), Line<L>>);

struct Line<L> {
    level: L,
    ends: u64,
    count: u32,
}

/// How often a line was not written.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary<L> {
    /// Whose.
    pub client: Network,
    /// The line.
    pub line: Box<str>,
    /// Its level, when it was first written.
    pub level: L,
    /// How often.
    pub times: u32,
}

impl<L> Default for Repeats<L> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<L> Repeats<L> {
    /// Whether a line is to be written at this time (in milliseconds).
    pub fn may_write(&mut self, now: u64, client: Network, line: &str, level: L) -> bool {
        let key = (client, Box::from(line));
        if let Some(line) = self.0.get_mut(&key) {
            line.count = line.count.saturating_add(1);
            return line.count <= WRITTEN;
        }
        if self.0.len() < LINES {
            let ends = now.saturating_add(SECOND);
            self.0.insert(
                key,
                Line {
                    level,
                    ends,
                    count: 1,
                },
            );
        }
        true
    }

    /// Forgets the lines whose second is over; what is to be said of them.
    pub fn ended(&mut self, now: u64) -> Vec<Summary<L>> {
        let over = self.0.extract_if(|_, line| line.ends <= now);
        over.filter(|(_, line)| line.count > WRITTEN)
            .map(|((client, line), Line { level, count, .. })| Summary {
                client,
                line,
                level,
                times: count - WRITTEN,
            })
            .collect()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES, Repeats, Summary};
    use crate::Network;

    const ONE: Network = Network::V4([192, 0, 2, 1]);
    const OTHER: Network = Network::V4([192, 0, 2, 2]);

    fn written(repeats: &mut Repeats<()>, now: u64, client: Network, line: &str, times: u32) -> u32 {
        (0..times)
            .filter(|_| repeats.may_write(now, client, line, ()))
            .count() as u32
    }

    #[test]
    fn ten_a_second_of_a_line_and_a_client_then_how_many_more() {
        let mut repeats = Repeats::default();
        assert_eq!(written(&mut repeats, 0, ONE, "refused", 10), 10);
        assert_eq!(written(&mut repeats, 999, ONE, "refused", 190), 0);
        assert_eq!(written(&mut repeats, 0, ONE, "another", 7), 7);
        assert_eq!(written(&mut repeats, 0, OTHER, "refused", 11), 10);
        assert_eq!(repeats.ended(999), []);
        let mut summaries = repeats.ended(1_000);
        summaries.sort_by_key(|summary| summary.times);
        let summary = |client, times| Summary {
            client,
            line: "refused".into(),
            level: (),
            times,
        };
        assert_eq!(summaries, [summary(OTHER, 1), summary(ONE, 190)]);
        assert!(repeats.is_empty());
        assert_eq!(written(&mut repeats, 1_000, ONE, "refused", 11), 10);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_rest_is_written() {
        let mut repeats = Repeats::default();
        for line in 0..3 * LINES {
            assert!(repeats.may_write(0, ONE, &line.to_string(), ()));
            assert!(repeats.0.len() <= LINES);
        }
        assert_eq!(written(&mut repeats, 0, OTHER, "refused", 20), 20);
        assert_eq!(written(&mut repeats, 0, ONE, "0", 20), 9);
    }
}
