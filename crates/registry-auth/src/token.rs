//! Tokens of the token endpoint: JSON web tokens (RFC 7519) that name a user, what the token was issued for,
//! and its end.
//!
//! Issued and verified by the nginx module, with its clock and keys. A token is good for no more than its
//! owner's current record allows: it is bound to the secrets in that record ([`bound_to`]), and `policy`
//! reads the record each time. Guarantees: HS256 only, whatever the header of a token says (`jws`
//! knows nothing else, and no header but our own is even parsed); time, issuer and audience are checked
//! in one place, [`verify`].

pub mod access_token;
mod jws;
mod request;

pub use request::{Authorization, TokenRequest};

use crate::codec::{AccountState, RecordRef, TokenRef};
use crate::name::{UserName, UserNameBuf};
use crate::resource::{Access, ResourceActions};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 8192;
/// The largest [`Access::size`] of a token, in bytes. In base64, with a name and all else, such a token takes
/// no more than [`MAX_TOKEN`], nor than the 8 KiB of nginx's buffer for a header.
pub const MAX_ACCESS: usize = 5000;
/// The shortest life of a token, in seconds. Clients read a shorter one as a minute (distribution
/// `docs/spec/auth/token.md`).
pub const MIN_LIFE: u64 = 60;
/// The longest life of an access token for the registry, in seconds.
pub const MAX_LIFE: u64 = 86_400;
/// The life of a refresh token, in seconds.
pub const REFRESH_LIFE: u64 = 90 * 86_400;
/// Seconds for which an upload may go on after the end of its token.
pub const UPLOAD_GRACE: u64 = 86_400;
/// Seconds by which the clocks of two machines may differ.
const SKEW: u64 = 60;

/// The keys that tokens are signed with: the first one signs, all of them verify. They cannot be printed.
pub struct SigningKeys(Vec<Key>);

type Key = Zeroizing<Box<[u8]>>;

impl SigningKeys {
    /// The keys of these secrets; `None` where there are none.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Option<Self> {
        let keys: Vec<Key> = secrets
            .into_iter()
            .map(|secret| Key::new(secret.into()))
            .collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// One key, derived from a secret that is used for other purposes too.
    pub fn derived(secret: &[u8; 32]) -> Option<Self> {
        let derived = derived(secret, b"registry_auth_token_key")?;
        Self::new([&derived[..]])
    }

    /// What tells that a new hash of a user's password has taken the place of this stored one, so that tokens
    /// which were signed with the first key stay valid ([`Claims::is_of`]). The mark shows nothing of the old
    /// hash, which is weak and quick to guess at, to anybody without the key.
    pub fn mark(&self, prefix: &str, user: &str, stored: &str) -> Option<[u8; 16]> {
        let key = self.0.first()?;
        renewed(
            key,
            &account(key, prefix, user, AccountState::of(stored.as_bytes()))?,
        )
    }
}

/// What a token is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Requests to the registry.
    Access,
    /// Asking the token endpoint for another token.
    Refresh,
}

impl TokenKind {
    /// The issuer: one for each kind and prefix, so that no token is taken for one of another kind or prefix.
    fn issuer(self, prefix: &str) -> String {
        let kind = match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        };
        format!("registry-auth/{kind}/{prefix}")
    }

    fn longest(self) -> u64 {
        match self {
            Self::Access => MAX_LIFE,
            Self::Refresh => REFRESH_LIFE,
        }
    }
}

/// Where a token may be used.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// The kind of the token.
    pub kind: TokenKind,
    /// The prefix of the keys in Redis: each prefix has its own users.
    pub prefix: &'a str,
    /// The service: the audience of the token.
    pub service: &'a str,
}

/// The content of a token that is to be issued.
#[derive(Clone, Copy)]
pub struct Issue<'a> {
    /// The owner; `None` is the anonymous.
    pub user: Option<UserName<'a>>,
    /// The state of the user's account.
    pub state: AccountState,
    /// The id of the access token that the client sent, if it sent one.
    pub access_token: Option<&'a str>,
    /// What it is issued for.
    pub access: &'a Access,
    /// Now, in seconds since 1970.
    pub now: u64,
    /// Its end, in seconds since 1970.
    pub expires: u64,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum TokenError {
    /// It was not issued here, or not for this use.
    Invalid,
    /// It has expired.
    Expired,
}

impl TokenError {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "the token is not valid",
            Self::Expired => "the token has expired",
        }
    }
}

/// The content of a verified token. It describes the time when the token was issued: see [`Claims::is_of`].
pub struct Claims {
    /// The owner; `None` is the anonymous.
    pub user: Option<UserNameBuf>,
    /// What it was issued for.
    pub access: Access,
    /// The id of the access token for which it was issued, if any.
    pub access_token: Option<Box<str>>,
    /// Its end, in seconds since 1970.
    pub expires: u64,
    account: Box<str>,
    /// The index of the key that verified it.
    key: usize,
}

/// The claims as JSON. No other claim is accepted: it might restrict the token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    iss: Box<str>,
    aud: Box<str>,
    /// Empty for the anonymous.
    sub: Box<str>,
    exp: u64,
    nbf: u64,
    access: Vec<ResourceActions>,
    /// The tag of the state of the account, see [`account`].
    acc: Box<str>,
    /// The id of an access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tok: Option<Box<str>>,
}

/// Signs a token. `None` only where it cannot be written as JSON.
pub fn sign(keys: &SigningKeys, audience: &Audience<'_>, issue: &Issue<'_>) -> Option<String> {
    let key = keys.0.first()?;
    let user = issue.user.map_or("", |user| user.as_str());
    let body = Body {
        iss: audience.kind.issuer(audience.prefix).into(),
        aud: audience.service.into(),
        sub: user.into(),
        exp: issue.expires,
        nbf: issue.now,
        access: issue.access.to_entries(),
        acc: account(key, audience.prefix, user, issue.state)?,
        tok: issue.access_token.map(Box::from),
    };
    jws::sign(key, &body)
}

/// Verifies a token for an audience, at the time `now` in seconds since 1970. `is_upload`: the request
/// continues an upload, which may be finished after the end of the token ([`UPLOAD_GRACE`]).
///
/// # Errors
/// [`TokenError`]: the token is not valid here, or has expired.
pub fn verify(
    keys: &SigningKeys,
    audience: &Audience<'_>,
    token: &[u8],
    now: u64,
    is_upload: bool,
) -> Result<Claims, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Invalid);
    }
    let keys = keys.0.iter().map(|key| &key[..]);
    let (key, body) = jws::verify::<Body>(keys, token).ok_or(TokenError::Invalid)?;
    if *body.iss != *audience.kind.issuer(audience.prefix) || *body.aud != *audience.service {
        return Err(TokenError::Invalid);
    }
    if body.nbf > now.saturating_add(SKEW) || body.exp > now.saturating_add(audience.kind.longest() + SKEW) {
        return Err(TokenError::Invalid);
    }
    let user = match &*body.sub {
        "" => None,
        name => Some(
            UserName::parse(name.as_bytes())
                .map_err(|_| TokenError::Invalid)?
                .to_owned(),
        ),
    };
    let claims = Claims {
        user,
        access: Access::from_entries(&body.access).ok_or(TokenError::Invalid)?,
        access_token: body.tok,
        expires: body.exp,
        account: body.acc,
        key,
    };
    claims.check_end(now, is_upload)?;
    Ok(claims)
}

impl Claims {
    /// About how many bytes of memory they have allocated.
    pub fn size(&self) -> usize {
        let texts = self.account.len() + self.access_token.as_ref().map_or(0, |id| id.len());
        self.access.room() + texts + 3 * 16
    }

    /// Checks that the token has not expired at the time `now`, in seconds since 1970. For an upload it
    /// expires later.
    ///
    /// # Errors
    /// [`TokenError::Expired`].
    pub fn check_end(&self, now: u64, is_upload: bool) -> Result<(), TokenError> {
        let grace = if is_upload { UPLOAD_GRACE } else { 0 };
        match now < self.expires.saturating_add(grace) {
            true => Ok(()),
            false => Err(TokenError::Expired),
        }
    }

    /// Whether the account is in the state in which the token was issued, or the gate itself has since put a
    /// better hash of the same password in the place of the one that was stored then.
    pub fn is_of(&self, keys: &SigningKeys, prefix: &str, state: AccountState) -> bool {
        let user = self.user.as_ref().map(UserNameBuf::as_name);
        let user = user.as_ref().map_or("", |user| user.as_str());
        let Some(key) = keys.0.get(self.key) else {
            return false;
        };
        let tag = account(key, prefix, user, state);
        let is_issued = tag.is_some_and(|tag| tag.as_bytes().ct_eq(self.account.as_bytes()).into());
        is_issued || renewed(key, &self.account).is_some_and(|mark| mark.ct_eq(&state.0).into())
    }
}

/// What a token of this kind is bound to: the password in its owner's record and, if it is issued for an
/// access token, that one's secret. So an access token of the same id with another secret does not keep the
/// token valid. A refresh token that was issued for an access token is bound to the access token only, and a
/// new password does not end it; the tokens that it is exchanged for are bound to both.
pub fn bound_to(kind: TokenKind, record: &RecordRef<'_>, token: Option<&TokenRef<'_>>) -> AccountState {
    match (kind, token) {
        (_, None) => record.state(),
        (TokenKind::Access, Some(token)) => record.state().and(token.state()),
        (TokenKind::Refresh, Some(token)) => token.state(),
    }
}

/// The tag of the state of an account in a token: half of an HMAC. It shows nothing of the state to the owner
/// of the token.
fn account(key: &Key, prefix: &str, user: &str, state: AccountState) -> Option<Box<str>> {
    // No text that is signed begins like this, and neither name contains a NUL byte.
    let parts: [&[u8]; 6] = [
        b"account\0",
        prefix.as_bytes(),
        b"\0",
        user.as_bytes(),
        b"\0",
        &state.0,
    ];
    let mac = jws::mac(key, &parts)?;
    let half: &[u8; 16] = mac.first_chunk()?;
    Some(URL_SAFE_NO_PAD.encode(half).into())
}

/// The mark of a hash that has taken the place of the one of which tokens have this tag. Only the holder of
/// the key can make it, though everybody can read the tag in a token.
fn renewed(key: &Key, account: &str) -> Option<[u8; 16]> {
    let mac = jws::mac(key, &[b"renewed\0", account.as_bytes()])?;
    mac.first_chunk().copied()
}

/// A key for one purpose, derived from a secret that is used for other purposes too.
pub(crate) fn derived(secret: &[u8], purpose: &[u8]) -> Option<[u8; 32]> {
    jws::mac(secret, &[purpose])
}
