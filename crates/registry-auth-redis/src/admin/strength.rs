//! How good a stored hash is, by its form and cost, without computing it.

use registry_auth::password::Form;

pub(super) enum Rating {
    Good,
    /// Guessed fast if it leaks.
    Weak(&'static str),
    /// Verifies nothing.
    Unusable(&'static str),
}

pub(super) fn rate(stored: &str) -> Rating {
    if stored == "!" {
        return Rating::Good;
    }
    match Form::of(stored) {
        None => Rating::Unusable("its form is not known"),
        Some(Form::Legacy) => Rating::Weak("SHA-1 of the 2014 gate"),
        Some(Form::Sha) => Rating::Weak("SHA-1 without salt"),
        Some(Form::SaltedSha) => Rating::Weak("one round of SHA-1"),
        Some(Form::Apr1) => Rating::Weak("a thousand rounds of MD5"),
        Some(_) => Rating::Good,
    }
}
