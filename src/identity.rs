//! Who asks, and what is known of them: what the store or the zone said, kept for the request and, by `memo`, for the next ones.
//!
//! Invariant: it holds a user only after that user's password was verified. Never changed once made.

use std::sync::Arc;

use registry_auth::codec::RecordRef;
use registry_auth::{InvalidRecord, UserName, UserNameBuf};
use registry_auth_redis::Space;

/// What is known of the sender of a request.
pub struct Identity {
    /// Whose accounts were asked.
    pub space: Arc<Space>,
    /// The verified user; `None` is the anonymous.
    pub user: Option<UserNameBuf>,
    /// The user's encoded record; nothing for the anonymous.
    pub record: Arc<[u8]>,
    /// The encoded record of the default backends; `None` where the user's own record names some.
    pub defaults: Option<Arc<[u8]>>,
}

impl Identity {
    /// Whether this was found out about that user, in this space.
    pub fn is(&self, user: Option<UserName<'_>>, space: &Arc<Space>) -> bool {
        let same = self.user.as_ref().map(UserNameBuf::as_name) == user;
        same && Arc::ptr_eq(&self.space, space)
    }

    /// The user's record.
    pub fn record(&self) -> Result<RecordRef<'_>, InvalidRecord> {
        match self.user {
            Some(_) => RecordRef::decode(&self.record),
            None => Ok(RecordRef::EMPTY),
        }
    }

    /// The record whose backends are to be used.
    pub fn backends(&self) -> Result<RecordRef<'_>, InvalidRecord> {
        let own = self.record()?;
        match &self.defaults {
            Some(defaults) if !own.has_peers() => RecordRef::decode(defaults),
            _ => Ok(own),
        }
    }

    /// The bytes that it takes, about.
    pub fn size(&self) -> usize {
        let defaults = self.defaults.as_ref().map_or(0, |defaults| defaults.len());
        size_of::<Self>() + 64 + self.record.len() + defaults
    }
}
