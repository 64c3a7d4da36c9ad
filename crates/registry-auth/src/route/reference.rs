//! The last segment of a path: tags, digests, upload ids and image ids.
//!
//! Called by `v1`, `v2` and `mount`. Guarantee: whatever is accepted contains no `/` and no `%`, and is
//! neither `.` nor `..`.

use crate::name::ByteSet;

/// What a manifest's reference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Tag,
    Digest,
    /// Neither: no registry has anything by this reference.
    Illegal,
}

/// Tells tag from digest.
pub(super) fn parse(bytes: &[u8]) -> Reference {
    if is_tag(bytes) {
        Reference::Tag
    } else {
        parse_digest(bytes)
    }
}

/// As [`parse`], where a tag is not allowed.
pub(super) fn parse_digest(bytes: &[u8]) -> Reference {
    if is_digest(bytes) {
        Reference::Digest
    } else {
        Reference::Illegal
    }
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (OCI distribution-spec, Pulling manifests).
pub(super) fn is_tag(bytes: &[u8]) -> bool {
    static LEGAL: ByteSet =
        ByteSet::new(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    bytes.len() <= 128
        && bytes.first().is_some_and(|byte| !matches!(byte, b'.' | b'-'))
        && bytes.iter().all(|byte| LEGAL.has(*byte))
}

/// `algorithm:encoded` (OCI image-spec, Digests), at most 255 bytes.
pub(crate) fn is_digest(bytes: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', bytes) else {
        return false;
    };
    let (Some(algorithm), Some(encoded)) = (bytes.get(..colon), bytes.get(colon + 1..)) else {
        return false;
    };
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-');
    bytes.len() <= 255 && is_algorithm(algorithm) && !encoded.is_empty() && encoded.iter().all(legal)
}

/// `[a-z0-9]+([+._-][a-z0-9]+)*`
fn is_algorithm(bytes: &[u8]) -> bool {
    let mut after_separator = true;
    for byte in bytes {
        after_separator = match byte {
            b'a'..=b'z' | b'0'..=b'9' => false,
            b'+' | b'.' | b'_' | b'-' if !after_separator => true,
            _ => return false,
        };
    }
    !after_separator
}

/// `[a-zA-Z0-9_.=-]+` (distribution's route of an upload), at most 255 bytes and no dot segment.
pub(super) fn is_upload_id(bytes: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'=' | b'-');
    !bytes.is_empty() && bytes.len() <= 255 && !is_dots(bytes) && bytes.iter().all(legal)
}

/// An image id of V1: 64 hexadecimal digits in practice, any word here.
pub(super) fn is_image_id(bytes: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !bytes.is_empty() && bytes.len() <= 128 && bytes.iter().all(legal)
}

/// A segment of an extension's path.
pub(super) fn is_extension_segment(bytes: &[u8]) -> bool {
    let legal =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'=' | b'-' | b'+' | b':');
    !bytes.is_empty() && !is_dots(bytes) && bytes.iter().all(legal)
}

fn is_dots(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == b'.')
}

/// The bytes around the last `/`; `None` if there is none.
pub(super) fn split_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memrchr(b'/', path)?;
    Some((path.get(..at)?, path.get(at + 1..)?))
}
