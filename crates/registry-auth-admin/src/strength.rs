//! How good a stored hash is, by its form and cost, without computing it.
//!
//! Used by `inspect`. Invariant: what the module refuses is [`Rating::Unusable`], as the
//! module's own check is called; no reason quotes the hash.

use registry_auth::password;

pub(crate) enum Rating {
    Good,
    /// Guessed fast if it leaks.
    Weak(&'static str),
    /// Verifies nothing.
    Unusable(&'static str),
}

pub(crate) fn rate(stored: &str) -> Rating {
    if stored == "!" {
        return Rating::Good;
    }
    match (password::check(stored), password::weakness(stored)) {
        (Err(why), _) => Rating::Unusable(why.why()),
        (Ok(()), Some(why)) => Rating::Weak(why),
        (Ok(()), None) => Rating::Good,
    }
}
