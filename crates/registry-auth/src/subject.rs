//! Who asks: a verified user (or nobody) with the records that speak for it.
//!
//! Made by the nginx module from what the store or the cache holds, read by `policy`. Invariant, kept by the caller:
//! `user` is set only once its password was verified.

use crate::codec::RecordRef;
use crate::name::UserName;

/// The sender of a request.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The verified user; `None` is the anonymous.
    pub user: Option<UserName<'a>>,
    /// The user's own record; [`RecordRef::EMPTY`] for the anonymous.
    pub record: RecordRef<'a>,
    /// The records of the user's groups in their order, `public` last. The anonymous has `public` only.
    pub groups: &'a [RecordRef<'a>],
}

impl Subject<'_> {
    /// Nobody, without any right.
    pub const ANONYMOUS: Subject<'static> = Subject {
        user: None,
        record: RecordRef::EMPTY,
        groups: &[],
    };
}
