//! Who asks: a verified user (or nobody) with the records that speak for it.
//!
//! Made by the nginx module from what the store or the cache holds, read by `policy`. Invariant, kept by the caller:
//! `user` is set only once its password was verified.

use crate::codec::{RecordRef, Scopes};
use crate::name::UserName;
use crate::resource::Access;

/// The sender of a request.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The verified user; `None` is the anonymous.
    pub user: Option<UserName<'a>>,
    /// The user's own record; [`RecordRef::EMPTY`] for the anonymous.
    pub record: RecordRef<'a>,
    /// The records of the user's groups in their order, `public` last. The anonymous has `public` only.
    pub groups: &'a [RecordRef<'a>],
    /// What the credential is good for at most, whatever its owner may do.
    pub limits: Limits<'a>,
}

/// What a credential is good for at most. A password is good for everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits<'a> {
    /// Of the access token, from the live record.
    pub access_token: Option<Scopes<'a>>,
    /// Of the token of the token endpoint.
    pub token: Option<&'a Access>,
}

impl Subject<'_> {
    /// Nobody, without any right.
    pub const ANONYMOUS: Subject<'static> = Subject {
        user: None,
        record: RecordRef::EMPTY,
        groups: &[],
        limits: Limits {
            access_token: None,
            token: None,
        },
    };

    /// The same, whatever the token of the token endpoint is good for: which token may be issued, and what a catalogue shows, does
    /// not depend on it.
    #[must_use]
    pub fn beside_token(self) -> Self {
        let limits = Limits {
            token: None,
            ..self.limits
        };
        Self { limits, ..self }
    }
}
