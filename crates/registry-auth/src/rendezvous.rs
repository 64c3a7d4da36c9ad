//! Which of several backends a key goes to: rendezvous hashing, also called highest random weight.
//!
//! Called by the nginx module where requests that belong together must reach the same storage. Guarantee: the
//! weight depends on the key and on one backend alone. So all workers, machines and versions agree; the order
//! in which the backends are stored does not matter; a backend that is added or removed moves only its own
//! keys; and the keys of a backend that is down are spread over all others, and return to it.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// How strongly a key is drawn to an address of a backend's name.
pub fn weight(key: &[u8], name: &[u8], address: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in [key, name, address] {
        // Else "ab" and "c" would be "a" and "bc".
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish()
}

/// What decides between backends, the highest first: their names as they are stored, and of those that have
/// one name the addresses. So a backend whose name gets another address keeps its keys.
pub fn rank(key: &[u8], name: &[u8], address: &[u8]) -> (u64, u64) {
    let of_name = weight(key, name, name);
    match address == name {
        true => (of_name, of_name),
        false => (of_name, weight(key, name, address)),
    }
}
