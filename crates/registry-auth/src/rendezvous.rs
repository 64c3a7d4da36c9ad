//! Which of several backends a key goes to: rendezvous hashing, also called highest random weight.
//!
//! Called by the nginx module where requests that belong together must meet in one storage. Invariant: the
//! answer depends on the key and on each backend by itself alone. So all workers, machines and versions
//! agree; the order in which backends are stored does not matter; a backend that goes, or comes, moves only
//! the keys that are its own; and those of one that is down are spread over all others, and come back to it.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// How strongly a key is drawn to a backend, of a name as it is stored and one of the addresses of that. The
/// highest of all comes first, and the next one after that when it is down.
pub fn weight(key: &[u8], name: &[u8], address: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in [key, name, address] {
        // Else "ab" and "c" would be "a" and "bc".
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish()
}
