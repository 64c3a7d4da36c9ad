//! Authentication before anything is asked: which credential a header or a form presents, and whether this
//! worker has verified it before.
//!
//! Called by `access`, which has unverified credentials verified. Invariant: a token that was verified for
//! one operation is checked again for each other ([`check`]); only passwords and access tokens are good for
//! all.

use std::cell::RefCell;
use std::rc::Rc;

use registry_auth::credentials::{self, Buffer, Credentials};
use registry_auth::token::{Audience, TokenError, verify};
use registry_auth::{BearerToken, Denial, TokenDigest, UserNameBuf};
use registry_auth_redis::Secret;

use crate::conf::Settings;
use crate::ffi::event;
use crate::ffi::request::Request;
use crate::request::credential::{Credential, Expected, Proof, VerifiedToken};
use crate::request::identity::Identity;
use crate::request::operation::Operation;
use crate::worker::cache::{self, Header, Tags};
use crate::worker::token_keys;

thread_local! {
    /// Where credentials are decoded to: one for all requests, since clearing 3 KiB for each would cost more
    /// than deciding it.
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
}

/// What is known of a request's user before the zone or the store is asked.
pub enum Authentication {
    /// This worker has verified the header before, and that still holds.
    Cached(Rc<Identity>),
    /// Not verified yet.
    Unverified(PresentedCredentials),
    /// An access token as a Bearer token, which names no user: it is to be found out whose it is.
    Ownerless(Box<TokenDigest>),
}

/// What a request presents, not verified.
pub struct PresentedCredentials {
    /// The user and the kind of proof.
    pub credential: Credential,
    /// The password, where it had to be decoded to read the user's name.
    pub password: Option<Secret>,
    /// The keyed hashes of what was sent, where there is a zone.
    pub tags: Option<Tags>,
    /// Whether the user is only the last known owner of an access token that was sent without a name. Where
    /// the zone knows that the token is in that user's record, the request is that user's; else Redis is
    /// asked whose the token is.
    pub is_guess: bool,
}

impl PresentedCredentials {
    /// Those of a request that presents none.
    pub const NOBODY: Self = Self {
        credential: Credential::ANONYMOUS,
        password: None,
        tags: None,
        is_guess: false,
    };

    /// Those of a request whose Bearer token is an access token, with the user to whom the token belongs.
    pub fn of_owner(
        request: &Request,
        settings: &Settings,
        user: UserNameBuf,
        digest: Box<TokenDigest>,
        is_guess: bool,
    ) -> Self {
        let tags = || {
            let header = request.authorization()?;
            let token = credentials::bearer(header)?;
            Some(Tags {
                header: cache::tag(&settings.space, header)?,
                // The same as if user and token came by Basic: the zone keeps one for both.
                credential: cache::password_tag(&settings.space, user.as_str(), token)?,
            })
        };
        let tags = tags();
        Self {
            credential: Credential {
                user: Some(user),
                proof: Proof::AccessToken(digest),
            },
            password: None,
            tags,
            is_guess,
        }
    }
}

/// Reads the credentials of a request, unless this worker knows its header.
pub fn authenticate(
    request: &Request,
    settings: &Settings,
    operation: &Operation<'_>,
) -> Result<Authentication, Denial> {
    let sent = match operation.form() {
        // An access token is no refresh token, though from here on the two would look alike.
        Some(form) if operation.is_refresh() && is_by_access_token(form) => {
            return Err(Denial::invalid_token(TokenError::Invalid.as_str()));
        }
        Some(form) => Some(form),
        None => request.authorization(),
    };
    let header = match sent {
        // Is not the same as none, of which this is the tag.
        Some(b"") => return Err(Denial::bad_credentials()),
        None if !operation.is_for_anybody(settings) => return Err(Denial::unauthenticated()),
        sent => sent.unwrap_or_default(),
    };
    let tag = match cache::header(&settings.space, header) {
        Some((_, Header::Known(identity))) => {
            check(identity.credential(), operation, settings)?;
            return Ok(Authentication::Cached(identity));
        }
        Some((tag, Header::Past(identity))) => {
            check(identity.credential(), operation, settings)?;
            let credential = identity.credential().clone();
            let is_by_token = matches!(credential.proof, Proof::AccessToken(_));
            return Ok(Authentication::Unverified(PresentedCredentials {
                credential,
                password: None,
                is_guess: is_by_token && credentials::bearer(header).is_some(),
                tags: Some(Tags {
                    header: tag,
                    credential: identity.tag(),
                }),
            }));
        }
        Some((tag, Header::Unread)) => Some(tag),
        None => None,
    };
    read(sent, header, tag.map(Tags::from), operation, settings)
}

/// Whether a Bearer header holds what begins as an access token.
fn is_by_access_token(header: &[u8]) -> bool {
    let token = credentials::bearer(header).map(BearerToken::of);
    matches!(token, Some(BearerToken::AccessToken(_) | BearerToken::Malformed))
}

/// Decodes what was sent: `header`, which is empty where nothing was sent.
#[cold]
fn read(
    sent: Option<&[u8]>,
    header: &[u8],
    mut tags: Option<Tags>,
    operation: &Operation<'_>,
    settings: &Settings,
) -> Result<Authentication, Denial> {
    let token = credentials::bearer(header).map(BearerToken::of);
    match (token, operation.expected(settings)) {
        (Some(BearerToken::AccessToken(digest)), _) => {
            return Ok(Authentication::Ownerless(Box::new(digest)));
        }
        (Some(BearerToken::Malformed), _) => return Err(Denial::bad_credentials()),
        (Some(BearerToken::Signed(token)), Some(expected)) => {
            return Ok(Authentication::Unverified(PresentedCredentials {
                credential: of_token(token, expected, settings)?,
                password: None,
                tags,
                is_guess: false,
            }));
        }
        // Refused below, as is whatever is no Basic header.
        (Some(BearerToken::Signed(_)), None) | (None, _) => {}
    }
    decoded(sent, |credentials| {
        let (credential, password) = match credentials {
            Credentials::None if !operation.is_for_anybody(settings) => return Err(Denial::unauthenticated()),
            Credentials::None => (Credential::ANONYMOUS, None),
            Credentials::Basic { user, password } => {
                if let Some(tags) = &mut tags {
                    let tag = cache::password_tag(&settings.space, user.as_str(), password.as_bytes());
                    tags.credential = tag.unwrap_or(tags.header);
                }
                let user = Some(user.to_owned());
                match TokenDigest::of(password.as_bytes()) {
                    Some(digest) => (
                        Credential {
                            user,
                            proof: Proof::AccessToken(Box::new(digest)),
                        },
                        None,
                    ),
                    None => {
                        let proof = Proof::Password;
                        (Credential { user, proof }, Some(Secret::new(password.as_bytes())))
                    }
                }
            }
        };
        Ok(Authentication::Unverified(PresentedCredentials {
            credential,
            password,
            tags,
            is_guess: false,
        }))
    })
}

/// Lends the credentials in a header to `f`, and wipes them.
fn decoded<T>(
    sent: Option<&[u8]>,
    f: impl FnOnce(Credentials<'_>) -> Result<T, Denial>,
) -> Result<T, Denial> {
    BUFFER.with_borrow_mut(|buffer| {
        let result = credentials::parse(sent, buffer).and_then(f);
        buffer.wipe();
        result
    })
}

/// Whether a credential that was verified before may be used for this operation: all but tokens may.
#[inline]
fn check(credential: &Credential, operation: &Operation<'_>, settings: &Settings) -> Result<(), Denial> {
    let Some(signed) = credential.token() else {
        return Ok(());
    };
    let expected = operation.expected(settings).ok_or_else(Denial::bad_credentials)?;
    signed
        .check(expected, event::unix_seconds())
        .map_err(|why| Denial::invalid_token(why.as_str()))
}

/// The credential of a token, whose signature is verified.
fn of_token(token: &[u8], expected: Expected<'_>, settings: &Settings) -> Result<Credential, Denial> {
    let keys = token_keys::keys().ok_or_else(Denial::unavailable)?;
    let audience = Audience {
        kind: expected.kind,
        prefix: &settings.space.prefix,
        service: expected.service,
    };
    let claims = verify(&keys, &audience, token, event::unix_seconds(), expected.is_upload)
        .map_err(|why| Denial::invalid_token(why.as_str()))?;
    Ok(Credential {
        user: claims.user.clone(),
        proof: Proof::Token(Rc::new(VerifiedToken {
            claims,
            kind: expected.kind,
            service: expected.service.into(),
            keys,
        })),
    })
}

/// The password of a header, unless it is known.
pub fn password(sent: Option<&[u8]>, known: Option<Secret>) -> Result<Secret, Denial> {
    if let Some(password) = known {
        return Ok(password);
    }
    decoded(sent, |credentials| match credentials {
        Credentials::Basic { password, .. } => Ok(Secret::new(password.as_bytes())),
        Credentials::None => Err(Denial::unauthenticated()),
    })
}
