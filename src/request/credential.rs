//! Who a request claims to come from, and by what that is to be proven.

use std::rc::Rc;

use registry_auth::codec::State;
use registry_auth::heap::allocated;
use registry_auth::token::{Claims, Kind, Refused, SigningKeys};
use registry_auth::{Denial, TokenDigest, UserNameBuf};

/// A claim that is not yet verified.
#[derive(Clone)]
pub struct Claim {
    /// The user; `None` is the anonymous.
    pub user: Option<UserNameBuf>,
    /// What proves it.
    pub by: By,
}

/// What proves a claim.
#[derive(Clone)]
pub enum By {
    /// A password; or nothing, where there is no user.
    Password,
    /// An access token, sent as a password. Boxed, as it is rare and large.
    AccessToken(Box<TokenDigest>),
    /// A token of the token endpoint, whose signature is right.
    Token(Rc<Signed>),
}

/// A token whose signature is right.
pub struct Signed {
    /// What it says.
    pub claims: Claims,
    /// What for.
    pub kind: Kind,
    /// For which service.
    pub service: Box<str>,
    /// The keys that have verified it.
    pub keys: Rc<SigningKeys>,
}

/// What a token has to be for.
#[derive(Clone, Copy)]
pub struct Expected<'s> {
    /// What for.
    pub kind: Kind,
    /// For which service.
    pub service: &'s str,
    /// Whether the request goes on with an upload, which is let finish.
    pub is_upload: bool,
}

impl Claim {
    /// That of the anonymous.
    pub const ANONYMOUS: Self = Self {
        user: None,
        by: By::Password,
    };

    /// Whether both claim the same, by what is the same.
    pub fn matches(&self, other: &Self) -> bool {
        let by = match (&self.by, &other.by) {
            (By::Password, By::Password) => true,
            (By::AccessToken(one), By::AccessToken(other)) => one == other,
            (By::Token(one), By::Token(other)) => Rc::ptr_eq(one, other),
            _ => false,
        };
        by && self.user == other.user
    }

    /// The bytes that it takes elsewhere than in its own place.
    pub fn size(&self) -> usize {
        // Short names stand in their place.
        let user = self.user.as_ref().map_or(0, |user| match user.as_str().len() {
            0..=23 => 0,
            length => allocated(length + 2 * size_of::<usize>()),
        });
        let by = match &self.by {
            By::Password => 0,
            By::AccessToken(_) => allocated(size_of::<TokenDigest>()),
            By::Token(signed) => {
                allocated(size_of::<Signed>() + 2 * size_of::<usize>())
                    + allocated(signed.service.len())
                    + signed.claims.size()
            }
        };
        user + by
    }

    /// The token that it is made by.
    pub fn token(&self) -> Option<&Signed> {
        match &self.by {
            By::Token(signed) => Some(signed),
            By::Password | By::AccessToken(_) => None,
        }
    }

    /// The refusal of who does not prove it: in the words of what was tried.
    pub fn refuted(&self) -> Denial {
        match &self.by {
            By::Token(_) => Denial::invalid_token("the account of the token is locked or gone"),
            By::Password | By::AccessToken(_) => Denial::bad_credentials(),
        }
    }
}

impl Signed {
    /// A token was verified once, and may come again: elsewhere, or later (in seconds since 1970).
    pub fn check(&self, expected: Expected<'_>, now: u64) -> Result<(), Refused> {
        if self.kind != expected.kind || *self.service != *expected.service {
            return Err(Refused::Invalid);
        }
        self.claims.check_end(now, expected.is_upload)
    }

    /// Whether the account of its user is in the state in which it was issued.
    pub fn is_of(&self, prefix: &str, state: State) -> bool {
        self.claims.is_of(&self.keys, prefix, state)
    }
}
