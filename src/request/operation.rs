//! The operation that a request asks of the gate: to pass to a registry, by a route; or, at the token
//! endpoint, a token.
//!
//! Made by `access` in its first pass; read by `authenticate`, as the operation decides which proofs are
//! accepted.

use std::rc::Rc;

use registry_auth::route::{Need, Route};
use registry_auth::token::{Authorization, TokenKind, TokenRequest};

use crate::conf::Settings;
use crate::ffi::request::Request;
use crate::request::credential::Expected;

/// What a request asks of the gate.
pub enum Operation<'r> {
    /// To let a request of this route pass.
    Registry(Route<'r>),
    /// To issue a token.
    IssueToken(Rc<TokenRequest>),
}

impl Operation<'_> {
    /// Whether a request without credentials may have it, as what is public is, or a token for that. Any
    /// other is challenged.
    pub fn is_for_anybody(&self, settings: &Settings) -> bool {
        match self {
            Self::Registry(route) => match route.need {
                Need::Repository(_) | Need::Existence(_) => true,
                Need::Images(_) => settings.rules.public_images,
                Need::Nothing | Need::Login | Need::Catalog | Need::Search | Need::Unknown(_) => false,
            },
            Self::IssueToken(_) => true,
        }
    }

    /// What a token that is sent with the request must have been issued for; `None` where no token is
    /// accepted.
    pub fn expected<'s>(&self, settings: &'s Settings) -> Option<Expected<'s>> {
        let service = &settings.bearer.as_ref()?.service;
        let kind = match self {
            Self::Registry(_) => TokenKind::Access,
            Self::IssueToken(_) if self.is_refresh() => TokenKind::Refresh,
            // No token gets another one.
            Self::IssueToken(_) => return None,
        };
        Some(Expected {
            kind,
            service,
            is_upload: matches!(self, Self::Registry(route) if route.is_upload),
        })
    }

    /// Whether it is to issue a token in exchange for a refresh token.
    pub fn is_refresh(&self) -> bool {
        matches!(self, Self::IssueToken(asked) if matches!(asked.authorization, Authorization::Refresh(_)))
    }

    /// The same, kept beyond a pass: what a request asks for is read once, also where it waits for the store.
    pub fn into_owned(self) -> Box<Operation<'static>> {
        Box::new(match self {
            Self::Registry(route) => Operation::Registry(route.into_owned()),
            Self::IssueToken(asked) => Operation::IssueToken(asked),
        })
    }

    /// The value of a form in place of the `Authorization` header.
    pub fn form(&self) -> Option<&[u8]> {
        match self {
            Self::IssueToken(asked) => match &asked.authorization {
                Authorization::Basic(header) | Authorization::Refresh(header) => Some(header),
                Authorization::Header => None,
            },
            Self::Registry(_) => None,
        }
    }

    /// The value of the `Authorization` header, or of a form in its place.
    pub fn sent<'s>(&'s self, request: &'s Request) -> Option<&'s [u8]> {
        self.form().or_else(|| request.authorization())
    }
}
