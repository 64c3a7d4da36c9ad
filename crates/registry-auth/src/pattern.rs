//! Anchored patterns of repository names: `*` is any run within one segment, `**` any run across segments.
//!
//! Parsed where a record is made, matched on each request (hence on the bytes in place). Invariant: matching takes at
//! most pattern × name steps and no allocation; a pattern that can match no legal name does not parse.

use crate::name::{RepositoryName, Shape, MAX_REPOSITORY_NAME};
use std::fmt;

/// Longest pattern in bytes.
pub const MAX_PATTERN: usize = 255;

/// The text is no pattern, or one that matches no legal name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPattern;

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pattern matches no repository name")
    }
}

impl std::error::Error for InvalidPattern {}

/// A pattern such as `team/*` or `**/base`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// Parses a pattern; more than two stars in a row are refused as ambiguous.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > MAX_PATTERN || text.contains("***") || !is_satisfiable(text.as_bytes()) {
            return Err(InvalidPattern);
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &RepositoryName<'_>) -> bool {
        let (head, tail) = self.parts();
        matches(head, tail, name.as_bytes())
    }

    /// What stands before the first star, and the rest.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        let star = self.0.find('*').unwrap_or(self.0.len());
        self.0.as_bytes().split_at_checked(star).unwrap_or_default()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the whole name matches a pattern: `head` is what it has before its first star, `tail` the rest.
fn matches(head: &[u8], tail: &[u8], name: &[u8]) -> bool {
    name.strip_prefix(head)
        .is_some_and(|rest| matches_tail(tail, rest))
}

/// Whether what a name has after the pattern's head matches the pattern's tail, which begins with a star if it is not empty.
pub(crate) fn matches_tail(tail: &[u8], rest: &[u8]) -> bool {
    match tail {
        b"" => rest.is_empty(),
        b"**" => true,
        b"*" => memchr::memchr(b'/', rest).is_none(),
        tail => matches_any(tail, rest),
    }
}

/// The general case: all positions of the pattern that a prefix of the name can have reached, byte by byte.
fn matches_any(pattern: &[u8], name: &[u8]) -> bool {
    let mut positions = Positions::default();
    positions.reach(0, pattern);
    for &byte in name {
        let mut next = Positions::default();
        positions.each(|at| match token(pattern, at) {
            Token::Any => next.reach(at, pattern),
            Token::Within if byte != b'/' => next.reach(at, pattern),
            Token::Byte(literal) if literal == byte => next.reach(at + 1, pattern),
            Token::Within | Token::Byte(_) | Token::End => {}
        });
        positions = next;
    }
    positions.holds(pattern.len())
}

/// One element of a pattern.
#[derive(Clone, Copy)]
enum Token {
    Byte(u8),
    Within,
    Any,
    End,
}

fn token(pattern: &[u8], at: usize) -> Token {
    match (pattern.get(at), pattern.get(at + 1)) {
        (None, _) => Token::End,
        (Some(b'*'), Some(b'*')) => Token::Any,
        (Some(b'*'), _) => Token::Within,
        (Some(byte), _) => Token::Byte(*byte),
    }
}

/// A set of positions in a pattern of at most 255 bytes: 0 to 255.
#[derive(Clone, Copy, Default)]
struct Positions([u64; 4]);

impl Positions {
    /// Adds a position, and those behind stars at it, as a star may stand for nothing.
    fn reach(&mut self, mut at: usize, pattern: &[u8]) {
        loop {
            if let Some(word) = self.0.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
            at += match token(pattern, at) {
                Token::Any => 2,
                Token::Within => 1,
                Token::Byte(_) | Token::End => return,
            };
        }
    }

    fn holds(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn each(&self, mut visit: impl FnMut(usize)) {
        for (index, &word) in self.0.iter().enumerate() {
            let mut word = word;
            while word != 0 {
                visit(index * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
    }
}

/// Whether some legal name matches: walks pattern and grammar of names together, one byte a step. One byte of each
/// class is enough to try for a star, as the grammar does not tell bytes of a class apart.
fn is_satisfiable(pattern: &[u8]) -> bool {
    const SHAPES: [Shape; 5] = [
        Shape::Start,
        Shape::Alnum,
        Shape::Separator,
        Shape::Underscore,
        Shape::Dash,
    ];
    let mut layer = [(); 5].map(|()| Positions::default());
    if let Some(start) = layer.first_mut() {
        start.reach(0, pattern);
    }
    for _ in 0..MAX_REPOSITORY_NAME {
        let mut next = [(); 5].map(|()| Positions::default());
        for (shape, positions) in SHAPES.into_iter().zip(&layer) {
            positions.each(|at| {
                let (bytes, target): (&[u8], usize) = match token(pattern, at) {
                    Token::Any => (b"a.-_/", at),
                    Token::Within => (b"a.-_", at),
                    Token::Byte(_) => (pattern.get(at..=at).unwrap_or_default(), at + 1),
                    Token::End => (b"", at),
                };
                for after in bytes.iter().filter_map(|byte| shape.step(*byte)) {
                    for (_, slot) in SHAPES.iter().zip(&mut next).filter(|(to, _)| **to == after) {
                        slot.reach(target, pattern);
                    }
                }
            });
        }
        layer = next;
        if layer.get(1).is_some_and(|ended| ended.holds(pattern.len())) {
            return true;
        }
    }
    false
}
