//! The secret keys of a block, and what is computed with them: hashes of entry keys, and tags of credentials.
//!
//! Called by the nginx module before it locks the block, and by every other file of this crate. Guarantee:
//! without the keys nobody can predict or choose a hash or a tag, so a client can neither fill one bucket nor
//! forge a credential.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::memory::Numbers;

/// Bytes of a whole tag, and of the half of one.
pub(crate) const WHOLE: usize = 16;
pub(crate) const HALF: usize = 8;

/// The secret keys of a block, made at random when the block was set up. The first half hashes the keys of
/// entries, the second half makes the tags of credentials. A worker keeps a copy, so that it can hash before
/// it locks the block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretKeys([u8; 32]);

impl SecretKeys {
    /// Keys of 32 random bytes.
    pub fn new(random: [u8; 32]) -> SecretKeys {
        SecretKeys(random)
    }

    /// The 32 bytes themselves, from which the caller may derive other keys.
    pub fn secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of an entry's key: SipHash-1-3, 64 bits.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let [secret, _] = self.halves();
        SipHasher13::new_with_key(secret).hash(key)
    }

    /// The tag of a credential: SipHash-2-4, 128 bits. Nobody without the keys can find a second credential
    /// with the same tag.
    #[inline]
    pub fn tag(&self, credential: &[u8]) -> Tag {
        let [_, secret] = self.halves();
        Tag(SipHasher24::new_with_key(secret).hash(credential).as_u128())
    }

    /// The tag of a header that was verified under a configured password salt. The header must not contain
    /// NUL bytes. The same header has another tag under another salt. With an empty salt this is
    /// [`SecretKeys::tag`].
    #[inline]
    pub fn salted_tag(&self, salt: &[u8], credential: &[u8]) -> Tag {
        if salt.is_empty() {
            return self.tag(credential);
        }
        let [_, secret] = self.halves();
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write(credential);
        hasher.write(salt);
        // The salt's length marks where the credential ends. Its NUL bytes mark that there is a salt at all.
        hasher.write(&(salt.len() as u64).to_le_bytes());
        Tag(hasher.finish128().as_u128())
    }

    /// The tag of a user's password under a salt, the same however the header spelled it. It never equals the
    /// tag of a header, which contains no NUL byte, nor that of another user's password.
    pub fn password_tag(&self, salt: &[u8], user: &str, password: &[u8]) -> Tag {
        let [_, secret] = self.halves();
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write(user.as_bytes());
        // No user name contains a NUL byte.
        hasher.write(&[0]);
        hasher.write(password);
        hasher.write(salt);
        hasher.write(&(password.len() as u64).to_le_bytes());
        hasher.write(&(salt.len() as u64).to_le_bytes());
        Tag(hasher.finish128().as_u128())
    }

    #[inline]
    fn halves(&self) -> [&[u8; 16]; 2] {
        match (self.0.first_chunk(), self.0.last_chunk()) {
            (Some(first), Some(last)) => [first, last],
            _ => [&[0; 16]; 2],
        }
    }
}

/// The keyed digest of a credential, see [`SecretKeys::tag`]. Packed, because entries are kept in memory that
/// nginx aligns to 8 bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, packed(8))]
pub struct Tag(pub(crate) u128);

impl Tag {
    /// Whether `bytes` is this tag, or its lower half where they are 8 bytes. The time this takes may tell
    /// which bytes differ, but nobody without the keys can predict or choose a tag.
    #[inline]
    pub(crate) fn matches(self, bytes: &[u8]) -> bool {
        match bytes.len() {
            HALF => self.half() == bytes.get_u64(0),
            _ => bytes.first_chunk() == Some(&{ self.0 }.to_ne_bytes()),
        }
    }

    /// The lower half, spread as evenly as a hash.
    pub(crate) fn half(self) -> u64 {
        self.0 as u64
    }
}

/// The key of an entry, with its hash.
#[derive(Clone, Copy)]
pub struct EntryKey<'k> {
    /// The key: unique among users, groups, default records and login counters.
    pub key: &'k [u8],
    /// [`SecretKeys::hash`] of the key.
    pub hash: u64,
}
