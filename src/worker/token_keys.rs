//! The keys that tokens are signed with: those of a file, or a random one that the workers share in the zone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use registry_auth::cursor::CursorKeys;
use registry_auth::token::SigningKeys;
use registry_auth_redis::Secret;

use crate::worker::cache;

/// What this worker signs and verifies with.
enum Worker {
    /// The configuration's keys.
    RequestBytes(Rc<SigningKeys>),
    /// The zone's, and what they were made of: a zone that is set up anew has others.
    Zone(Option<([u8; 32], Rc<SigningKeys>)>),
}

thread_local! {
    static WORKER: RefCell<Worker> = const { RefCell::new(Worker::Zone(None)) };
    /// For the catalogue's cursors, where no zone has a secret for them.
    static CURSORS: RefCell<Option<Rc<CursorKeys>>> = const { RefCell::new(None) };
    /// Whether they are of the file's keys.
    static HAS_KEYS: Cell<bool> = const { Cell::new(false) };
}

/// Starts with the secrets of the configuration, or with the zone's where there are none. Without a zone, cursors are sealed with the
/// `random` secret of the configuration.
pub fn start(secrets: &[Secret], random: &[u8; 32]) {
    let kept = CursorKeys::derived(secrets.iter().map(Secret::expose));
    CURSORS.set(kept.or_else(|| CursorKeys::derived([&random[..]])).map(Rc::new));
    HAS_KEYS.set(!secrets.is_empty());
    let kept = SigningKeys::new(secrets.iter().map(Secret::expose));
    WORKER.set(kept.map_or(Worker::Zone(None), |keys| Worker::RequestBytes(Rc::new(keys))));
}

/// The keys of the catalogue's cursors: those of the file, of which several machines read each other's; else the zone's, which outlive
/// a reload. `None` where there are none to be had.
pub fn cursor_keys() -> Option<Rc<CursorKeys>> {
    if let (false, Some(secret)) = (HAS_KEYS.get(), cache::token_secret()) {
        return CursorKeys::derived([&secret[..]]).map(Rc::new);
    }
    CURSORS.with_borrow(Option::clone)
}

/// The keys; `None` where there are none to be had.
pub fn keys() -> Option<Rc<SigningKeys>> {
    WORKER.with_borrow_mut(|worker| match worker {
        Worker::RequestBytes(keys) => Some(Rc::clone(keys)),
        Worker::Zone(made) => {
            let secret = cache::token_secret()?;
            match made {
                Some((of, keys)) if *of == secret => Some(Rc::clone(keys)),
                _ => {
                    let keys = Rc::new(SigningKeys::derived(&secret)?);
                    *made = Some((secret, Rc::clone(&keys)));
                    Some(keys)
                }
            }
        }
    })
}
