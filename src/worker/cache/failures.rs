//! Failed logins: which clients may not log in any more, and logins under way.
//!
//! Called by `access` for requests with a password. A request that finds its sender remembered takes no lock
//! here as long as nobody of the client's network is blocked.

use std::sync::Arc;

use registry_auth::{Network, UserNameBuf};
use registry_auth_cache::failures::{may_any_be_blocked, may_be_blocked};
use registry_auth_cache::{
    Attempt, Cache, FailureLimits, LoginKeys, LoginResult, Reservation, SecretKeys, Tag, WiderNetwork,
};
use registry_auth_lookup::Keyspace;

use super::key::{Key, entry, write_failures_key};
use super::{with_cache, with_worker_zone};
use crate::ffi::event;
use crate::ffi::request::Request;
use crate::ffi::shm::Locked;

/// A login whose password is being verified: whoever holds it says once, by [`Login::finish`], what it has
/// come to. Else it counts as one that is under way until its period is over.
#[must_use]
pub struct Login {
    whose: Whose,
    tag: Tag,
    reservation: Reservation,
    limit: FailureLimits,
}

/// A client who logs in as a user.
struct Whose {
    space: Arc<Keyspace>,
    user: UserNameBuf,
    network: Network,
}

/// Whether any client at all is blocked: nearly always nobody is, and then there is nothing more to be asked.
#[inline]
pub fn is_anybody_blocked() -> bool {
    with_cache(|ours| may_any_be_blocked(|offset| ours.options.zone.peek(offset)).then_some(())).is_some()
}

/// Seconds for which this client has to wait before its password of this tag for this user is looked at.
#[inline]
pub fn wait_for(
    request: &Request,
    space: &Arc<Keyspace>,
    user: &UserNameBuf,
    tag: Option<Tag>,
    limit: FailureLimits,
) -> Option<u32> {
    with_cache(|ours| {
        let peek = |offset| ours.options.zone.peek(offset);
        let network = request.network();
        let [inner, outer] = network.wider();
        may_be_blocked(peek, |index| {
            ours.keys.hash(match index {
                0 => network.as_bytes(),
                1 => inner,
                _ => outer,
            })
        })
        .then_some(())
    })?;
    look(request, space, user, tag, limit)
}

#[cold]
fn look(
    request: &Request,
    space: &Arc<Keyspace>,
    user: &UserNameBuf,
    tag: Option<Tag>,
    limit: FailureLimits,
) -> Option<u32> {
    Whose::of(request, space, user)
        .with(|cache, who| cache.wait_for(who, tag, limit, event::now()))?
        .map(seconds)
}

/// Begins a login with the password of this tag; or says for how many seconds this client has to wait. `None`
/// where there is nothing to count in.
pub fn begin(
    request: &Request,
    space: &Arc<Keyspace>,
    user: &UserNameBuf,
    tag: Tag,
    limit: FailureLimits,
) -> Result<Option<Login>, u32> {
    let whose = Whose::of(request, space, user);
    match whose.with(|cache, who| cache.begin_login(who, tag, limit, event::now())) {
        Some(Attempt::Wait(left)) => Err(seconds(left)),
        Some(Attempt::Allowed(reservation)) => Ok(Some(Login {
            whose,
            tag,
            reservation,
            limit,
        })),
        None => Ok(None),
    }
}

/// Counts a password of this tag that is known to be wrong.
pub fn count_failure(
    request: &Request,
    space: &Arc<Keyspace>,
    user: &UserNameBuf,
    tag: Tag,
    limit: FailureLimits,
) {
    Whose::of(request, space, user).with(|cache, who| cache.count_failure(who, tag, limit, event::now()));
}

impl Login {
    /// Counts what it has come to.
    pub fn finish(self, result: LoginResult) {
        let Self {
            whose,
            tag,
            reservation,
            limit,
        } = self;
        whose.with(|cache, who| cache.finish_login(who, tag, reservation, result, limit, event::now()));
    }
}

impl Whose {
    fn of(request: &Request, space: &Arc<Keyspace>, user: &UserNameBuf) -> Self {
        Self {
            space: Arc::clone(space),
            user: user.clone(),
            network: request.network(),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Cache<'_, Locked<'_>>, &LoginKeys<'_>) -> T) -> Option<T> {
        with_worker_zone(|keys: &SecretKeys, cache| {
            let (mut user, mut address) = (Key::new(), Key::new());
            write_failures_key(
                &mut user,
                &self.space.prefix,
                self.user.as_str(),
                self.network.as_bytes(),
            );
            write_failures_key(&mut address, &self.space.prefix, "", self.network.as_bytes());
            let who = LoginKeys {
                user: entry(keys, &user),
                address: entry(keys, &address),
                network: keys.hash(self.network.as_bytes()),
                wider: self.network.wider().map(|wider| {
                    let mut key = Key::new();
                    write_failures_key(&mut key, &self.space.prefix, "", wider);
                    WiderNetwork {
                        key: keys.hash(&key),
                        network: keys.hash(wider),
                    }
                }),
            };
            f(cache, &who)
        })
    }
}

fn seconds(milliseconds: u64) -> u32 {
    u32::try_from(milliseconds.div_ceil(1000)).unwrap_or(u32::MAX)
}
