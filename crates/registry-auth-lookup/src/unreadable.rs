//! What the log says of keys that cannot be read: one line for each key and minute, without any secret of it.

use redis::ServerError;
use registry_auth_redis::connection::open::said;
use registry_auth_redis::log::{Level, Log};
use registry_auth_redis::schema::keys::KeyNames;

/// Logs that a key cannot be read, why, what that means for users, and what to do.
pub(crate) fn log_bad(log: &Log, key: &str, why: &str) {
    let message = format!(
        "record {key} cannot be read: {why}; requests that need it are refused (503) until it is repaired: \
         registry-authctl check lists all that is wrong"
    );
    log.write_once(key, Level::Error, &message);
}

/// Logs that a backend of a key was skipped.
pub(crate) fn log_skipped(log: &Log, key: &str, backend: &str) {
    log.write_once(
        &format!("{key} backends"),
        Level::Error,
        &format!("record {key}: the backend {backend} is neither host:port nor host, and is skipped"),
    );
}

/// Logs that Redis does not answer a question.
pub(crate) fn log_refused(log: &Log, error: &ServerError) {
    let message = format!("Redis refuses: {}", said(error));
    let hint = match error.code() {
        "NOPERM" => "; the Redis user of nginx lacks a right: registry-authctl check with its URL says which",
        _ => "",
    };
    log.write_once(error.code(), Level::Error, &format!("{message}{hint}"));
}

/// The key that holds the user's password hash, and its field where that is named after the user.
pub(crate) fn hash_key(prefix: &str, user: &str, own_password: bool) -> String {
    if own_password {
        KeyNames::new(prefix).user(user)
    } else {
        format!("{} (field {user})", KeyNames::new(prefix).passwords())
    }
}
