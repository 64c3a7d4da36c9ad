//! What an answer was made of: whose data, and in which state.
//!
//! Noted by `lookup` before Redis is asked, and looked at again when the answer is posted.

use crate::messages::Keyspace;
use crate::queue::recent_changes::Key;
use registry_auth::UserNameBuf;
use registry_auth_redis::schema::keys::PUBLIC;
use std::sync::Arc;

/// Whom a lookup is about. The salt of the space plays no role in it.
#[derive(Clone)]
pub(crate) struct LookupKey {
    pub(crate) space: Arc<Keyspace>,
    /// `None`: only the defaults are wanted.
    pub(crate) user: Option<UserNameBuf>,
}

impl LookupKey {
    /// The prefix, and the user's name.
    pub(crate) fn names(&self) -> (&str, Option<&str>) {
        (&self.space.prefix, self.user())
    }

    /// The user's name.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_ref().map(UserNameBuf::as_str)
    }

    /// The user's name; empty where none was asked for.
    pub(crate) fn name(&self) -> &str {
        self.user().unwrap_or_default()
    }
}

/// When something is read: the connection, and the last change before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadMark {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    /// Counts marks, from 1.
    pub(crate) number: u64,
}

impl ReadMark {
    /// Of what was read elsewhere than on a connection that tells what changes.
    pub(crate) fn elsewhere(self) -> Self {
        Self {
            epoch: Self::NO_EPOCH,
            ..self
        }
    }

    /// Later replies are to what was read before.
    pub(crate) fn and(self, later: Self) -> Self {
        match later.epoch {
            Self::NO_EPOCH => self.elsewhere(),
            _ => self,
        }
    }

    const NO_EPOCH: u64 = u64::MAX;
}

/// Which state of which keys an answer was made of: always `P:backends` and `P:group:public` and, where a
/// user was asked for, `P:user:<name>`.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    /// Noted before Redis was asked.
    pub(crate) mark: ReadMark,
    /// And `P:passwords`.
    pub(crate) passwords: bool,
    /// And `P:group:<name>` of these.
    pub(crate) groups: GroupNames,
}

impl Basis {
    /// The keys, of a lookup of this user.
    pub(crate) fn keys<'a>(&'a self, of: &'a LookupKey) -> impl Iterator<Item = Key<'a>> {
        let (prefix, user) = of.names();
        let keys = [
            Some(Key::Backends(prefix)),
            Some(Key::Group(prefix, PUBLIC)),
            user.map(|user| Key::User(prefix, user)),
            self.passwords.then_some(Key::Passwords(prefix)),
        ];
        let groups = self.groups.iter().map(move |group| Key::Group(prefix, group));
        keys.into_iter().flatten().chain(groups)
    }
}

/// The names of one user's groups, in order; most have none.
pub(crate) type GroupNames = Arc<[Box<str>]>;
