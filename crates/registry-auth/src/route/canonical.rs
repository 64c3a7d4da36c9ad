//! Is the path that nginx decides on the path that the backend will see?
//!
//! Called by `route::parse`. nginx decides on the decoded and normalised path, but forwards the raw one.
//! Guarantee: the two are equal byte for byte, except for one escaped colon in the last segment, which the
//! caller must accept only within a digest.

use crate::denial::Denial;

/// What the raw path escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// Nothing.
    None,
    /// One `:` in the last segment, as `%3A` or `%3a`. Legal only if that segment is a digest.
    DigestColon,
}

/// Compares the two forms of a path.
pub(super) fn compare(raw: &[u8], decided: &[u8]) -> Result<Escape, Denial> {
    if raw == decided {
        return Ok(Escape::None);
    }
    is_colon_escaped(raw, decided)
        .filter(|yes| *yes)
        .map(|_| Escape::DigestColon)
        .ok_or_else(Denial::name_invalid)
}

/// Whether the raw path differs only by `%3A` for the only colon, and that in the last segment.
fn is_colon_escaped(raw: &[u8], decided: &[u8]) -> Option<bool> {
    let at = memchr::memchr(b':', decided)?;
    let (before, after) = (decided.get(..at)?, decided.get(at + 1..)?);
    let (raw_before, raw_rest) = (raw.get(..at)?, raw.get(at..)?);
    let raw_after = raw_rest
        .strip_prefix(b"%3A")
        .or_else(|| raw_rest.strip_prefix(b"%3a"))?;
    Some(before == raw_before && after == raw_after && !after.contains(&b'/') && !after.contains(&b':'))
}
