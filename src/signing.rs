//! The keys that tokens are signed with: those of a file, or a random one that the workers share in the zone.

use std::cell::RefCell;
use std::rc::Rc;

use registry_auth::token::Keys;
use registry_auth_redis::Secret;

use crate::cache;

/// What this worker signs and verifies with.
enum Worker {
    /// The configuration's keys.
    Kept(Rc<Keys>),
    /// The zone's, and what they were made of: a zone that is set up anew has others.
    Zone(Option<([u8; 32], Rc<Keys>)>),
}

thread_local! {
    static WORKER: RefCell<Worker> = const { RefCell::new(Worker::Zone(None)) };
}

/// Starts with the secrets of the configuration, or with the zone's where there are none.
pub fn start(secrets: &[Secret]) {
    let kept = Keys::new(secrets.iter().map(Secret::expose));
    WORKER.set(kept.map_or(Worker::Zone(None), |keys| Worker::Kept(Rc::new(keys))));
}

/// The keys; `None` where there are none to be had.
pub fn keys() -> Option<Rc<Keys>> {
    WORKER.with_borrow_mut(|worker| match worker {
        Worker::Kept(keys) => Some(Rc::clone(keys)),
        Worker::Zone(made) => {
            let secret = cache::token_secret()?;
            match made {
                Some((of, keys)) if *of == secret => Some(Rc::clone(keys)),
                _ => {
                    let keys = Rc::new(Keys::derived(&secret)?);
                    *made = Some((secret, Rc::clone(&keys)));
                    Some(keys)
                }
            }
        }
    })
}
