//! What a worker process has for all requests: the store, the zone's cache, counters, keys, and limits of
//! what is logged and of how long lists are read. All of it is one [`state::Worker`]; here is the order in
//! which its parts start and stop.

use crate::conf::{Main, StoreOptions};
use crate::ffi::event::NginxThread;

pub mod cache;
pub mod counters;
pub mod limited_log;
mod process;
pub mod state;
pub mod store;
pub mod token_keys;
pub mod totals;
pub mod turns;
pub mod usage;

/// Starts what this configuration needs.
///
/// # Errors
/// The store could not be started: then nothing but the keys of tokens has been.
pub fn start(thread: NginxThread, main: &Main) -> Result<(), String> {
    let Some(options) = main.store_options() else {
        return Ok(());
    };
    if let Some(usage) = main.usage() {
        usage::start(thread, usage, options.prefixes.len() > 1);
    }
    if !main.has_gate() {
        // Nobody is to be asked, and so there is no store; but the zone's counters may be shown.
        if main.has_status() {
            start_zone(thread, &options);
        }
        return Ok(());
    }
    token_keys::start(main.token_keys(), main.cursor_secret());
    let keys = token_keys::for_store(main.token_keys(), options.cache.as_ref());
    store::start(thread, &options, keys.filter(|_| options.rehash))?;
    limited_log::start(thread);
    turns::start(thread);
    start_zone(thread, &options);
    Ok(())
}

fn start_zone(thread: NginxThread, options: &StoreOptions) {
    if let Some(cache) = &options.cache {
        cache::start(cache.clone(), options.source());
        totals::start(thread);
    }
}

/// Stops all of it, after the last that the other workers need of this one: the counters before the store,
/// which has some of them, and before the zone, which gets them; the store's threads are joined.
pub fn stop() {
    totals::stop();
    usage::stop();
    store::leave();
    store::stop();
    limited_log::stop();
    turns::stop();
    cache::stop();
    token_keys::stop();
}
