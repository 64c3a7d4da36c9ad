//! Access tokens: long-lived secrets of a user, for robots, that may do a part of what the user may do.
//!
//! Made by the tool. The store keeps their SHA-256 (nothing slower is needed: the secret has 190 random
//! bits), and the module finds them again when one is sent as the password of a Basic header. Guarantees: a
//! password of the form of an access token is never tried as a password; a field that cannot be read whole is
//! an error, because a scope that was skipped might have been all that the token was good for.

use crate::grant::Grant;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The beginning of the name of a field that holds an access token.
pub const FIELD_PREFIX: &str = "token:";

/// The beginning of every access token, by which people, and programs that look for leaked secrets, know one.
const MARK: &[u8] = b"rga_";
/// The number of random characters: 62^32 are 190 bits.
const RANDOM: usize = 32;
/// The number of characters of the checksum: 62^6 are more than 32 bits.
const CHECKSUM: usize = 6;
/// The length of a token, in bytes.
const LENGTH: usize = MARK.len() + RANDOM + CHECKSUM;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The longest id, in bytes.
const MAX_ID: usize = 32;
/// The number of hexadecimal digits of an id that [`TokenDigest::to_id`] makes.
const ID: usize = 10;

/// An access token in clear: `rga_`, 32 random characters, and a checksum of 6 (the CRC-32 of all before it
/// in base 62, as GitHub's tokens have one). It cannot be printed by accident, and is wiped when it is
/// dropped.
pub struct AccessToken([u8; LENGTH]);

impl AccessToken {
    /// A new token. `fill` must fill its argument with random bytes.
    ///
    /// # Errors
    /// The error of `fill`.
    pub fn generate<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut token = Self([0; LENGTH]);
        let (head, checksum) = token.0.split_at_mut(LENGTH - CHECKSUM);
        let (mark, random) = head.split_at_mut(MARK.len());
        mark.copy_from_slice(MARK);
        for to in random {
            *to = loop {
                let mut byte = [0];
                fill(&mut byte)?;
                // 248 is the largest multiple of 62 that a byte holds: no character is likelier than another.
                let [byte] = byte;
                if let (true, Some(character)) = (byte < 248, ALPHABET.get(usize::from(byte % 62))) {
                    break *character;
                }
            };
        }
        checksum.copy_from_slice(&sum(head));
        Ok(token)
    }

    /// The token itself, to be shown to its user once.
    pub fn expose(&self) -> &str {
        // ASCII by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its digest, by which the store knows it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0).into())
    }
}

impl Drop for AccessToken {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The checksum of all that comes before it.
fn sum(head: &[u8]) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(head) as usize;
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET.get(rest % 62).copied().unwrap_or_default();
        rest /= 62;
    }
    digits
}

/// The SHA-256 of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub(crate) [u8; 32]);

impl TokenDigest {
    /// The digest of a password that has the form of an access token, with the right checksum; `None` for any
    /// other password.
    pub fn of(password: &[u8]) -> Option<Self> {
        let random = password.strip_prefix(MARK)?;
        let (head, checksum) = password.split_at_checked(LENGTH - CHECKSUM)?;
        let is_one =
            password.len() == LENGTH && random.iter().all(u8::is_ascii_alphanumeric) && checksum == sum(head);
        is_one.then(|| Self(Sha256::digest(password).into()))
    }

    /// The id of a new token of this digest: long enough that two tokens of a user do not have the same, too
    /// short to be used as the digest.
    pub fn to_id(self) -> String {
        let mut id = self.to_hex();
        id.truncate(ID);
        id
    }

    /// The digest, as a cache's key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `bytes` is this digest, compared in constant time.
    pub(crate) fn matches(self, bytes: &[u8]) -> bool {
        self.0.ct_eq(bytes).into()
    }

    /// As it is stored: 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
            text
        })
    }

    fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (to, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *to = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// What a `Bearer` header carries, by its form alone. No token of the token endpoint begins as an access
/// token does: it is a JWT, whose first part is the base64url of a JSON object, and so begins with `e`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerToken<'t> {
    /// An access token, of this digest.
    AccessToken(TokenDigest),
    /// It begins as an access token and is none, as one that was cut or mistyped.
    Malformed,
    /// Anything else: a token of the token endpoint, if its signature says so.
    Signed(&'t [u8]),
}

impl<'t> BearerToken<'t> {
    /// Tells them apart.
    pub fn of(token: &'t [u8]) -> Self {
        match TokenDigest::of(token) {
            Some(digest) => Self::AccessToken(digest),
            None if token.starts_with(MARK) => Self::Malformed,
            None => Self::Signed(token),
        }
    }
}

/// A token as it is stored: `token:<id>` → `sha256=<hex> expires=<seconds> created=<seconds>
/// scope=<pattern>:<actions> …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// The id by which it is listed and revoked: lower case letters, digits and dashes, 32 at most.
    pub id: String,
    /// The digest of the secret.
    pub digest: TokenDigest,
    /// When it expires, in seconds since 1970.
    pub expires: u64,
    /// When it was made, in seconds since 1970; 0 where that is not known. It is shown to people, and not
    /// encoded.
    pub created: u64,
    /// Its scopes: at least one, and no denial.
    pub scopes: Vec<Grant>,
}

/// What is wrong with a value, in short.
const WORDS: &str = "its value is not made of sha256=, expires=, created= and scope= with spaces between";
const TIMES: &str = "expires= or created= is not a number of seconds since 1970";

/// The field is not an access token: what is wrong with it, without any of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidToken(&'static str);

impl InvalidToken {
    /// The value is no text.
    pub const NO_TEXT: Self = Self("its value is not UTF-8");
}

impl StoredToken {
    /// Parses a field such as `token:4f1e9a7c02`, with its value.
    ///
    /// # Errors
    /// [`InvalidToken`], also for an unknown word: it might restrict the token.
    pub fn parse(field: &str, value: &str) -> Result<Self, InvalidToken> {
        let id = id_of(field).ok_or(InvalidToken("its id is not lower case letters, digits and -"))?;
        let (mut digest, mut expires, mut created) = (None, None, None);
        let mut scopes = Vec::new();
        for word in value.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').ok_or(InvalidToken(WORDS))?;
            let is_first = match name {
                "sha256" => digest
                    .replace(
                        TokenDigest::from_hex(value).ok_or(InvalidToken("sha256= is not 64 hex digits"))?,
                    )
                    .is_none(),
                "expires" => expires
                    .replace(seconds(value).ok_or(InvalidToken(TIMES))?)
                    .is_none(),
                "created" => created
                    .replace(seconds(value).ok_or(InvalidToken(TIMES))?)
                    .is_none(),
                "scope" => {
                    scopes.push(parse_scope(value)?);
                    true
                }
                _ => return Err(InvalidToken(WORDS)),
            };
            if !is_first {
                return Err(InvalidToken("a word of its value is there twice"));
            }
        }
        match (digest, expires, scopes.is_empty()) {
            (Some(digest), Some(expires), false) => Ok(Self {
                id: id.to_owned(),
                digest,
                expires,
                created: created.unwrap_or(0),
                scopes,
            }),
            _ => Err(InvalidToken("its value lacks sha256=, expires= or scope=")),
        }
    }

    /// The name of the field that stores it.
    pub fn field(&self) -> String {
        format!("{FIELD_PREFIX}{}", self.id)
    }

    /// The value of that field.
    pub fn value(&self) -> String {
        let mut value = format!(
            "sha256={} expires={} created={}",
            self.digest.to_hex(),
            self.expires,
            self.created
        );
        for scope in &self.scopes {
            value.push_str(&format!(" scope={}:{}", scope.pattern, scope.actions));
        }
        value
    }
}

/// The digest in the value of a token's field, also where the rest of it cannot be read.
pub fn digest_of_value(value: &str) -> Option<TokenDigest> {
    let mut words = value.split_ascii_whitespace();
    TokenDigest::from_hex(words.find_map(|word| word.strip_prefix("sha256="))?)
}

/// Parses a scope such as `team/*:pull,push`, as the tool and the records have it.
///
/// # Errors
/// [`InvalidToken`], also for a denial.
pub fn parse_scope(text: &str) -> Result<Grant, InvalidToken> {
    // No pattern contains a colon.
    const SCOPE: InvalidToken = InvalidToken("a scope= is not PATTERN:ACTIONS");
    let (pattern, actions) = text.rsplit_once(':').ok_or(SCOPE)?;
    let grant = Grant::from_parts(pattern, actions).map_err(|_| SCOPE)?;
    match grant.deny {
        true => Err(SCOPE),
        false => Ok(grant),
    }
}

/// Whether this is the name of a field for an access token, `token:<id>` with a legal id.
pub fn is_field(name: &str) -> bool {
    id_of(name).is_some()
}

fn id_of(field: &str) -> Option<&str> {
    field.strip_prefix(FIELD_PREFIX).filter(|id| is_id(id))
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Seconds since 1970: digits only.
fn seconds(text: &str) -> Option<u64> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok())?
}
