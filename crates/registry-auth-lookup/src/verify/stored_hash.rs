//! What a password is verified against, and what is known of that already.
//!
//! Made by `verdict`, kept by `reply_cache` as long as what is stored stays the same. Invariant: of a
//! password only a keyed tag is kept, and only of one that was right.

use crate::verify::decoy;
use registry_auth::codec::AccountState;
use registry_auth::password;
use registry_auth_redis::Secret;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use std::sync::{Arc, Mutex, PoisonError};

/// What a password is verified against.
pub(crate) enum StoredHash {
    /// The user's, without the `!` of a locked account.
    Own {
        /// The hash.
        text: Box<str>,
        /// Whether the account is locked.
        locked: bool,
        /// The tag of the password that was last right, where the hash is of a fast form.
        right: Mutex<Option<u128>>,
    },
    /// There is none: some other hash is verified for its cost; `None` is the tool's argon2id.
    Decoy(Option<Arc<str>>),
}

impl StoredHash {
    /// What the password of a user is verified against who has this hash stored; `like` is the decoy.
    pub(crate) fn of(password: Option<String>, like: impl FnOnce() -> Option<Arc<str>>) -> Self {
        let Some(stored) = password else {
            return Self::Decoy(like());
        };
        let locked = password::is_locked(&stored);
        match stored.trim_start_matches('!') {
            // An empty text is a hash of no form, not 'no password': it must not fall back to anything.
            // Whatever stands behind the mark of a locked account, the account is locked rather than
            // unreadable.
            bare if locked && password::check(bare).is_err() => Self::Decoy(like()),
            bare => Self::Own {
                text: bare.into(),
                locked,
                right: Mutex::default(),
            },
        }
    }

    /// Whether a password has to go through the hashing pool.
    pub(crate) fn is_slow(&self) -> bool {
        match self {
            Self::Own { text, .. } => password::is_slow(text),
            Self::Decoy(like) => decoy::is_slow(like.as_deref()),
        }
    }

    /// Whether a password need not be hashed again, as it was for `earlier`.
    pub(crate) fn is_settled_by(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Own { text, .. }, Self::Own { text: earlier, .. }) => text == earlier,
            // A decoy is only for its cost, and that has been paid.
            (Self::Decoy(_), _) => true,
            (Self::Own { .. }, Self::Decoy(_)) => false,
        }
    }

    /// Bytes of its text.
    pub(crate) fn len(&self) -> usize {
        self.text().1.map_or(0, str::len)
    }

    /// Whether it is the one that a password was found to be right for.
    pub(crate) fn matches(&self, verified: AccountState) -> bool {
        match self {
            Self::Own { text, .. } => AccountState::of_hash(text.as_bytes()) == verified,
            Self::Decoy(_) => false,
        }
    }

    /// Its text, where it is that of an account that is not locked.
    pub(crate) fn unlocked(&self) -> Option<&str> {
        match self {
            Self::Own {
                text, locked: false, ..
            } => Some(text),
            _ => None,
        }
    }

    /// All that the result of a verification depends on: whether it is the user's own, and the hash.
    pub(crate) fn text(&self) -> (bool, Option<&str>) {
        match self {
            Self::Own { text, .. } => (true, Some(text)),
            Self::Decoy(like) => (false, like.as_deref()),
        }
    }

    /// Whether this is the tag of the password that was last right.
    pub(crate) fn is_right(&self, tag: u128) -> bool {
        match self {
            Self::Own { right, .. } => *right.lock().unwrap_or_else(PoisonError::into_inner) == Some(tag),
            Self::Decoy(_) => false,
        }
    }

    /// The password of this tag was right.
    pub(crate) fn was_right(&self, tag: u128) {
        if let Self::Own { right, .. } = self {
            *right.lock().unwrap_or_else(PoisonError::into_inner) = Some(tag);
        }
    }
}

/// What a slow hash has told about a job's password; still true when the job has to be asked again and the
/// stored hash is the same.
pub(crate) struct HashResult {
    pub(crate) hash: Arc<StoredHash>,
    pub(crate) is_right: bool,
}

/// Tags of passwords.
pub(crate) struct PasswordTags {
    /// Known to nobody.
    key: [u8; 16],
}

impl PasswordTags {
    /// `None` where the system has no random numbers.
    pub(crate) fn new() -> Option<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).ok()?;
        Some(Self { key })
    }

    /// The tag of a password under a salt; only who knows the key can make one.
    pub(crate) fn tag(&self, password: &Secret, salt: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(password.expose());
        hasher.write(salt);
        // Says where the one ends and the other begins.
        hasher.write_usize(salt.len());
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::{PasswordTags, StoredHash};
    use registry_auth_redis::Secret;

    #[test]
    fn a_tag_is_that_of_one_password_under_one_salt() {
        let tags = PasswordTags::new().unwrap();
        let tag = |password: &str, salt: &str| tags.tag(&Secret::new(password.as_bytes()), salt.as_bytes());
        assert_eq!(tag("secret", "s"), tag("secret", "s"));
        for (password, salt) in [
            ("secret", ""),
            ("secrets", ""),
            ("secre", "ts"),
            ("", "secrets"),
            ("Secret", "s"),
        ] {
            assert_ne!(tag(password, salt), tag("secret", "s"), "{password} {salt}");
        }
        let others = PasswordTags::new().unwrap();
        assert_ne!(others.tag(&Secret::new(b"secret"), b"s"), tag("secret", "s"));
        let known = StoredHash::of(Some("x".to_owned()), || None);
        assert!(!known.is_right(tag("secret", "s")));
        known.was_right(tag("secret", "s"));
        assert!(known.is_right(tag("secret", "s")) && !known.is_right(tag("other", "s")));
        let decoy = StoredHash::of(None, || None);
        decoy.was_right(tag("secret", "s"));
        assert!(!decoy.is_right(tag("secret", "s")));
    }
}
