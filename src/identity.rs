//! Who asks, and what is known of them: what the store or the zone said, kept for the request and, by `memo`, for the next ones.
//!
//! Invariant: it holds a user only after that user's password was verified. Never changed once made.

use std::sync::Arc;

use registry_auth::codec::RecordRef;
use registry_auth::{InvalidRecord, Subject, UserName, UserNameBuf};
use registry_auth_redis::Space;
use smallvec::SmallVec;

/// Groups whose records are looked at without an allocation.
const FEW: usize = 4;

/// What is known of the sender of a request.
pub struct Identity {
    /// Whose accounts were asked.
    space: Arc<Space>,
    /// The verified user; `None` is the anonymous.
    user: Option<UserNameBuf>,
    /// The user's encoded record; nothing for the anonymous.
    record: Arc<[u8]>,
    /// The encoded records of those groups that grant or deny something, in the user's order, `public` last.
    groups: Box<[Arc<[u8]>]>,
    /// The encoded record whose backends are to be used; `None` where nobody names any.
    backends: Option<Arc<[u8]>>,
}

/// What an [`Identity`] is made of.
pub struct Records {
    /// The user's; empty for the anonymous.
    pub own: Arc<[u8]>,
    /// Those of the groups, in the user's order, `public` last.
    pub groups: SmallVec<[Arc<[u8]>; FEW]>,
}

impl Identity {
    /// Puts together what was found out about a user, or about the anonymous. Backends are the user's own, else those of the first
    /// group that has any, else the `defaults`, which are asked for only then; `Ok(None)` where they are not to be had.
    pub fn new(
        space: &Arc<Space>,
        user: Option<UserNameBuf>,
        records: Records,
        defaults: impl FnOnce() -> Option<Arc<[u8]>>,
    ) -> Result<Option<Self>, InvalidRecord> {
        let Records { own, groups } = records;
        let mut backends = match user {
            Some(_) if RecordRef::decode(&own)?.has_peers() => Some(Arc::clone(&own)),
            _ => None,
        };
        let mut telling = Vec::new();
        for group in groups {
            let view = RecordRef::decode(&group)?;
            if backends.is_none() && view.has_peers() {
                backends = Some(Arc::clone(&group));
            }
            if view.has_grants() {
                telling.push(group);
            }
        }
        if backends.is_none() {
            let Some(defaults) = defaults() else {
                return Ok(None);
            };
            if RecordRef::decode(&defaults)?.has_peers() {
                backends = Some(defaults);
            }
        }
        Ok(Some(Self {
            space: Arc::clone(space),
            user,
            record: own,
            groups: telling.into(),
            backends,
        }))
    }

    /// The verified user; `None` is the anonymous.
    pub fn user(&self) -> Option<UserName<'_>> {
        self.user.as_ref().map(UserNameBuf::as_name)
    }

    /// Whether this was found out about that user, in this space.
    pub fn is(&self, user: Option<UserName<'_>>, space: &Arc<Space>) -> bool {
        self.user() == user && Arc::ptr_eq(&self.space, space)
    }

    /// Has `f` decide about the sender.
    pub fn with_subject<T>(&self, f: impl FnOnce(&Subject<'_>) -> T) -> Result<T, InvalidRecord> {
        let record = match self.user {
            Some(_) => RecordRef::decode(&self.record)?,
            None => RecordRef::EMPTY,
        };
        let mut groups = SmallVec::<[RecordRef<'_>; FEW]>::new();
        for group in &self.groups {
            groups.push(RecordRef::decode(group)?);
        }
        Ok(f(&Subject {
            user: self.user(),
            record,
            groups: &groups,
        }))
    }

    /// The encoded record whose backends are to be used; `None` where nobody names any.
    pub fn backends(&self) -> Option<&Arc<[u8]>> {
        self.backends.as_ref()
    }

    /// The bytes that it takes, about.
    pub fn size(&self) -> usize {
        let shared: usize = self
            .groups
            .iter()
            .chain(&self.backends)
            .map(|record| 16 + record.len())
            .sum();
        size_of::<Self>() + 64 + self.record.len() + shared
    }
}
