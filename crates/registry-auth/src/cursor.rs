//! The sealed cursor of a catalogue: the name of a repository that the client may not know, encrypted.
//!
//! Called by the nginx module with `catalog`. A catalogue that goes on after such a name needs a link that
//! does not show it. The client sends the cursor back as it got it; only who has the key can read it or make
//! another one. Guarantee: the cursor shows only the length of the name, in steps of 64 bytes.

use crate::token::derived;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit};

/// The number of bytes of a nonce: large enough that random ones do not repeat.
pub const NONCE: usize = 24;
/// The beginning of a sealed cursor. No repository's name begins with it.
const MARK: char = '~';
/// The plain text is padded to a multiple of this number of bytes.
const STEP: usize = 64;

/// The keys of cursors: the first seals, all of them open.
pub struct CursorKeys(Vec<XChaCha20Poly1305>);

impl CursorKeys {
    /// Keys derived from secrets that are used for other purposes too; `None` where there are none.
    pub fn derived<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Option<Self> {
        let keys: Option<Vec<_>> = secrets
            .into_iter()
            .map(|secret| {
                let key = derived(secret, b"registry_auth_catalog")?;
                XChaCha20Poly1305::new_from_slice(&key).ok()
            })
            .collect();
        keys.filter(|keys| !keys.is_empty()).map(Self)
    }

    /// The cursor for a name; `None` for a name over 65,535 bytes. The nonce must be random.
    pub fn seal(&self, name: &str, nonce: [u8; NONCE]) -> Option<String> {
        let length = u16::try_from(name.len()).ok()?;
        let mut plain = length.to_be_bytes().to_vec();
        plain.extend_from_slice(name.as_bytes());
        plain.resize(plain.len().next_multiple_of(STEP), 0);
        let sealed = self.0.first()?.encrypt(&nonce.into(), &plain[..]).ok()?;
        Some(format!(
            "{MARK}{}",
            URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
        ))
    }

    /// The name in a cursor; `None` where no key of these has made the cursor.
    pub fn open(&self, cursor: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor.strip_prefix(MARK)?).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let plain = self
            .0
            .iter()
            .find_map(|key| key.decrypt(&(*nonce).into(), sealed).ok())?;
        let (length, padded) = plain.split_first_chunk()?;
        let name = padded.get(..usize::from(u16::from_be_bytes(*length)))?;
        String::from_utf8(name.to_vec()).ok()
    }
}

/// Whether a cursor was made by [`CursorKeys::seal`], and is not a name.
pub fn is_sealed(cursor: &str) -> bool {
    cursor.starts_with(MARK)
}
