//! What a request wants of the gate: to pass, by a route; or, at the token endpoint, a token.
//!
//! Called by `access`, and by `authenticate`, as what is wanted decides what may prove who asks.

use std::rc::Rc;

use registry_auth::route::{Need, Route};
use registry_auth::token::{Authorization, Kind, TokenRequest};
use registry_auth::Denial;

use crate::conf::Settings;
use crate::ffi::request::Request;
use crate::request::context::Context;
use crate::request::credential::Expected;
use crate::request::route::route_of;

/// What is wanted of the gate.
pub enum Wanted<'r> {
    /// To let a request of this route pass.
    Route(Route<'r>),
    /// To issue a token.
    Token(Rc<TokenRequest>),
}

impl Wanted<'_> {
    /// Whether somebody may get it without saying who they are: what is public, or a token for that. For anything else they are
    /// asked.
    pub fn is_for_anybody(&self, settings: &Settings) -> bool {
        match self {
            Self::Route(route) => match route.need {
                Need::Repository(_) | Need::Existence(_) => true,
                Need::Images(_) => settings.rules.public_images,
                Need::Nothing | Need::Login | Need::Catalog | Need::Search | Need::Unknown(_) => false,
            },
            Self::Token(_) => true,
        }
    }

    /// What a token has to be for that is sent with the request; `None` where none is accepted.
    pub fn expected<'s>(&self, settings: &'s Settings) -> Option<Expected<'s>> {
        let service = &settings.bearer.as_ref()?.service;
        let kind = match self {
            Self::Route(_) => Kind::Access,
            Self::Token(asked) if matches!(asked.authorization, Authorization::Refresh(_)) => Kind::Refresh,
            // No token gets another one.
            Self::Token(_) => return None,
        };
        Some(Expected {
            kind,
            service,
            is_upload: matches!(self, Self::Route(route) if route.is_upload),
        })
    }

    /// What a form says in place of a header.
    pub fn form(&self) -> Option<&[u8]> {
        match self {
            Self::Token(asked) => match &asked.authorization {
                Authorization::Basic(header) | Authorization::Refresh(header) => Some(header),
                Authorization::Header => None,
            },
            Self::Route(_) => None,
        }
    }

    /// The value of the header that proves who asks, or what a form says in its place.
    pub fn sent<'s>(&'s self, request: &'s Request) -> Option<&'s [u8]> {
        self.form().or_else(|| request.authorization())
    }
}

/// What the request wants; `content_type` is what [`crate::request::route::content_type`] gave.
pub fn wanted<'r>(
    request: &'r Request,
    content_type: Option<&'r [u8]>,
    context: &mut Context,
    settings: &Settings,
) -> Result<Wanted<'r>, Denial> {
    if let (Some(_), Some(asked)) = (&settings.token, &context.token_request) {
        return Ok(Wanted::Token(Rc::clone(asked)));
    }
    let route = route_of(request, content_type, settings)?;
    context.repository = route
        .repository()
        .and_then(|name| request.keep_own::<Context>(name.as_bytes()));
    context.action = route.action();
    Ok(Wanted::Route(route))
}
