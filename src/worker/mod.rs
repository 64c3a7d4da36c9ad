//! What a worker process has for all requests: the store, the zone's cache, counters, keys, and limits of what is logged and read.

pub mod cache;
pub mod counters;
pub mod limited_log;
mod process;
pub mod store;
pub mod token_keys;
pub mod turns;
