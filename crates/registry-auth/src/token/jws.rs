//! HMAC with SHA-256, and what is signed with it: a JSON web signature in its compact form (RFC 7515).
//!
//! Used by `token` and, for deriving keys, by `cursor`. Guarantee: there is one header, compared to the byte,
//! so that no header of a token can choose another algorithm or key. A crate for all algorithms took more
//! lines to be restricted to this one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// `{"typ":"JWT","alg":"HS256"}`
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9";

/// The HMAC of these parts, one after the other.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 32]> {
    Some(hmac(key, parts)?.finalize().into_bytes().into())
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| hmac.update(part));
    Some(hmac)
}

/// The claims, signed; `None` only where they cannot be put into JSON.
pub(super) fn sign(key: &[u8], claims: &impl Serialize) -> Option<String> {
    let mut token = format!("{HEADER}.");
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims).ok()?, &mut token);
    let signature = mac(key, &[token.as_bytes()])?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}

/// The claims of a token that has our header and was signed with one of these keys, and which of them. What
/// was signed with none is not read.
pub(super) fn verify<'k, T: DeserializeOwned>(
    keys: impl Iterator<Item = &'k [u8]>,
    token: &[u8],
) -> Option<(usize, T)> {
    let token = std::str::from_utf8(token).ok()?;
    let (signed, signature) = token.rsplit_once('.')?;
    let claims = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    // In constant time, and of the whole length.
    let is_signed =
        |key| hmac(key, &[signed.as_bytes()]).is_some_and(|hmac| hmac.verify_slice(&signature).is_ok());
    let index = keys.into_iter().position(is_signed)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    Some((index, serde_json::from_slice(&claims).ok()?))
}
