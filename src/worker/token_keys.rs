//! The keys that tokens are signed with: those of a file, or a random one that the workers share in the zone.

use std::rc::Rc;

use registry_auth::cursor::CursorKeys;
use registry_auth::token::SigningKeys;
use registry_auth_redis::Secret;

use crate::conf::CacheOptions;
use crate::worker::cache;
use crate::worker::state::{Signing, TokenKeys, WORKER};

/// Starts with the secrets of the configuration, or with the zone's where there are none. Without a zone,
/// cursors are sealed with the `random` secret of the configuration.
pub fn start(secrets: &[Secret], random: &[u8; 32]) {
    let cursors = CursorKeys::derived(secrets.iter().map(Secret::expose));
    let signing = SigningKeys::new(secrets.iter().map(Secret::expose));
    let keys = TokenKeys {
        signing: signing.map_or(Signing::Zone(None), |keys| Signing::Configured(Rc::new(keys))),
        cursors: cursors
            .or_else(|| CursorKeys::derived([&random[..]]))
            .map(Rc::new),
    };
    WORKER.with(|worker| worker.token_keys.replace(keys));
}

/// There are none any more.
pub fn stop() {
    WORKER.with(|worker| worker.token_keys.replace(TokenKeys::NONE));
}

/// The keys of the catalogue's cursors: those of the file, of which several machines read each other's; else
/// the zone's, which outlive a reload. `None` where there are none to be had.
pub fn cursor_keys() -> Option<Rc<CursorKeys>> {
    WORKER.with(|worker| {
        let keys = worker.token_keys.borrow();
        match (&keys.signing, cache::token_secret()) {
            (Signing::Zone(_), Some(secret)) => CursorKeys::derived([&secret[..]]).map(Rc::new),
            (Signing::Zone(_), None) | (Signing::Configured(_), _) => keys.cursors.clone(),
        }
    })
}

/// The keys of tokens; `None` where there are none to be had.
pub fn keys() -> Option<Rc<SigningKeys>> {
    WORKER.with(|worker| match &mut worker.token_keys.borrow_mut().signing {
        Signing::Configured(keys) => Some(Rc::clone(keys)),
        Signing::Zone(made) => {
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

/// The same keys for another thread, before the worker has begun with its zone.
pub fn for_store(secrets: &[Secret], zone: Option<&CacheOptions>) -> Option<SigningKeys> {
    SigningKeys::new(secrets.iter().map(Secret::expose))
        .or_else(|| SigningKeys::derived(&cache::token_secret_of(zone?)?))
}
