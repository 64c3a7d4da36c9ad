//! The `Authorization` header: which user the sender claims to be, and the password that proves it.
//!
//! Called by the nginx module once a request. Guarantees: a malformed header is refused with 401 and never
//! taken for an anonymous request; the decoded password is wiped when its buffer is reused or dropped;
//! nothing here can be printed.

use crate::denial::Denial;
use crate::name::UserName;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

/// The longest header value that is read, in bytes.
pub const MAX_HEADER: usize = 4096;

/// The bytes that the longest header value decodes to.
const CAPACITY: usize = MAX_HEADER / 4 * 3;

/// The buffer that credentials are decoded into. It can serve many requests, and is wiped between them.
pub struct Buffer {
    bytes: [u8; CAPACITY],
    used: usize,
}

impl Buffer {
    /// An empty buffer of 3 KiB.
    pub const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            used: 0,
        }
    }

    /// Overwrites what was decoded with zeroes.
    pub fn wipe(&mut self) {
        if let Some(decoded) = self.bytes.get_mut(..self.used) {
            decoded.zeroize();
        }
        self.used = 0;
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// A password as it was sent. It lies in a [`Buffer`] and is wiped with it.
#[derive(Clone, Copy)]
pub struct Password<'a>(&'a [u8]);

impl<'a> Password<'a> {
    /// The bytes: at least one, none of them a control character.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// The credentials of a request, not yet verified.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// No header, or `Basic Og==` (empty user and password), which podman sends for anonymous.
    None,
    /// A user name and a password.
    Basic {
        /// The name.
        user: UserName<'a>,
        /// The password.
        password: Password<'a>,
    },
}

/// Parses the value of `Authorization` (RFC 7617).
///
/// # Errors
/// 401 for whatever is not a valid Basic header.
pub fn parse<'b>(header: Option<&[u8]>, buffer: &'b mut Buffer) -> Result<Credentials<'b>, Denial> {
    buffer.wipe();
    match header {
        None => Ok(Credentials::None),
        Some(header) => basic(header, buffer).ok_or_else(Denial::bad_credentials),
    }
}

/// The token of a `Bearer` header (RFC 6750, section 2.1), of whatever form; `None` for any other header.
pub fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(b"Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| rest.trim_ascii_start())
}

fn basic<'b>(header: &[u8], buffer: &'b mut Buffer) -> Option<Credentials<'b>> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let (scheme, rest) = header.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let decoded = decode(rest.get(spaces..)?, buffer)?;
    if decoded == b":" {
        return Some(Credentials::None);
    }
    // All of them are looked at, which the processor does for many at once: `any` takes six times as long.
    if decoded
        .iter()
        .fold(false, |any, byte| any | byte.is_ascii_control())
    {
        return None;
    }
    let colon = memchr::memchr(b':', decoded)?;
    let (user, password) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
    if password.is_empty() {
        return None;
    }
    Some(Credentials::Basic {
        user: UserName::parse(user).ok()?,
        password: Password(password),
    })
}

/// Decodes into the buffer, which is marked as used also where decoding fails half-way.
fn decode<'b>(base64: &[u8], buffer: &'b mut Buffer) -> Option<&'b [u8]> {
    buffer.used = (base64.len().div_ceil(4) * 3).min(CAPACITY);
    let length = STANDARD.decode_slice(base64, &mut buffer.bytes).ok()?;
    buffer.bytes.get(..length)
}
