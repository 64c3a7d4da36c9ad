//! The keys of the zone's entries, by which users, groups, defaults and failures are distinguished.

use registry_auth::TokenDigest;
use registry_auth_cache::{EntryKey, SecretKeys};
use smallvec::SmallVec;

/// A key, or room for one: those of common length need no allocation.
pub(super) type Key = SmallVec<[u8; 96]>;

/// Whose entry it is.
#[derive(Clone, Copy)]
pub(super) enum EntryKind {
    /// A user's record.
    User = b'u' as isize,
    /// A group's record.
    Group = b'g' as isize,
    /// Everybody's backends.
    Defaults = b'd' as isize,
    /// The failed logins of a client for a user; of one for all users, where there is no name.
    Failures = b'f' as isize,
    /// Whose an access token is said to be.
    TokenOwner = b't' as isize,
}

/// Writes the key of an entry. No prefix has a NUL, and so no two keys are alike.
pub(super) fn write_key(key: &mut Key, kind: EntryKind, prefix: &str, name: &str) {
    key.clear();
    key.push(kind as u8);
    key.extend_from_slice(prefix.as_bytes());
    key.push(0);
    key.extend_from_slice(name.as_bytes());
}

/// Writes the key of the failed logins of a client for a user, or, with an empty name, for all users.
/// `network` has the bytes of the client's network, or of a wider one.
pub(super) fn write_failures_key(key: &mut Key, prefix: &str, user: &str, network: &[u8]) {
    write_key(key, EntryKind::Failures, prefix, user);
    // No name has a NUL.
    key.push(0);
    key.extend_from_slice(network);
}

/// Writes the key of an access token's owner.
pub(super) fn write_owner_key(key: &mut Key, prefix: &str, digest: &TokenDigest) {
    write_key(key, EntryKind::TokenOwner, prefix, "");
    key.extend_from_slice(digest.as_bytes());
}

/// A key with its hash.
pub(super) fn entry<'k>(keys: &SecretKeys, key: &'k [u8]) -> EntryKey<'k> {
    EntryKey {
        key,
        hash: keys.hash(key),
    }
}
