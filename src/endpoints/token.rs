//! `registry_auth_token`: the token endpoint.
//!
//! `access` finds out who the user is, by what [`request`] reads, and what `granting` allows; the content
//! handler then signs that. Nothing that it answers may be kept by anybody between.

use registry_auth::token::{Audience, Authorization, Issue, REFRESH_LIFE, TokenKind, TokenRequest, sign};
use registry_auth::{Access, Denial};
use serde::Serialize;

use crate::conf::{MAX_FORM, Settings, TokenEndpoint};
use crate::ffi::body::{Taken, Taker};
use crate::ffi::content::{Answer, Content};
use crate::ffi::event;
use crate::ffi::request::Request;
use crate::request::context::Context;
use crate::request::identity::Identity;
use crate::worker::token_keys;

/// What the client asks for; `None` while the body is not there that says it.
///
/// A body is read whatever comes of it, and taken: what is left unread, nginx would send on where an
/// `error_page` leads. `form` is what has been taken of it while it came.
pub fn request(
    request: &mut Request,
    form: Option<Taken>,
    settings: &Settings,
) -> Result<Option<TokenRequest>, Denial> {
    if !request.has_read_body() && (request.has_body() || request.method() == b"POST") {
        return Ok(None);
    }
    // Where another module has read it before, nothing has come since.
    let read_before = request.take_body(MAX_FORM);
    let body = form.map_or(read_before, Taken::whole).ok_or_else(too_large)?;
    let service = settings.bearer.as_ref().map_or("", |bearer| &bearer.service);
    match request.method() {
        b"GET" | b"HEAD" => TokenRequest::from_query(request.args(), service).map(Some),
        b"POST" if request.authorization().is_some() => Err(Denial::bad_token_request(
            "a form and an Authorization header are one too many",
        )),
        b"POST" => {
            let content_type = request.headers(b"content-type").next().unwrap_or_default();
            TokenRequest::from_form(content_type, &body, service).map(Some)
        }
        _ => Err(Denial::unsupported()),
    }
}

fn too_large() -> Denial {
    Denial::bad_token_request("the form is too large")
}

/// Takes forms while they come.
pub struct Forms;

impl Taker for Forms {
    fn taken<T>(request: &mut Request, f: impl FnOnce(&mut Taken) -> T) -> Option<T> {
        let taken = request.existing_context::<Context, _>(|_, context| context.form().map(f));
        taken.flatten()
    }
}

/// The endpoint's answer (distribution `docs/spec/auth/token.md` and `oauth.md`: each client reads one of the
/// two names).
#[derive(Serialize)]
struct Issued<'t> {
    token: &'t str,
    access_token: &'t str,
    expires_in: u64,
    issued_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

/// The endpoint.
pub struct Token;

impl Content for Token {
    fn answer(request: &mut Request) -> Result<Answer, u16> {
        let issued = request.existing_context::<Context, _>(|request, context| {
            // In a subrequest: what was granted to the request itself was not asked for here.
            if !context.is_about(request) {
                return None;
            }
            issue(request, context, Settings::of(request)?)
        });
        // Without a sender the request came past the gate.
        let body = issued.flatten().ok_or(403_u16)?;
        Ok(Answer {
            status: 200,
            content_type: "application/json".into(),
            headers: vec![
                ("Cache-Control", b"no-store".to_vec()),
                ("Pragma", b"no-cache".to_vec()),
            ],
            body,
        })
    }
}

/// Signs what was granted.
fn issue(request: &Request, context: &Context, settings: &Settings) -> Option<Vec<u8>> {
    let (identity, asked) = (context.identity(request)?, context.token_request()?);
    let (endpoint, bearer) = (settings.token.as_ref()?, settings.bearer.as_ref()?);
    let keys = token_keys::keys()?;
    let now = event::unix_seconds();
    let nothing = Access::default();
    let signed = |kind, access, expires| {
        let audience = Audience {
            kind,
            prefix: &settings.space.prefix,
            service: &bearer.service,
        };
        let issue = Issue {
            user: identity.user(),
            state: identity.state(kind).ok()?,
            access_token: identity.access_token(),
            access,
            now,
            expires,
        };
        sign(&keys, &audience, &issue)
    };
    let token = signed(TokenKind::Access, context.granted()?, now + endpoint.ttl)?;
    let refresh_token = if wants_refresh(identity, asked, endpoint, now) {
        Some(signed(TokenKind::Refresh, &nothing, now + REFRESH_LIFE)?)
    } else {
        None
    };
    let issued = Issued {
        token: &token,
        access_token: &token,
        expires_in: endpoint.ttl,
        issued_at: event::rfc3339(request.thread()),
        refresh_token,
    };
    serde_json::to_vec(&issued).ok()
}

/// Whether a refresh token goes with it: to a user whose client wants one, and again to one whose own is half
/// used up. Not where the key goes with the zone: clients would forget the password for a token that a
/// restart of nginx makes void.
fn wants_refresh(identity: &Identity, asked: &TokenRequest, endpoint: &TokenEndpoint, now: u64) -> bool {
    let is_old = match (&asked.authorization, identity.credential().token()) {
        (Authorization::Refresh(_), Some(signed)) => signed.claims.expires < now + REFRESH_LIFE / 2,
        _ => false,
    };
    let is_first = asked.is_offline && !matches!(asked.authorization, Authorization::Refresh(_));
    endpoint.is_key_kept && identity.user().is_some() && (is_first || is_old)
}
