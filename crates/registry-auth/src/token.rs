//! Tokens of the token endpoint: JSON web tokens (RFC 7519) that say who, for what, and until when.
//!
//! Issued and verified by the nginx module; clock and keys are its own. A token is no more than its owner's live record allows: it is
//! bound to the secrets that stand there ([`bound_to`]), and `policy` asks the record each time. Invariants: HS256 only, whatever a header
//! says (the provider below knows nothing else); no header but our own is even parsed; time, issuer and audience are checked in one
//! place, [`verify`].

pub mod access_token;
mod hs256;
mod request;

pub use request::{Authorization, TokenRequest};

use crate::codec::{RecordRef, State, TokenRef};
use crate::name::{UserName, UserNameBuf};
use crate::resource::{Access, Entry};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;

/// Longest token in bytes.
pub const MAX_TOKEN: usize = 8192;
/// Most bytes of what a token is good for ([`Access::size`]): in base64, and with a name and what else it says, no more than
/// [`MAX_TOKEN`] nor than the 8 KiB that nginx reads a header into.
pub const MAX_ACCESS: usize = 5000;
/// Shortest life of a token in seconds: clients take less for a minute (distribution `docs/spec/auth/token.md`).
pub const MIN_LIFE: u64 = 60;
/// Longest life of a token for access in seconds.
pub const MAX_LIFE: u64 = 86_400;
/// Life of a refresh token in seconds.
pub const REFRESH_LIFE: u64 = 90 * 86_400;
/// Seconds for which an upload that has begun may go on after its token's end.
pub const UPLOAD_GRACE: u64 = 86_400;
/// Seconds by which the clocks of several machines may differ.
const SKEW: u64 = 60;

/// `{"typ":"JWT","alg":"HS256"}` and the dot.
const HEADER: &[u8] = b"eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.";

/// The keys that tokens are signed with: the first one signs, all of them verify. They cannot be printed.
pub struct SigningKeys(Vec<Key>);

struct Key {
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl SigningKeys {
    /// Keys of these secrets; `None` where there is none.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Option<Self> {
        hs256::install();
        let keys: Vec<Key> = secrets
            .into_iter()
            .map(|secret| Key {
                signing: EncodingKey::from_secret(secret),
                verifying: DecodingKey::from_secret(secret),
            })
            .collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// One key, derived from a secret that serves something else, too.
    pub fn derived(secret: &[u8; 32]) -> Option<Self> {
        let derived = derived(secret, b"registry_auth_token_key")?;
        Self::new([&derived[..]])
    }
}

/// What a token is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests to the registry.
    Access,
    /// Asking the token endpoint for another one.
    Refresh,
}

impl Kind {
    /// The issuer: one for each kind and prefix, so that no token is taken for one of another kind, or of another's users.
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

/// Where a token is good.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// For what.
    pub kind: Kind,
    /// The prefix of the keys, which says whose users there are.
    pub prefix: &'a str,
    /// The service, the audience.
    pub service: &'a str,
}

/// What a token is to say.
#[derive(Clone, Copy)]
pub struct Issue<'a> {
    /// Whose; `None` is the anonymous.
    pub user: Option<UserName<'a>>,
    /// The state of the user's account.
    pub state: State,
    /// The id of the access token that it is issued for, if it is.
    pub access_token: Option<&'a str>,
    /// What for.
    pub access: &'a Access,
    /// Now, in seconds since 1970.
    pub now: u64,
    /// Its end.
    pub expires: u64,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is none of ours, or not for this.
    Invalid,
    /// It was good once.
    Expired,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "the token is not valid",
            Self::Expired => "the token has expired",
        }
    }
}

/// What a verified token says. It says it of the time when it was issued: see [`Claims::is_of`].
pub struct Claims {
    /// Whose it is; `None` is the anonymous.
    pub user: Option<UserNameBuf>,
    /// What for.
    pub access: Access,
    /// The id of the access token that it was issued for.
    pub access_token: Option<Box<str>>,
    /// Its end, in seconds since 1970.
    pub expires: u64,
    account: Box<str>,
    /// Of the key that verified it.
    key: usize,
}

/// The claims as JSON. Nothing else may be in there: what is not understood might have restricted it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    iss: Box<str>,
    aud: Box<str>,
    /// Empty for the anonymous.
    sub: Box<str>,
    exp: u64,
    nbf: u64,
    access: Vec<Entry>,
    /// Stands for the state of the account.
    acc: Box<str>,
    /// The id of an access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tok: Option<Box<str>>,
}

/// Signs a token; `None` only where it cannot be put into JSON.
pub fn sign(keys: &SigningKeys, place: &Place<'_>, issue: &Issue<'_>) -> Option<String> {
    let key = keys.0.first()?;
    let user = issue.user.map_or("", |user| user.as_str());
    let body = Body {
        iss: place.kind.issuer(place.prefix).into(),
        aud: place.service.into(),
        sub: user.into(),
        exp: issue.expires,
        nbf: issue.now,
        access: issue.access.to_entries(),
        acc: account(key, place.prefix, user, issue.state)?,
        tok: issue.access_token.map(Box::from),
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &body, &key.signing).ok()
}

/// Verifies a token that is to be good at this place and time. `is_upload`: the request goes on with an upload, which may have begun
/// before the token's end, and is let finish ([`UPLOAD_GRACE`]).
pub fn verify(
    keys: &SigningKeys,
    place: &Place<'_>,
    token: &[u8],
    now: u64,
    is_upload: bool,
) -> Result<Claims, Refused> {
    // Ours have this header, to the byte: neither another algorithm nor a key of the sender's own is looked at.
    if token.len() > MAX_TOKEN || !token.starts_with(HEADER) {
        return Err(Refused::Invalid);
    }
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud"]);
    validation.set_issuer(&[place.kind.issuer(place.prefix)]);
    validation.set_audience(&[place.service]);
    // There is no clock in here: it is looked at below.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let decoded = keys.0.iter().enumerate().find_map(|(index, key)| {
        let decoded = jsonwebtoken::decode::<Body>(token, &key.verifying, &validation).ok()?;
        Some((index, decoded.claims))
    });
    let (key, body) = decoded.ok_or(Refused::Invalid)?;
    if body.nbf > now.saturating_add(SKEW) || body.exp > now.saturating_add(place.kind.longest() + SKEW) {
        return Err(Refused::Invalid);
    }
    let user = match &*body.sub {
        "" => None,
        name => Some(
            UserName::parse(name.as_bytes())
                .map_err(|_| Refused::Invalid)?
                .to_owned(),
        ),
    };
    let claims = Claims {
        user,
        access: Access::from_entries(&body.access).ok_or(Refused::Invalid)?,
        access_token: body.tok,
        expires: body.exp,
        account: body.acc,
        key,
    };
    claims.check_end(now, is_upload)?;
    Ok(claims)
}

impl Claims {
    /// The bytes that they take elsewhere than in their own place, about.
    pub fn size(&self) -> usize {
        let texts = self.account.len() + self.access_token.as_ref().map_or(0, |id| id.len());
        self.access.room() + texts + 3 * 16
    }

    /// Whether its time (in seconds since 1970) is not over; that of an upload under way is over later.
    pub fn check_end(&self, now: u64, is_upload: bool) -> Result<(), Refused> {
        let grace = if is_upload { UPLOAD_GRACE } else { 0 };
        match now < self.expires.saturating_add(grace) {
            true => Ok(()),
            false => Err(Refused::Expired),
        }
    }

    /// Whether the account is in the state in which the token was issued.
    pub fn is_of(&self, keys: &SigningKeys, prefix: &str, state: State) -> bool {
        let user = self.user.as_ref().map(UserNameBuf::as_name);
        let user = user.as_ref().map_or("", |user| user.as_str());
        let tag = keys
            .0
            .get(self.key)
            .and_then(|key| account(key, prefix, user, state));
        tag.is_some_and(|tag| tag.as_bytes().ct_eq(self.account.as_bytes()).into())
    }
}

/// What a token of this kind is bound to in its owner's record, where it is issued for an access token in that as well: the password,
/// and the access token's secret, so that one of the same id with another secret does not bear it out. A refresh token that an access
/// token has got is bound to that only, and a new password does not end it: what it is exchanged for ends with both.
pub fn bound_to(kind: Kind, record: &RecordRef<'_>, token: Option<&TokenRef<'_>>) -> State {
    match (kind, token) {
        (_, None) => record.state(),
        (Kind::Access, Some(token)) => record.state().and(token.state()),
        (Kind::Refresh, Some(token)) => token.state(),
    }
}

/// Stands for the state of an account in a token, and tells nothing of it to who has the token: half of an HMAC.
fn account(key: &Key, prefix: &str, user: &str, state: State) -> Option<Box<str>> {
    // No signed text begins like this, and neither name has a NUL.
    let parts: [&[u8]; 6] = [
        b"account\0",
        prefix.as_bytes(),
        b"\0",
        user.as_bytes(),
        b"\0",
        &state.0,
    ];
    let mac = hs256::mac(key.signing.as_bytes(), &parts)?;
    let half: &[u8; 16] = mac.first_chunk()?;
    Some(URL_SAFE_NO_PAD.encode(half).into())
}

/// A key for one purpose, out of a secret that serves others, too.
pub(crate) fn derived(secret: &[u8], purpose: &[u8]) -> Option<[u8; 32]> {
    hs256::mac(secret, &[purpose])
}
