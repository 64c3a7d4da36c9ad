//! The user of a request, and what is known of them: what the store or the zone said, kept for the request
//! and, in the `worker_cache` of `worker::cache`, for the next ones.
//!
//! Invariant: it is made only of a credential that was verified: [`Identity::new`] looks at what the record
//! says of tokens, its callers at the rest. Never changed once made.

use std::rc::Rc;
use std::sync::Arc;

use registry_auth::codec::{AccountState, RecordRef, Scopes, TokenRef};
use registry_auth::heap::allocated;
use registry_auth::token::{TokenKind, bound_to};
use registry_auth::{Denial, InvalidRecord, Limits, Subject, UserName, UserNameBuf};
use registry_auth_cache::Tag;
use registry_auth_cache::worker_cache::{Timestamped, Validity};
use registry_auth_lookup::Keyspace;
use registry_auth_redis::schema::keys::PUBLIC;
use smallvec::SmallVec;

use crate::request::credential::{Credential, Proof};

/// Groups whose records are looked at without an allocation.
const FEW: usize = 4;
/// Bytes of a record that is kept where the rest is: enough for some grants and a backend.
const INLINE: usize = 192;
/// Seconds before its end from which on the owner of an access token is warned.
const WARNING: u64 = 7 * 86_400;

/// What is known of the sender of a request. In the order in which a request that finds it remembered reads
/// it: one user of many is in no cache of the processor's, and what lies together is fetched together.
#[repr(C)]
pub struct Identity {
    /// How long the worker may go by it.
    validity: Validity,
    /// Whose accounts were asked.
    space: Arc<Keyspace>,
    /// Who it is, and by what that was proven.
    credential: Credential,
    /// The access token that was sent, or for which the token was issued that was sent.
    access_token: Option<Box<AccessToken>>,
    /// The encoded records of those groups that grant or deny something, in the user's order, `public` last.
    groups: Box<[Arc<[u8]>]>,
    backends: Backends,
    /// The user's encoded record; nothing for the anonymous.
    record: RecordBytes,
    /// What the zone knows the credential by.
    tag: Tag,
    /// For the log: the places of `groups` among the user's, if another is left out before one of them.
    places: Option<Box<[usize]>>,
}

/// Whose backends are to be used.
enum Backends {
    /// The user's own.
    Own,
    /// Those of this encoded record; `None` where nobody names any.
    Of(Option<Arc<[u8]>>),
}

/// A user's encoded record.
pub enum RecordBytes {
    /// A small one, in place.
    Inline(SmallVec<[u8; INLINE]>),
    /// A large one, or one that is shared already and not to be remembered.
    Shared(Arc<[u8]>),
}

impl RecordBytes {
    /// The anonymous have none.
    pub const NONE: Self = Self::Inline(SmallVec::new_const());
}

impl AsRef<[u8]> for RecordBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Inline(record) => record,
            Self::Shared(record) => record,
        }
    }
}

impl From<Arc<[u8]>> for RecordBytes {
    fn from(record: Arc<[u8]>) -> Self {
        Self::Shared(record)
    }
}

impl From<&[u8]> for RecordBytes {
    fn from(record: &[u8]) -> Self {
        if record.len() <= INLINE {
            Self::Inline(SmallVec::from_slice(record))
        } else {
            Self::Shared(record.into())
        }
    }
}

/// What the record says of an access token.
struct AccessToken {
    id: Box<str>,
    /// Seconds since 1970.
    expires: u64,
    /// As they are encoded.
    scopes: Box<[u8]>,
}

/// What an [`Identity`] is made of.
pub struct Records<O> {
    /// The user's.
    pub own: O,
    /// Those of the groups, in the user's order, `public` last.
    pub groups: SmallVec<[Arc<[u8]>; FEW]>,
}

/// Why there is no [`Identity`].
pub enum IdentityError {
    /// A record cannot be read.
    Record,
    /// The defaults are needed, and not to be had.
    Defaults,
    /// What was sent is not good any more.
    Denied(Denial),
}

impl From<InvalidRecord> for IdentityError {
    fn from(_: InvalidRecord) -> Self {
        Self::Record
    }
}

impl Timestamped for Identity {
    fn validity(&self) -> &Validity {
        &self.validity
    }
}

impl Identity {
    /// Puts together what was found out about a user, or about the anonymous, at this time (seconds since
    /// 1970). Backends are the user's own, else those of the first group that has any, else the `defaults`,
    /// which are asked for only then.
    pub fn new<O: AsRef<[u8]> + Into<RecordBytes>>(
        space: &Arc<Keyspace>,
        credential: Credential,
        records: Records<O>,
        now: u64,
        defaults: impl FnOnce() -> Option<Arc<[u8]>>,
    ) -> Result<Rc<Self>, IdentityError> {
        let Records { own, groups } = records;
        let (mut backends, mut access_token) = (None, None);
        if credential.user.is_some() {
            let view = RecordRef::decode(own.as_ref())?;
            if view.has_peers() {
                backends = Some(Backends::Own);
            }
            access_token = verify_proof(&credential, &view, &space.prefix, now)?;
        }
        let (mut with_grants, mut places) = (Vec::new(), Vec::new());
        for (place, group) in groups.into_iter().enumerate() {
            let view = RecordRef::decode(&group)?;
            if backends.is_none() && view.has_peers() {
                backends = Some(Backends::Of(Some(Arc::clone(&group))));
            }
            if view.has_grants() {
                with_grants.push(group);
                places.push(place);
            }
        }
        let backends = match backends {
            Some(backends) => backends,
            None => {
                let defaults = defaults().ok_or(IdentityError::Defaults)?;
                let are_any = RecordRef::decode(&defaults)?.has_peers();
                Backends::Of(are_any.then_some(defaults))
            }
        };
        Ok(Rc::new(Self {
            validity: Validity::default(),
            space: Arc::clone(space),
            credential,
            access_token,
            groups: with_grants.into(),
            backends,
            record: own.into(),
            tag: Tag::default(),
            places: (!places.iter().copied().eq(0..places.len())).then(|| places.into()),
        }))
    }

    /// Says how long a worker may go by it, and what the zone knows its credential by, unless others refer to
    /// it already.
    pub fn set_validity(self: &mut Rc<Self>, validity: Validity, tag: Tag) {
        if let Some(identity) = Rc::get_mut(self) {
            identity.validity = validity;
            identity.tag = tag;
        }
    }

    /// What the zone knows its credential by.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The verified user; `None` is the anonymous.
    pub fn user(&self) -> Option<UserName<'_>> {
        self.credential.user.as_ref().map(UserNameBuf::as_name)
    }

    /// The credential, which was verified.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Whether this was found out about that credential, in this space.
    pub fn matches(&self, credential: &Credential, space: &Arc<Keyspace>) -> bool {
        self.credential.matches(credential) && self.is_of(space)
    }

    /// The space in which it was found out.
    pub fn space(&self) -> &Arc<Keyspace> {
        &self.space
    }

    /// Whether it was found out in this space.
    pub fn is_of(&self, space: &Arc<Keyspace>) -> bool {
        Arc::ptr_eq(&self.space, space)
    }

    /// Has `f` decide about the sender.
    #[inline]
    pub fn with_subject<T>(&self, f: impl FnOnce(&Subject<'_>) -> T) -> Result<T, InvalidRecord> {
        // With a capacity it would be moved here, with all the room that it has.
        let mut groups = SmallVec::<[RecordRef<'_>; FEW]>::new();
        for group in &self.groups {
            groups.push(RecordRef::decode(group)?);
        }
        Ok(f(&Subject {
            user: self.user(),
            record: self.record()?,
            groups: &groups,
            limits: self.limits(),
        }))
    }

    /// The name of the group whose record is at this index of [`Subject::groups`].
    pub fn group_name(&self, index: usize) -> Option<&str> {
        let place = match &self.places {
            Some(places) => *places.get(index)?,
            None => index,
        };
        match self.record().ok()?.groups().nth(place) {
            Some(name) => name.ok(),
            None => Some(PUBLIC),
        }
    }

    /// The sender's own record, encoded; nothing for the anonymous.
    pub fn record_bytes(&self) -> &[u8] {
        self.record.as_ref()
    }

    /// The sender's own record.
    #[inline]
    pub fn record(&self) -> Result<RecordRef<'_>, InvalidRecord> {
        match self.credential.user {
            Some(_) => RecordRef::decode(self.record.as_ref()),
            None => Ok(RecordRef::EMPTY),
        }
    }

    fn limits(&self) -> Limits<'_> {
        Limits {
            access_token: self
                .access_token
                .as_ref()
                .map(|token| Scopes::from_bytes(&token.scopes)),
            token: self.credential.token().map(|signed| &signed.claims.access),
        }
    }

    /// The id of the access token that it was proven by, at first hand or at second.
    pub fn access_token(&self) -> Option<&str> {
        self.access_token.as_ref().map(|token| &*token.id)
    }

    /// When what it was proven by is good no more, in seconds since 1970.
    pub fn expires(&self) -> Option<u64> {
        let token = self.credential.token().map(|signed| signed.claims.expires);
        let access_token = self.access_token.as_ref().map(|token| token.expires);
        token.into_iter().chain(access_token).min()
    }

    /// What a token of this kind that is issued to the sender is bound to.
    pub fn state(&self, kind: TokenKind) -> Result<AccountState, InvalidRecord> {
        let record = self.record()?;
        let token = match self.access_token() {
            Some(id) => record.token_named(id)?,
            None => None,
        };
        Ok(bound_to(kind, &record, token.as_ref()))
    }

    /// The warning for the owner of an access token whose end is near.
    pub fn warning(&self, now: u64) -> Option<String> {
        let token = self.access_token.as_ref()?;
        if now.saturating_add(WARNING) < token.expires {
            return None;
        }
        let hours = token.expires.saturating_sub(now).div_ceil(3600);
        let left = match hours {
            0..=48 => format!("{hours} hours"),
            hours => format!("{} days", hours / 24),
        };
        // RFC 7234, section 5.5, as the OCI distribution specification wants it.
        Some(format!("299 - \"access token {} expires in {left}\"", token.id))
    }

    /// The encoded record whose backends are to be used; `None` where nobody names any.
    pub fn backends(&self) -> Option<&[u8]> {
        match &self.backends {
            Backends::Own => Some(self.record.as_ref()),
            Backends::Of(record) => record.as_deref(),
        }
    }

    /// The bytes that it takes, but for the records of groups and defaults, which it shares with others.
    pub fn size(&self) -> usize {
        /// What counts an `Rc`'s owners, or an `Arc`'s.
        const COUNTS: usize = 2 * size_of::<usize>();
        let shared = match &self.record {
            RecordBytes::Shared(record) => allocated(COUNTS + record.len()),
            RecordBytes::Inline(_) => 0,
        };
        let access_token = self.access_token.as_ref().map_or(0, |token| {
            allocated(size_of::<AccessToken>()) + allocated(token.id.len()) + allocated(token.scopes.len())
        });
        let places = self
            .places
            .as_ref()
            .map_or(0, |places| allocated(size_of_val(&**places)));
        let groups = allocated(size_of_val(&*self.groups)) + places;
        allocated(COUNTS + size_of::<Self>()) + self.credential.size() + groups + shared + access_token
    }
}

/// Whether the live record bears out the credential. Answers the access token that proves the user, at first
/// hand or by a token that was issued for it, if there is one.
fn verify_proof(
    credential: &Credential,
    record: &RecordRef<'_>,
    prefix: &str,
    now: u64,
) -> Result<Option<Box<AccessToken>>, IdentityError> {
    let found = match &credential.proof {
        Proof::Password => None,
        Proof::AccessToken(digest) => {
            let token = record.token(**digest)?;
            let token = token.ok_or_else(|| IdentityError::Denied(Denial::bad_credentials()))?;
            if token.expires <= now {
                return Err(IdentityError::Denied(Denial::access_token_expired(token.id)));
            }
            Some(token)
        }
        Proof::Token(signed) => {
            let void = |why| IdentityError::Denied(Denial::invalid_token(why));
            if record.is_locked() {
                return Err(IdentityError::Denied(credential.rejection()));
            }
            let token = match &signed.claims.access_token {
                None => None,
                Some(id) => {
                    let token = record.token_named(id)?;
                    Some(token.ok_or_else(|| void("the access token behind the token was revoked"))?)
                }
            };
            if !signed.is_of(prefix, bound_to(signed.kind, record, token.as_ref())) {
                return Err(void(match token {
                    None => "the password has changed since the token was issued",
                    Some(_) => "the password or the access token has changed since the token was issued",
                }));
            }
            if token.is_some_and(|token| token.expires <= now) {
                return Err(void("the access token behind the token has expired"));
            }
            token
        }
    };
    Ok(found.map(|token: TokenRef<'_>| {
        Box::new(AccessToken {
            id: token.id.into(),
            expires: token.expires,
            scopes: token.scopes.as_bytes().into(),
        })
    }))
}
