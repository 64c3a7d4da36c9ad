//! Who asks, by their own account: what the header, or the form, claims, and what of that the worker remembers.
//!
//! Called by `access`, which has it verified. Invariant: what was verified for one use is looked at again for each other ([`check`]):
//! only a claim by a password is good everywhere.

use std::cell::RefCell;
use std::rc::Rc;

use registry_auth::credentials::{self, Buffer, Credentials};
use registry_auth::token::{verify, Place};
use registry_auth::{Denial, TokenDigest};
use registry_auth_cache::Tag;
use registry_auth_redis::Secret;

use crate::conf::Settings;
use crate::ffi::event;
use crate::ffi::request::Request;
use crate::request::credential::{By, Claim, Expected, Signed};
use crate::request::identity::Identity;
use crate::request::operation::Wanted;
use crate::worker::cache::{self, Header, Tags};
use crate::worker::token_keys;

thread_local! {
    /// Where credentials are decoded to: one for all requests, since clearing 3 KiB for each would cost more than deciding it.
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
}

/// Who asks.
pub enum Sender {
    /// It was verified before, and still holds.
    Known(Rc<Identity>),
    /// By their own account.
    Claims(Who),
}

/// Who asks, by their own account.
pub struct Who {
    /// What they claim.
    pub claim: Claim,
    /// What they say to prove it, where it had to be decoded to learn the name.
    pub password: Option<Secret>,
    /// Stand for what they sent, where there is a zone.
    pub tags: Option<Tags>,
}

impl Who {
    /// The anonymous.
    pub const NOBODY: Self = Self {
        claim: Claim::ANONYMOUS,
        password: None,
        tags: None,
    };
}

/// Who asks: as the worker remembers their header, or as the header says. `remembered` is what [`cache::header`] gave for the header.
pub fn who(
    request: &Request,
    settings: &Settings,
    wanted: &Wanted<'_>,
    remembered: Option<(Tag, Header)>,
) -> Result<Sender, Denial> {
    let (sent, remembered) = match wanted.form() {
        Some(form) => (Some(form), cache::header(&settings.space, form)),
        None => (request.authorization(), remembered),
    };
    let header = match sent {
        // Is not the same as none, of which this is the tag.
        Some(b"") => return Err(Denial::bad_credentials()),
        None if !wanted.is_for_anybody(settings) => return Err(Denial::unauthenticated()),
        sent => sent.unwrap_or_default(),
    };
    let tag = match remembered {
        Some((_, Header::Known(identity))) => {
            check(identity.claim(), wanted, settings)?;
            return Ok(Sender::Known(identity));
        }
        Some((tag, Header::Past(identity))) => {
            check(identity.claim(), wanted, settings)?;
            return Ok(Sender::Claims(Who {
                claim: identity.claim().clone(),
                password: None,
                tags: Some(Tags {
                    header: tag,
                    credential: identity.credential(),
                }),
            }));
        }
        Some((tag, Header::Unread)) => Some(tag),
        None => None,
    };
    read(sent, header, tag.map(Tags::from), wanted, settings).map(Sender::Claims)
}

/// Who asks, as what they sent says: `header`, which is empty where nothing was sent.
#[cold]
fn read(
    sent: Option<&[u8]>,
    header: &[u8],
    mut tags: Option<Tags>,
    wanted: &Wanted<'_>,
    settings: &Settings,
) -> Result<Who, Denial> {
    if let (Some(token), Some(expected)) = (credentials::bearer(header), wanted.expected(settings)) {
        return Ok(Who {
            claim: by_token(token, expected, settings)?,
            password: None,
            tags,
        });
    }
    decoded(sent, |credentials| {
        let (claim, password) = match credentials {
            Credentials::None if !wanted.is_for_anybody(settings) => return Err(Denial::unauthenticated()),
            Credentials::None => (Claim::ANONYMOUS, None),
            Credentials::Basic { user, password } => {
                if let Some(tags) = &mut tags {
                    let tag = cache::password_tag(&settings.space, user.as_str(), password.as_bytes());
                    tags.credential = tag.unwrap_or(tags.header);
                }
                let user = Some(user.to_owned());
                match TokenDigest::of(password.as_bytes()) {
                    Some(digest) => (
                        Claim {
                            user,
                            by: By::AccessToken(Box::new(digest)),
                        },
                        None,
                    ),
                    None => {
                        let by = By::Password;
                        (Claim { user, by }, Some(Secret::new(password.as_bytes())))
                    }
                }
            }
        };
        Ok(Who {
            claim,
            password,
            tags,
        })
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

/// Whether a claim that was made before may be made here: all but those by tokens may.
#[inline]
fn check(claim: &Claim, wanted: &Wanted<'_>, settings: &Settings) -> Result<(), Denial> {
    let Some(signed) = claim.token() else {
        return Ok(());
    };
    let expected = wanted.expected(settings).ok_or_else(Denial::bad_credentials)?;
    signed
        .check(expected, event::wall())
        .map_err(|why| Denial::invalid_token(why.as_str()))
}

/// The claim that a token makes.
fn by_token(token: &[u8], expected: Expected<'_>, settings: &Settings) -> Result<Claim, Denial> {
    let keys = token_keys::keys().ok_or_else(Denial::unavailable)?;
    let place = Place {
        kind: expected.kind,
        prefix: &settings.space.prefix,
        service: expected.service,
    };
    let claims = verify(&keys, &place, token, event::wall(), expected.is_upload)
        .map_err(|why| Denial::invalid_token(why.as_str()))?;
    Ok(Claim {
        user: claims.user.clone(),
        by: By::Token(Rc::new(Signed {
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
