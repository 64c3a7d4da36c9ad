//! What the zone says of a user with a credential, and what is put there: records and credentials in and out
//! of the lock.

use std::rc::Rc;
use std::sync::Arc;

use registry_auth::codec::RecordRef;
use registry_auth::{InvalidRecord, TokenDigest, UserName, UserNameBuf};
use registry_auth_cache::worker_cache::{Timestamped, Validity};
use registry_auth_cache::{
    Cache, EntryKey, Found, FoundRecord, Freshness, Interner, NewRecord, SecretKeys, Tag,
};
use registry_auth_lookup::{Keyspace, Outcome};
use registry_auth_redis::schema::keys::PUBLIC;
use smallvec::SmallVec;

use super::key::{EntryKind, Key, entry, write_key, write_owner_key};
use super::{Age, Miss, Tags, ZoneAnswer, open};
use crate::ffi::event;
use crate::ffi::shm::Locked;
use crate::request::credential::{Credential, Proof};
use crate::request::identity::{Identity, IdentityError, RecordBytes, Records};
use crate::worker::state::ZoneCache;

impl ZoneCache {
    /// What the zone knows of the user of a credential. `None` where it is not to be asked.
    pub(super) fn find(
        &mut self,
        space: &Arc<Keyspace>,
        credential: &Credential,
        tags: Tags,
        age: Age,
    ) -> Option<ZoneAnswer> {
        let tag = tags.credential;
        let now = event::now();
        let freshness = self.freshness(age, now);
        // Hashed before the lock.
        let mut key = Key::new();
        let name = credential.user.as_ref().map(|user| {
            write_key(&mut key, EntryKind::User, &space.prefix, user.as_str());
            entry(&self.keys, &key)
        });
        let zone = self.options.zone.clone();
        let mut zone = zone.lock()?;
        let mut cache = open(&mut zone)?;
        if !cache.has_keys(&self.keys) {
            // The zone was set up anew: it holds nothing, and what comes next is hashed by its keys.
            self.adopt(&mut cache);
            return None;
        }
        if !cache.is_bound_to(self.source) {
            // A reload has given the zone to workers of another configuration.
            return None;
        }
        let missed = |cache: &Cache<'_, Locked<'_>>| {
            let verified = name
                .filter(|_| matches!(credential.proof, Proof::Password))
                .and_then(|name| cache.find_once_verified(name, tag));
            let record = verified.and_then(|known| RecordRef::decode(cache.record_bytes(known)).ok());
            Miss {
                mark: cache.mark(),
                tags,
                verified: record.map(|record| record.hash_state()),
            }
        };
        if age == Age::Fresh && !self.trusted {
            return Some(ZoneAnswer::Miss(missed(&cache)));
        }
        let found = name.map(|name| find_verified(&mut cache, name, credential, tag, freshness));
        let record = match found {
            None => None,
            Some(Found::Verified(record)) => Some(record),
            Some(Found::Wrong) => return Some(ZoneAnswer::Wrong),
            Some(Found::Missing | Found::Unverified) => return Some(ZoneAnswer::Miss(missed(&cache))),
        };
        let generations = cache.generations();
        let in_zone = record.map(|record| cache.refer(record)).unwrap_or_default();
        let known = known(
            (&self.keys, &mut self.interner),
            &mut cache,
            space,
            credential,
            record,
            freshness,
        );
        let miss = match known {
            // What is missing is somebody else's.
            Err(IdentityError::Record | IdentityError::Defaults) => Some(missed(&cache)),
            _ => None,
        };
        drop(zone);
        let KnownIdentity {
            mut identity,
            mut expires,
            unshared,
        } = match known {
            Ok(known) => known,
            Err(IdentityError::Denied(denial)) => return Some(ZoneAnswer::Denied(denial)),
            Err(IdentityError::Record | IdentityError::Defaults) => return miss.map(ZoneAnswer::Miss),
        };
        if let Some(end) = identity.expires() {
            expires = expires.min(now.saturating_add(event::milliseconds_until(end)));
        }
        if age == Age::Fresh {
            let size = identity.size() + unshared;
            let validity = Validity::new(tags.header, now, generations, expires, size);
            validity.refer_to(in_zone);
            identity.set_validity(validity, tag);
            self.worker_cache.insert(Rc::clone(&identity));
        }
        Some(ZoneAnswer::Known(identity))
    }

    /// Notes in the zone that this worker still uses what it has in its own memory about a user. `false`
    /// where something has changed, or the zone has the record no more.
    pub(super) fn note_use(&self, identity: &Identity) -> bool {
        let Some(mut zone) = self.options.zone.lock() else {
            return false;
        };
        open(&mut zone).is_some_and(|mut cache| cache.note_use(identity.validity(), event::now()))
    }

    /// Whether what this worker has in its own memory about a user is still what the zone says. If so, the
    /// worker may go by it for another while. That takes a lock, but neither copies nor decodes a record.
    pub(super) fn confirm(&self, space: &Keyspace, identity: &Identity) -> bool {
        // The anonymous have no record of their own.
        let Some(user) = identity.user() else {
            return false;
        };
        let now = event::now();
        let mut key = Key::new();
        write_key(&mut key, EntryKind::User, &space.prefix, user.as_str());
        let name = entry(&self.keys, &key);
        let Some(mut zone) = self.options.zone.lock() else {
            return false;
        };
        let Some(mut cache) = open(&mut zone) else {
            return false;
        };
        if !cache.has_keys(&self.keys) || !cache.is_bound_to(self.source) {
            return false;
        }
        let found = find_verified(
            &mut cache,
            name,
            identity.credential(),
            identity.tag(),
            Freshness::Fresh(now),
        );
        let Found::Verified(record) = found else {
            return false;
        };
        cache.confirm(record, identity.record_bytes(), identity.validity(), now)
    }

    /// Whose an access token was the last time.
    pub(super) fn token_owner(
        &self,
        space: &Keyspace,
        digest: &TokenDigest,
        age: Age,
    ) -> Option<UserNameBuf> {
        if age == Age::Fresh && !self.trusted {
            return None;
        }
        let freshness = self.freshness(age, event::now());
        let mut key = Key::new();
        write_owner_key(&mut key, &space.prefix, digest);
        let owner = entry(&self.keys, &key);
        let mut zone = self.options.zone.lock()?;
        let mut cache = open(&mut zone)?;
        if !cache.has_keys(&self.keys) || !cache.is_bound_to(self.source) {
            return None;
        }
        let found = cache.find_record(owner, freshness)?;
        let name = UserName::parse(cache.record_bytes(found)).ok()?;
        Some(name.to_owned())
    }

    /// Keeps whose an access token is said to be.
    pub(super) fn put_token_owner(&self, space: &Keyspace, digest: &TokenDigest, user: &UserNameBuf) {
        let now = event::now();
        let mut key = Key::new();
        write_owner_key(&mut key, &space.prefix, digest);
        let owner = entry(&self.keys, &key);
        let Some(mut zone) = self.options.zone.lock() else {
            return;
        };
        let Some(mut cache) = open(&mut zone) else { return };
        if self.trusted && cache.has_keys(&self.keys) && cache.is_bound_to(self.source) {
            let expires = now.saturating_add(self.options.ttl);
            cache.put_record(owner, user.as_str().as_bytes(), expires, now);
        }
    }

    fn freshness(&self, age: Age, now: u64) -> Freshness {
        match age {
            Age::Fresh => Freshness::Fresh(now),
            Age::Stale => Freshness::Stale {
                now,
                max_stale: self.options.stale,
            },
        }
    }

    /// Keeps what the store answered to a request that had missed.
    pub(super) fn put(&self, space: &Keyspace, credential: &Credential, miss: &Miss, outcome: &Outcome) {
        // All that takes long is done before the lock.
        let known = match outcome {
            Outcome::Known { user: record, .. } => match self.sealed(record) {
                Ok(sealed) => Some(sealed),
                Err(InvalidRecord) => return,
            },
            Outcome::Unknown | Outcome::Anonymous { .. } => None,
            // It is not known whether there is such a user: so none is remembered, nor, for whoever has a
            // record, that it was wrong.
            Outcome::NoToken => return,
            Outcome::Owner(_) => return,
            Outcome::Busy | Outcome::Unavailable | Outcome::BadRecord => return,
        };
        let Some(shared) = shared(&space.prefix, outcome) else {
            return;
        };
        let mut user_key = Key::new();
        let user_entry = credential.user.as_ref().map(|user| {
            write_key(&mut user_key, EntryKind::User, &space.prefix, user.as_str());
            entry(&self.keys, &user_key)
        });

        let now = event::now();
        let expires = now.saturating_add(self.options.ttl);
        let Some(mut zone) = self.options.zone.lock() else {
            return;
        };
        let Some(mut cache) = open(&mut zone) else { return };
        let is_ours = cache.has_keys(&self.keys) && cache.is_bound_to(self.source);
        if !self.trusted || !is_ours || !cache.is_current(&miss.mark) {
            return;
        }
        for (key, record) in &shared {
            let key = entry(&self.keys, key);
            if cache.is_unchanged(key, &miss.mark) {
                cache.put_record(key, record, expires, now);
            }
        }
        let Some(name) = user_entry.filter(|name| cache.is_unchanged(*name, &miss.mark)) else {
            return;
        };
        // Who has no record might be in there.
        let is_from_passwords = match outcome {
            Outcome::Known { from_passwords, .. } => *from_passwords,
            _ => true,
        };
        if is_from_passwords && !cache.has_same_passwords(&miss.mark) {
            return;
        }
        match (&known, outcome) {
            (
                Some((record, binding)),
                Outcome::Known {
                    verified,
                    from_passwords,
                    ..
                },
            ) => {
                let new = NewRecord {
                    record,
                    binding: *binding,
                    from_passwords: *from_passwords,
                    tag: miss.tags.credential,
                    verified: credential.token().is_none().then_some(*verified),
                    expires,
                };
                cache.put_user(name, &new, now);
            }
            _ => cache.put_unknown_user(name, miss.tags.credential, expires, now),
        }
    }
}

impl ZoneCache {
    /// A record as it is kept, without the stored password, and what credentials are bound to.
    fn sealed(&self, record: &[u8]) -> Result<(Vec<u8>, Tag), InvalidRecord> {
        let (mut sealed, mut credentials) = (Vec::with_capacity(record.len()), Vec::new());
        RecordRef::decode(record)?.seal(&mut sealed)?;
        // Of the sealed one, in which the digest of the password stands.
        RecordRef::decode(&sealed)?.write_credentials(&mut credentials);
        Ok((sealed, self.keys.tag(&credentials)))
    }
}

/// What the zone says of a user and a credential. A token was verified by this worker, by its signature.
fn find_verified(
    cache: &mut Cache<'_, Locked<'_>>,
    user: EntryKey<'_>,
    credential: &Credential,
    tag: Tag,
    freshness: Freshness,
) -> Found {
    match credential.proof {
        Proof::Password | Proof::AccessToken(_) => cache.find_user(user, tag, freshness),
        Proof::Token(_) => cache.find_preverified_user(user, tag, freshness),
    }
}

/// What the zone knows of somebody.
struct KnownIdentity {
    identity: Rc<Identity>,
    /// Until when, in milliseconds.
    expires: u64,
    /// The bytes of the copies in it that nobody else has.
    unshared: usize,
}

/// What the zone knows of a verified user with this record, or of the anonymous. What it lacks is a miss.
fn known(
    (keys, interner): (&SecretKeys, &mut Interner),
    cache: &mut Cache<'_, Locked<'_>>,
    space: &Arc<Keyspace>,
    credential: &Credential,
    record: Option<FoundRecord>,
    freshness: Freshness,
) -> Result<KnownIdentity, IdentityError> {
    let (mut expires, mut unshared) = (u64::MAX, 0);
    let own = match record {
        Some(record) => {
            expires = record.expires;
            RecordBytes::from(cache.record_bytes(record))
        }
        None => RecordBytes::NONE,
    };
    let mut key = Key::new();
    let mut shared_record = |kind, name: &str| -> Option<Arc<[u8]>> {
        write_key(&mut key, kind, &space.prefix, name);
        let entry = entry(keys, &key);
        let found = cache.find_record(entry, freshness)?;
        expires = expires.min(found.expires);
        let copy = interner.intern(entry.hash, cache.record_bytes(found));
        unshared += copy.unshared;
        Some(copy.record)
    };
    let mut groups = SmallVec::new();
    if credential.user.is_some() {
        for name in RecordRef::decode(own.as_ref())?.groups() {
            groups.push(shared_record(EntryKind::Group, name?).ok_or(IdentityError::Record)?);
        }
    }
    groups.push(shared_record(EntryKind::Group, PUBLIC).ok_or(IdentityError::Record)?);
    let records = Records { own, groups };
    // Whether the request will want a backend is not known yet: who has no others needs the defaults.
    let identity = Identity::new(space, credential.clone(), records, event::unix_seconds(), || {
        shared_record(EntryKind::Defaults, "")
    })?;
    Ok(KnownIdentity {
        identity,
        expires,
        unshared,
    })
}

/// The keys and records of what concerns others as well: groups, `public`, defaults. `None` where a name
/// cannot be read.
fn shared<'o>(prefix: &str, outcome: &'o Outcome) -> Option<Vec<(Key, &'o [u8])>> {
    let mut shared = Vec::new();
    let mut add = |kind, name: &str, record: &'o [u8]| {
        let mut key = Key::new();
        write_key(&mut key, kind, prefix, name);
        shared.push((key, record));
    };
    if let Outcome::Known { user, groups, .. } = outcome {
        for (name, group) in RecordRef::decode(user).ok()?.groups().zip(groups.iter()) {
            add(EntryKind::Group, name.ok()?, group);
        }
    }
    if let Outcome::Known { public, defaults, .. } | Outcome::Anonymous { public, defaults } = outcome {
        add(EntryKind::Group, PUBLIC, public);
        if let Some(defaults) = defaults {
            add(EntryKind::Defaults, "", defaults);
        }
    }
    Some(shared)
}
