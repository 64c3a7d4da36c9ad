//! Names of repositories and users.
//!
//! Called by `route`, `credentials` and the tool, which parse a name once, where it comes in. Invariant: a
//! [`RepositoryName`] follows the grammar of distribution or, if it comes from a V1 path, that of
//! docker-registry, and has at most 255 bytes. So two names are the same repository exactly if their bytes
//! are equal.

use std::borrow::Cow;
use std::fmt;

use smol_str::SmolStr;

/// Longest legal repository name in bytes (distribution's `RepositoryNameTotalLengthMax`).
pub const MAX_REPOSITORY_NAME: usize = 255;

/// Longest user name in bytes that is looked up.
pub const MAX_USER_NAME: usize = 255;

/// The bytes are not a legal repository or user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid name")]
pub struct InvalidName;

/// A repository name such as `alice/app`: `/`-separated segments of `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`; out
/// of a V1 path, of `[a-z0-9._-]+`. Kept as bytes: a decision needs no text, and to look at a name once more
/// for that costs as much as to parse it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryName<'a>(Cow<'a, [u8]>);

impl<'a> RepositoryName<'a> {
    /// Parses a name of a V2 path. Nothing is decoded: a `%` is illegal.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, InvalidName> {
        let is_legal = bytes.len() <= MAX_REPOSITORY_NAME && is_repository_name(bytes);
        is_legal.then_some(Self(Cow::Borrowed(bytes))).ok_or(InvalidName)
    }

    /// Parses a name of a V1 path, where one segment means `library/<segment>`. Segments are those that
    /// docker accepted before there was V2, such as `_app` or `a..b`, but neither `.` nor `..`, by which
    /// paths are normalised.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn from_v1(bytes: &'a [u8]) -> Result<Self, InvalidName> {
        const LIBRARY: &[u8] = b"library/";
        let is_long = bytes.contains(&b'/');
        let length = bytes.len() + if is_long { 0 } else { LIBRARY.len() };
        if length > MAX_REPOSITORY_NAME || !bytes.split(|byte| *byte == b'/').all(is_v1_segment) {
            return Err(InvalidName);
        }
        Ok(Self(match is_long {
            true => Cow::Borrowed(bytes),
            false => Cow::Owned([LIBRARY, bytes].concat()),
        }))
    }

    /// Parses a name that had to be decoded first.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse_owned(name: String) -> Result<Self, InvalidName> {
        RepositoryName::parse(name.as_bytes())?;
        Ok(Self(Cow::Owned(name.into_bytes())))
    }

    /// The name; the grammar allows ASCII only.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the name. This is cheaper than [`RepositoryName::as_str`], which checks that they are
    /// text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same name, independent of the request it was parsed from.
    pub fn into_owned(self) -> RepositoryName<'static> {
        RepositoryName(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for RepositoryName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A user name as Basic credentials carry it: UTF-8, 1 to 255 bytes, without control characters, `:` or `/`.
/// (`:` cannot occur in Basic; `/` would let a user named `a/b` own a subtree of user `a`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserName<'a>(&'a str);

impl<'a> UserName<'a> {
    /// Parses the part before the colon of Basic credentials, or a name that was typed at the tool.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, InvalidName> {
        if bytes.is_empty() || bytes.len() > MAX_USER_NAME {
            return Err(InvalidName);
        }
        let name = std::str::from_utf8(bytes).map_err(|_| InvalidName)?;
        // Nearly all names are plain ASCII, for which no character need be decoded.
        let plain = bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/'));
        if !plain && name.chars().any(|c| c.is_control() || matches!(c, ':' | '/')) {
            return Err(InvalidName);
        }
        Ok(Self(name))
    }

    /// The same name, independent of what it was parsed from.
    pub fn to_owned(&self) -> UserNameBuf {
        UserNameBuf(self.0.into())
    }

    /// The name, byte for byte as it was sent.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Whether the name is one legal segment of a repository name, and so may own `<name>/**`.
    pub fn is_path_segment(&self) -> bool {
        is_repository_name(self.0.as_bytes()) && !self.0.contains('/')
    }
}

/// An owned [`UserName`], cheap to clone: names of up to 23 bytes need no allocation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserNameBuf(SmolStr);

impl UserNameBuf {
    /// The name, without parsing it again.
    pub fn as_name(&self) -> UserName<'_> {
        UserName(&self.0)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserNameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for UserName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Where in the grammar a prefix of a name ends: the states of its automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// At the start of a segment: an alphanumeric must follow.
    Start,
    /// After an alphanumeric: the name may end here.
    Alnum,
    /// After `.` or `__`: an alphanumeric must follow.
    Separator,
    /// After one `_`: a second one or an alphanumeric must follow.
    Underscore,
    /// After one or more `-`: another one or an alphanumeric must follow.
    Dash,
}

impl Shape {
    /// The state after one more byte; `None` if no legal name goes on like this.
    #[inline]
    pub(crate) fn step(self, byte: u8) -> Option<Self> {
        match (byte, self) {
            (b'a'..=b'z' | b'0'..=b'9', _) => Some(Self::Alnum),
            (b'/', Self::Alnum) => Some(Self::Start),
            (b'-', Self::Alnum | Self::Dash) => Some(Self::Dash),
            (b'.', Self::Alnum) | (b'_', Self::Underscore) => Some(Self::Separator),
            (b'_', Self::Alnum) => Some(Self::Underscore),
            _ => None,
        }
    }
}

/// Whether the bytes are a name by grammar, whatever their number.
fn is_repository_name(bytes: &[u8]) -> bool {
    let mut shape = Shape::Start;
    for &byte in bytes {
        // Most bytes: found in a table, which is half the work of comparing.
        if is_name_alnum(byte) {
            shape = Shape::Alnum;
            continue;
        }
        match shape.step(byte) {
            Some(next) => shape = next,
            None => return false,
        }
    }
    shape == Shape::Alnum
}

/// Whether the bytes are a segment of a V1 name.
fn is_v1_segment(segment: &[u8]) -> bool {
    static LEGAL: ByteSet = ByteSet::new(b"abcdefghijklmnopqrstuvwxyz0123456789._-");
    !matches!(segment, b"" | b"." | b"..") && segment.iter().all(|byte| LEGAL.has(*byte))
}

/// Whether the byte is one of `[a-z0-9]`.
#[inline]
fn is_name_alnum(byte: u8) -> bool {
    static ALNUM: ByteSet = ByteSet::new(b"abcdefghijklmnopqrstuvwxyz0123456789");
    ALNUM.has(byte)
}

/// A set of bytes, to look up in it.
pub(crate) struct ByteSet([bool; 256]);

impl ByteSet {
    #[allow(
        clippy::indexing_slicing,
        reason = "no byte is beyond 255, and the compiler computes it"
    )]
    pub(crate) const fn new(bytes: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut rest = bytes;
        while let [byte, after @ ..] = rest {
            set[*byte as usize] = true;
            rest = after;
        }
        Self(set)
    }

    #[inline]
    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).is_some_and(|has| *has)
    }
}
