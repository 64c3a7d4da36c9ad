//! A subject: a verified user, or the anonymous, with the records that grant rights.
//!
//! Made by the nginx module from what the store or the cache holds, read by `policy`. Invariant, kept by the
//! caller: `user` is set only after the credential was verified.

use crate::codec::{RecordRef, Scopes};
use crate::name::UserName;
use crate::resource::Access;

/// The user of a request, or the anonymous, with the records that grant rights.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The verified user; `None` is the anonymous.
    pub user: Option<UserName<'a>>,
    /// The user's own record; [`RecordRef::EMPTY`] for the anonymous.
    pub record: RecordRef<'a>,
    /// The records of the user's groups in their order, `public` last. The anonymous has `public` only.
    pub groups: &'a [RecordRef<'a>],
    /// The limits of the credential: it is good for no more than this, whatever its owner may do.
    pub limits: Limits<'a>,
}

/// The limits of a credential. A password has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits<'a> {
    /// The scopes of the access token, out of the current record.
    pub access_token: Option<Scopes<'a>>,
    /// What the token of the token endpoint was issued for.
    pub token: Option<&'a Access>,
}

impl Subject<'_> {
    /// The anonymous, without any right.
    pub const ANONYMOUS: Subject<'static> = Subject {
        user: None,
        record: RecordRef::EMPTY,
        groups: &[],
        limits: Limits {
            access_token: None,
            token: None,
        },
    };

    /// The same subject without the limits of a token of the token endpoint. Neither which token may be
    /// issued nor what a catalogue shows depends on them.
    #[must_use]
    pub fn beside_token(self) -> Self {
        let limits = Limits {
            token: None,
            ..self.limits
        };
        Self { limits, ..self }
    }
}
