//! Query parameters that must not reach a backend unseen: `mount` and `from` of a request that starts an
//! upload (end-11 of the OCI distribution specification), and the `ns` of mirrors.
//!
//! Called by `route` (`classify`, `has`) and by the nginx module (`strip`, `pushed_digest`). distribution
//! reads the parameters with Go's `FormValue`, other registries with other decoders. Guarantee: after
//! [`strip`], no parameter is left that any decoder could read as one of those to be removed; and
//! [`classify`] keeps a mount only in the one form that all decoders read alike.

use super::need::Mount;
use super::reference;
use crate::name::RepositoryName;
use std::borrow::Cow;

/// The parameters of a mount.
pub const MOUNT: &[&[u8]] = &[b"mount", b"from"];
/// The parameter by which clients of a mirror name the registry that they want.
pub const NS: &[&[u8]] = &[b"ns"];

/// What the key of a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// Exactly `mount`.
    Mount,
    /// Exactly `from`.
    From,
    /// A key that some decoder may read as one of the two.
    Suspicious,
    /// Anything else.
    Other,
}

/// What is to happen to `mount` and `from` in a query (without its `?`).
pub fn classify(args: &[u8]) -> Mount<'_> {
    let (mut mount, mut from) = (None, None);
    for parameter in args.split(is_separator) {
        let (key, value) = split_key(parameter);
        let slot = match self::key(key) {
            Key::Other => continue,
            Key::Mount => &mut mount,
            Key::From => &mut from,
            Key::Suspicious => return Mount::Strip,
        };
        if slot.replace(value).is_some() {
            return Mount::Strip;
        }
    }
    match (mount, from) {
        (None, None) => Mount::Absent,
        (Some(mount), Some(from))
            if is_digest(mount) && args.iter().all(|b| *b == b'&' || !is_separator(b)) =>
        {
            repository(from).map_or(Mount::Strip, Mount::From)
        }
        _ => Mount::Strip,
    }
}

/// Whether some decoder may read a parameter of the query (without its `?`) as one of `names`.
pub fn has(args: &[u8], names: &[&[u8]]) -> bool {
    args.split(is_separator)
        .any(|parameter| is_one_of(split_key(parameter).0, names))
}

/// Appends the query without the parameters that some decoder may read as one of `names`. Each is removed
/// with the separator after it, the last one with the separator before it; every other byte is kept.
pub fn strip(args: &[u8], names: &[&[u8]], out: &mut Vec<u8>) {
    let start = out.len();
    let mut cut_at_end = false;
    for part in args.split_inclusive(is_separator) {
        let parameter = match part.split_last() {
            Some((last, parameter)) if is_separator(last) => parameter,
            _ => part,
        };
        let cut = is_one_of(split_key(parameter).0, names);
        if !cut {
            out.extend_from_slice(part);
        }
        cut_at_end = cut && parameter.len() == part.len();
    }
    if cut_at_end && out.len() > start {
        out.pop();
    }
}

/// Whether a `Content-Type` says that the body is a form, which Go's `FormValue` would read before the query.
/// Matched anywhere and in any case: a list of types or an odd parameter must not hide it.
pub fn is_form(content_type: &[u8]) -> bool {
    contains(content_type, b"x-www-form-urlencoded") || contains(content_type, b"multipart/")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window.eq_ignore_ascii_case(needle))
}

/// Whether a parameter may begin after this byte. `&` separates parameters for all decoders; `;` separates
/// them for some, and is an error for others; for some, `#` ends the query, and the query begins at the last
/// `?`.
fn is_separator(byte: &u8) -> bool {
    matches!(byte, b'&' | b';' | b'#' | b'?')
}

/// The bytes before and after the first `=`.
fn split_key(parameter: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = parameter.splitn(2, |byte| *byte == b'=');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// What a key is.
fn key(raw: &[u8]) -> Key {
    match raw {
        b"mount" => Key::Mount,
        b"from" => Key::From,
        _ if is_one_of(raw, MOUNT) => Key::Suspicious,
        _ => Key::Other,
    }
}

/// Whether some decoder may read a key as one of `names`. Only the letters of the key are compared, in any
/// case: so `from[]`, `+from` and `FROM` may be `from`. So may any key that does not decode to printable
/// ASCII, or that still contains a `%` when it is decoded.
fn is_one_of(raw: &[u8], names: &[&[u8]]) -> bool {
    let Some(decoded) = unescape(raw) else {
        return true;
    };
    let is_plain = |byte: &u8| *byte != b'%' && matches!(byte, b' '..=b'~');
    !decoded.iter().all(is_plain) || names.iter().any(|name| spells(&decoded, name))
}

/// Whether the letters of a text are this word.
fn spells(text: &[u8], word: &[u8]) -> bool {
    let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic());
    letters.map(u8::to_ascii_lowercase).eq(word.iter().copied())
}

/// Undoes percent encoding and `+` (WHATWG URL, application/x-www-form-urlencoded); `None` for a broken
/// escape.
fn unescape(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !raw.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(raw));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(*bytes.next()?)? << 4 | hex_digit(*bytes.next()?)?,
            b'+' => b' ',
            _ => byte,
        });
    }
    Some(Cow::Owned(decoded))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn is_digest(raw: &[u8]) -> bool {
    unescape(raw).is_some_and(|digest| reference::is_digest(&digest))
}

/// The digest that a query names for what is pushed with it, be it uploaded (`digest=`) or mounted
/// (`mount=`); `None` where it names none, or where decoders may read several.
///
/// ```
/// use registry_auth::route::mount::pushed_digest;
///
/// assert_eq!(pushed_digest(b"_state=x&digest=sha256%3aab").as_deref(), Some(&b"sha256:ab"[..]));
/// assert_eq!(pushed_digest(b"mount=sha256:ab&from=team/app").as_deref(), Some(&b"sha256:ab"[..]));
/// assert_eq!(pushed_digest(b"%64igest=sha256:ab&digest=sha256:cd"), None);
/// assert_eq!(pushed_digest(b"mount=sha256:ab&digest=sha256:cd"), None);
/// ```
pub fn pushed_digest(query: &[u8]) -> Option<Cow<'_, [u8]>> {
    let parameters = query.split(is_separator).map(split_key);
    // A registry may go by either.
    let mut named = parameters.filter(|(key, _)| is_one_of(key, &[b"digest", b"mount"]));
    let (_, raw) = named.next().filter(|_| named.next().is_none())?;
    unescape(raw).filter(|digest| reference::is_digest(digest))
}

fn repository(raw: &[u8]) -> Option<RepositoryName<'_>> {
    match unescape(raw)? {
        Cow::Borrowed(name) => RepositoryName::parse(name).ok(),
        Cow::Owned(name) => RepositoryName::parse_owned(String::from_utf8(name).ok()?).ok(),
    }
}
