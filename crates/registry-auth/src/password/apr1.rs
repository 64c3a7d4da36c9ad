//! Apache's `$apr1$salt$digest`, htpasswd's default: a thousand rounds of MD5.
//!
//! No living crate has it, so it is here, after Apache's `apr_md5_encode`. Kept for files that are imported;
//! the tool makes no such hash. Invariant: salt and digest are of the form that htpasswd writes, or the hash
//! is invalid.

use super::hash::{Hash, InvalidHash, MAX_CRYPT_PASSWORD, same, sound, within};
use md5::{Digest, Md5};

const PREFIX: &str = "$apr1$";

/// Rounds: part of the form, not of the hash.
const ROUNDS: usize = 1000;

/// crypt(3)'s digits, least significant first.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Longest salt.
const MAX_SALT: usize = 8;

pub(super) struct Apr1<'a> {
    salt: &'a [u8],
    digest: &'a [u8],
}

impl<'a> Apr1<'a> {
    pub(super) fn read(stored: &'a str) -> Result<Self, InvalidHash> {
        let rest = stored.strip_prefix(PREFIX).ok_or(InvalidHash::Damaged)?;
        let (salt, digest) = rest.split_once('$').ok_or(InvalidHash::Damaged)?;
        let (salt, digest) = (salt.as_bytes(), digest.as_bytes());
        let is_legal = |text: &[u8]| text.iter().all(|byte| DIGITS.contains(byte));
        sound(is_legal(salt) && is_legal(digest) && digest.len() == 22)?;
        within(salt.len() <= MAX_SALT)?;
        Ok(Self { salt, digest })
    }
}

impl Hash for Apr1<'_> {
    fn verify(&self, password: &[u8], _: &[u8]) -> Result<bool, InvalidHash> {
        Ok(password.len() <= MAX_CRYPT_PASSWORD && same(&encode(&digest(password, self.salt)), self.digest))
    }

    fn weakness(&self) -> Option<&'static str> {
        Some("a thousand rounds of MD5")
    }
}

fn digest(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let mut digest = start(password, salt);
    for round in 0..ROUNDS {
        let odd = round % 2 == 1;
        let mut md5 = Md5::new();
        md5.update(if odd { password } else { &digest });
        if round % 3 != 0 {
            md5.update(salt);
        }
        if round % 7 != 0 {
            md5.update(password);
        }
        md5.update(if odd { &digest } else { password });
        digest = md5.finalize().into();
    }
    digest
}

/// The digest before the rounds.
fn start(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut md5 = Md5::new()
        .chain_update(password)
        .chain_update(PREFIX)
        .chain_update(salt);
    for chunk in password.chunks(inner.len()) {
        md5.update(inner.get(..chunk.len()).unwrap_or_default());
    }
    // For each bit of the length: a zero byte, or the first byte of the password. Odd, but the form.
    let mut length = password.len();
    while length != 0 {
        md5.update(if length % 2 == 1 {
            &[0]
        } else {
            password.get(..1).unwrap_or_default()
        });
        length /= 2;
    }
    md5.finalize().into()
}

/// The digest as 22 digits: three bytes, taken from afar, in four digits; the last byte in two.
fn encode(digest: &[u8; 16]) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = digest.map(u32::from);
    let groups = [[a, g, m], [b, h, n], [c, i, o], [d, j, p], [e, k, f], [0, 0, l]];
    let digits = groups.into_iter().flat_map(|[high, middle, low]| {
        let value = high << 16 | middle << 8 | low;
        (0..4).map(move |index| {
            DIGITS
                .get((value >> (6 * index) & 63) as usize)
                .copied()
                .unwrap_or_default()
        })
    });
    digits.take(22).collect()
}
