//! A credential: the user whom a request names, and what proves that it comes from that user.
//!
//! Made by `authenticate`, verified by the store or by the zone, kept in an
//! [`crate::request::identity::Identity`].

use std::rc::Rc;

use registry_auth::codec::AccountState;
use registry_auth::heap::allocated;
use registry_auth::token::{Claims, SigningKeys, TokenError, TokenKind};
use registry_auth::{Denial, TokenDigest, UserNameBuf};

/// A user, and what proves that the request comes from that user. By itself it says nothing of whether it was
/// verified.
#[derive(Clone)]
pub struct Credential {
    /// The user; `None` is the anonymous user.
    pub user: Option<UserNameBuf>,
    /// What proves it.
    pub proof: Proof,
}

/// What proves who the user is.
#[derive(Clone)]
pub enum Proof {
    /// A password; or nothing, where there is no user.
    Password,
    /// An access token, sent as a password or alone. Boxed, as it is rare and large.
    AccessToken(Box<TokenDigest>),
    /// A token of the token endpoint, whose signature is right.
    Token(Rc<VerifiedToken>),
}

/// A token of the token endpoint whose signature is right.
pub struct VerifiedToken {
    /// Its claims.
    pub claims: Claims,
    /// Whether it is an access or a refresh token.
    pub kind: TokenKind,
    /// The service that it was issued for.
    pub service: Box<str>,
    /// The keys that have verified it.
    pub keys: Rc<SigningKeys>,
}

/// What a token must have been issued for.
#[derive(Clone, Copy)]
pub struct Expected<'s> {
    /// The kind of token.
    pub kind: TokenKind,
    /// The service.
    pub service: &'s str,
    /// Whether the request continues an upload, which may still be finished when the token has ended.
    pub is_upload: bool,
}

impl Credential {
    /// The credential of a request that sends none.
    pub const ANONYMOUS: Self = Self {
        user: None,
        proof: Proof::Password,
    };

    /// Whether both name the same user and the same kind of proof: tokens are compared, passwords are not.
    pub fn matches(&self, other: &Self) -> bool {
        let is_same_proof = match (&self.proof, &other.proof) {
            (Proof::Password, Proof::Password) => true,
            (Proof::AccessToken(one), Proof::AccessToken(other)) => one == other,
            (Proof::Token(one), Proof::Token(other)) => Rc::ptr_eq(one, other),
            _ => false,
        };
        is_same_proof && self.user == other.user
    }

    /// The bytes that it takes on the heap.
    pub fn size(&self) -> usize {
        // Short names stand in their place.
        let user = self.user.as_ref().map_or(0, |user| match user.as_str().len() {
            0..=23 => 0,
            length => allocated(length + 2 * size_of::<usize>()),
        });
        let proof = match &self.proof {
            Proof::Password => 0,
            Proof::AccessToken(_) => allocated(size_of::<TokenDigest>()),
            Proof::Token(token) => {
                allocated(size_of::<VerifiedToken>() + 2 * size_of::<usize>())
                    + allocated(token.service.len())
                    + token.claims.size()
            }
        };
        user + proof
    }

    /// The token of the token endpoint that proves the user, if one does.
    pub fn token(&self) -> Option<&VerifiedToken> {
        match &self.proof {
            Proof::Token(token) => Some(token),
            Proof::Password | Proof::AccessToken(_) => None,
        }
    }

    /// The denial of a request whose proof is wrong, in the words of what was sent.
    pub fn rejection(&self) -> Denial {
        match &self.proof {
            Proof::Token(_) => Denial::invalid_token("the account of the token is locked or gone"),
            Proof::Password | Proof::AccessToken(_) => Denial::bad_credentials(),
        }
    }
}

impl VerifiedToken {
    /// Checks a token that was verified before and is sent again, perhaps elsewhere, and later: `now` is in
    /// seconds since 1970.
    pub fn check(&self, expected: Expected<'_>, now: u64) -> Result<(), TokenError> {
        if self.kind != expected.kind || *self.service != *expected.service {
            return Err(TokenError::Invalid);
        }
        self.claims.check_end(now, expected.is_upload)
    }

    /// Whether the account of its user is in the state in which the token was issued.
    pub fn is_of(&self, prefix: &str, state: AccountState) -> bool {
        self.claims.is_of(&self.keys, prefix, state)
    }
}
