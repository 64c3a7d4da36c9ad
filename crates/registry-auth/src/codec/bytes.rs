//! Reading the parts of an encoded record: each function takes its part off the front of a slice, or gives
//! `None`.
//!
//! Used by the other files of `codec`. Guarantee: no read past the end, and no panic.

use super::record::InvalidRecord;

/// The next item of a section; after a damaged one the section is at its end.
#[inline]
pub(super) fn next<'a, T>(
    section: &mut &'a [u8],
    read: impl FnOnce(&mut &'a [u8]) -> Option<T>,
) -> Option<Result<T, InvalidRecord>> {
    if section.is_empty() {
        return None;
    }
    let item = read(section).ok_or(InvalidRecord);
    if item.is_err() {
        *section = &[];
    }
    Some(item)
}

pub(super) fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(short(rest)?).ok()
}

#[inline]
pub(super) fn short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let [length] = take(rest)?;
    slice(rest, length.into())
}

#[inline]
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[inline]
pub(super) fn slice<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
