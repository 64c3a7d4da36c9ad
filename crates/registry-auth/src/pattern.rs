//! Anchored patterns of repository names: `*` is any run within one segment, `**` any run across segments. A
//! segment that is `**` may also be no segment at all: `a/**/z` matches `a/z`, and `**/z` matches `z`, as in
//! gitignore(5).
//!
//! Parsed where a record is made, matched on each request (hence on the bytes in place). Invariant: matching
//! takes at most pattern × name steps and no allocation; a pattern that can match no legal name does not
//! parse.

use crate::name::{MAX_REPOSITORY_NAME, RepositoryName, Shape};
use std::collections::HashSet;
use std::fmt;

/// Longest pattern in bytes.
pub const MAX_PATTERN: usize = 255;

/// The text is no pattern, or one that matches no legal name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern matches no repository name")]
pub struct InvalidPattern;

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

    /// Whether some text matches both patterns. If none does, they have no repository in common. For people
    /// who set patterns against each other: no request is decided by it.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (Tail::whole(self.0.as_bytes()), Tail::whole(other.0.as_bytes()));
        let start = |pattern| {
            let mut positions = Positions::default();
            positions.reach(0, pattern);
            positions
        };
        let mut seen = HashSet::new();
        let mut pending = Vec::new();
        let pairs = |ours: Positions, theirs: Positions, pending: &mut Vec<(usize, usize)>| {
            ours.each(|at| theirs.each(|their_at| pending.push((at, their_at))));
        };
        pairs(start(one), start(two), &mut pending);
        while let Some((at, their_at)) = pending.pop() {
            if !seen.insert((at, their_at)) {
                continue;
            }
            // One byte that both take here, if there is one.
            match (token(one.bytes, at), token(two.bytes, their_at)) {
                (Token::End, Token::End) => return true,
                (Token::End, _) | (_, Token::End) => continue,
                (Token::Byte(byte), Token::Byte(their_byte)) if byte != their_byte => continue,
                (Token::Byte(b'/'), Token::Within) | (Token::Within, Token::Byte(b'/')) => continue,
                _ => pairs(one.behind(at), two.behind(their_at), &mut pending),
            }
        }
        false
    }

    /// What stands before the first star, and the rest.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        let star = self.0.find('*').unwrap_or(self.0.len());
        self.0.as_bytes().split_at_checked(star).unwrap_or_default()
    }
}

/// The first segment of a pattern, or of a name, where it looks like the address of a registry:
/// `registry.example.com/team/app`.
pub fn address_of(name: &str) -> Option<&str> {
    let (first, _) = name.split_once('/')?;
    let is_address = first == "localhost" || first.contains('.') && !first.contains('*');
    is_address.then_some(first)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the whole name matches a pattern: `head` is what it has before its first star, `tail` the rest.
fn matches(head: &[u8], tail: &[u8], name: &[u8]) -> bool {
    name.strip_prefix(head)
        .is_some_and(|rest| matches_tail(head, tail, rest))
}

/// Whether what a name has after the pattern's head matches the pattern's tail, which begins with a star if
/// it is not empty.
pub(crate) fn matches_tail(head: &[u8], tail: &[u8], rest: &[u8]) -> bool {
    match tail {
        b"" => rest.is_empty(),
        b"**" => true,
        b"*" => memchr::memchr(b'/', rest).is_none(),
        tail => {
            let tail = Tail::after(head, tail);
            has_pieces(tail, rest) && matches_any(tail, rest)
        }
    }
}

/// Whether what a name has after the pattern's head has all that stands between the stars of its tail, in
/// order, and ends as that does. Else it does not match, which of most patterns of many is so, and told much
/// faster than by [`matches_any`].
fn has_pieces(tail: Tail<'_>, name: &[u8]) -> bool {
    let (mut at, mut rest) = (0, name);
    loop {
        // An absent segment has no slash either.
        let slash = usize::from(tail.is_optional_segment(at));
        let stars = tail.after_stars(at);
        let piece = tail.bytes.get(stars + slash..).unwrap_or_default();
        match memchr::memchr(b'*', piece) {
            None => return rest.ends_with(piece),
            Some(end) => match behind(piece.get(..end).unwrap_or_default(), rest) {
                Some(behind) => (at, rest) = (stars + slash + end, behind),
                None => return false,
            },
        }
    }
}

/// What stands behind the first place of a piece in a name.
fn behind<'n>(piece: &[u8], mut name: &'n [u8]) -> Option<&'n [u8]> {
    let Some(first) = piece.first() else {
        return Some(name);
    };
    loop {
        name = name.get(memchr::memchr(*first, name)?..)?;
        match name.strip_prefix(piece) {
            Some(behind) => return Some(behind),
            None => name = name.get(1..)?,
        }
    }
}

/// The general case: all positions of the pattern that a prefix of the name can have reached, byte by byte.
fn matches_any(pattern: Tail<'_>, name: &[u8]) -> bool {
    let mut positions = Positions::default();
    positions.reach(0, pattern);
    for &byte in name {
        let mut next = Positions::default();
        positions.each(|at| match token(pattern.bytes, at) {
            // A star that has matched a byte is no absent segment any more.
            Token::Any => next.reach_within(at, pattern),
            Token::Within if byte != b'/' => next.reach(at, pattern),
            Token::Byte(literal) if literal == byte => next.reach(at + 1, pattern),
            Token::Within | Token::Byte(_) | Token::End => {}
        });
        positions = next;
    }
    positions.holds(pattern.bytes.len())
}

/// A pattern, or what it has from its first star on.
#[derive(Clone, Copy)]
struct Tail<'p> {
    bytes: &'p [u8],
    /// Whether its first byte is the first of a segment.
    begins_segment: bool,
}

impl<'p> Tail<'p> {
    fn whole(pattern: &'p [u8]) -> Self {
        Self::after(&[], pattern)
    }

    fn after(head: &[u8], bytes: &'p [u8]) -> Self {
        Self {
            bytes,
            begins_segment: matches!(head, [] | [.., b'/']),
        }
    }

    /// The position behind the stars at this one.
    fn after_stars(self, at: usize) -> usize {
        let stars = self.bytes.get(at..).unwrap_or_default();
        at + stars.iter().take_while(|byte| **byte == b'*').count()
    }

    /// The positions that are reached by a byte which the element at this one takes.
    fn behind(self, at: usize) -> Positions {
        let mut positions = Positions::default();
        match token(self.bytes, at) {
            Token::Any => positions.reach_within(at, self),
            Token::Within => positions.reach(at, self),
            Token::Byte(_) => positions.reach(at + 1, self),
            Token::End => {}
        }
        positions
    }

    /// Whether a segment begins at this position that is `**` and has another one behind it: it may be
    /// absent.
    fn is_optional_segment(self, at: usize) -> bool {
        let begins = match at.checked_sub(1) {
            None => self.begins_segment,
            Some(before) => self.bytes.get(before) == Some(&b'/'),
        };
        begins && self.bytes.get(at..).is_some_and(|rest| rest.starts_with(b"**/"))
    }
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
    /// Adds a position that is reached from the left, and those behind stars at it, since a star may match
    /// nothing.
    fn reach(&mut self, at: usize, pattern: Tail<'_>) {
        if pattern.is_optional_segment(at) {
            self.reach(at + 3, pattern);
        }
        self.reach_within(at, pattern);
    }

    /// As [`Positions::reach`], from within a star at the position.
    fn reach_within(&mut self, mut at: usize, pattern: Tail<'_>) {
        loop {
            if let Some(word) = self.0.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
            at += match token(pattern.bytes, at) {
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

/// Whether some legal name matches: walks pattern and grammar of names together, one byte a step. One byte of
/// each class is enough to try for a star, as the grammar does not tell bytes of a class apart.
fn is_satisfiable(pattern: &[u8]) -> bool {
    let pattern = Tail::whole(pattern);
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
                let (bytes, target): (&[u8], usize) = match token(pattern.bytes, at) {
                    Token::Any => (b"a.-_/", at),
                    Token::Within => (b"a.-_", at),
                    Token::Byte(_) => (pattern.bytes.get(at..=at).unwrap_or_default(), at + 1),
                    Token::End => (b"", at),
                };
                for after in bytes.iter().filter_map(|byte| shape.step(*byte)) {
                    for (_, slot) in SHAPES.iter().zip(&mut next).filter(|(to, _)| **to == after) {
                        match token(pattern.bytes, at) {
                            Token::Any => slot.reach_within(target, pattern),
                            _ => slot.reach(target, pattern),
                        }
                    }
                }
            });
        }
        layer = next;
        if layer.get(1).is_some_and(|ended| ended.holds(pattern.bytes.len())) {
            return true;
        }
    }
    false
}
