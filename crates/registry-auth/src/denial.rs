//! A denial: a refusal that knows its consequences, such as status, OCI error code, log level and challenge.
//!
//! Made by every other file, sent to the client by the nginx module. Guarantees: each property is one
//! exhaustive match over [`Reason`], so a new reason cannot be forgotten anywhere; no message contains a
//! secret.

use crate::result::RequestResult;
use crate::route::need::Unknown;
use crate::scope::{Action, Scope};
use std::borrow::Cow;
use std::fmt;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No credentials where some are needed.
    Unauthenticated,
    /// Malformed or wrong credentials, an unknown user, a locked account.
    BadCredentials,
    /// A token of the token endpoint that is not valid, or has expired.
    InvalidToken,
    /// A token that is valid, but was not issued for this.
    InsufficientScope,
    /// A verified user without the right, or a function that is turned off.
    Denied,
    /// A request to the token endpoint that is malformed.
    BadTokenRequest,
    /// The path or a name in it is not canonical.
    NameInvalid,
    /// An upload is started with a form as its body, which could smuggle `mount` and `from`.
    FormBody,
    /// `n` or `last` of the catalogue is not valid.
    PaginationNumber,
    /// The registry's catalogue or search results cannot be read, and so cannot be filtered.
    MalformedCatalog,
    /// The registry redirects to another host, which it must not do here.
    ForeignRedirect,
    /// The registry sent something that is not an HTTP answer, or not a final one.
    MalformedAnswer,
    /// The request is on no route of a registry.
    Unsupported,
    /// No registry can have what the path names.
    Unknown(Unknown),
    /// Too many failed logins of this client.
    TooManyFailures {
        /// Seconds until another try makes sense.
        retry_after: u32,
    },
    /// The queue of passwords to be hashed is full.
    HashingBusy,
    /// Too many catalogues and searches are being read at once.
    ListsBusy,
    /// The store cannot be reached or did not answer in time.
    Unavailable,
    /// A record in the store cannot be read.
    BadRecord,
    /// There is no backend for this user, or none that is allowed.
    NoBackend,
    /// The configuration would have nginx answer otherwise than was decided.
    Misconfigured,
}

/// The level of a log line, named as nginx names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Of interest only to those who look for it.
    Info,
    /// Normal, but of interest.
    Notice,
    /// An administrator should look at it.
    Warn,
    /// Something is broken.
    Error,
}

/// A refusal: the reason and a sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The sentence: no secret, and nothing that the client may not know.
    pub message: Cow<'static, str>,
    /// The scope that was asked for, where the right to it is missing.
    wanted: Option<Box<Wanted>>,
}

/// A scope that is not allowed, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    repository: String,
    action: Action,
    /// For the log only: the client may not know the rules of others.
    rule: String,
    /// The group whose name is still to follow there: its index in `Subject::groups`.
    group: Option<usize>,
}

impl Denial {
    /// A denial with a message of its own.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
            wanted: None,
        }
    }

    /// A verified user, or an access token, lacks a right. `rule` says why, for the log only; `group` is the
    /// index of the group that has it, see [`Denial::with_group`].
    pub fn lacks(who: &str, scope: &Scope<'_>, rule: String, group: Option<usize>) -> Self {
        let message = format!("{who} may not {scope}");
        Self {
            wanted: Some(Box::new(Wanted {
                repository: scope.repository.to_string(),
                action: scope.action,
                rule,
                group,
            })),
            ..Self::new(Reason::Denied, message)
        }
    }

    /// Adds to the message what the client could do instead.
    #[must_use]
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.message = format!("{}: {hint}", self.message).into();
        self
    }

    /// Adds to the rule the name of the group that has it, if a group has: `name` answers it by the group's
    /// index in [`Subject::groups`](crate::Subject::groups).
    #[must_use]
    pub fn with_group<'n>(mut self, name: impl FnOnce(usize) -> Option<&'n str>) -> Self {
        if let Some(wanted) = &mut self.wanted
            && let Some(name) = wanted.group.take().and_then(name)
        {
            wanted.rule.push(' ');
            wanted.rule.push_str(name);
        }
        self
    }

    /// The rule that decided, for the log.
    pub fn rule(&self) -> Option<&str> {
        self.wanted.as_ref().map(|wanted| wanted.rule.as_str())
    }

    /// No credentials were sent.
    pub fn unauthenticated() -> Self {
        Self::new(Reason::Unauthenticated, "authentication required")
    }

    /// Credentials were sent and are not valid. The message is the same for each cause, so that it does not
    /// show whether the user exists.
    pub fn bad_credentials() -> Self {
        Self::new(Reason::BadCredentials, "incorrect username or password")
    }

    /// A token is not valid.
    pub fn invalid_token(message: &'static str) -> Self {
        Self::new(Reason::InvalidToken, message)
    }

    /// A token was not issued for this.
    pub fn insufficient_scope(wanted: &str) -> Self {
        Self::new(
            Reason::InsufficientScope,
            format!("the token is not good for this: {wanted}"),
        )
    }

    /// An access token is right, but has expired. Only who has the token learns that.
    pub fn access_token_expired(id: &str) -> Self {
        Self::new(Reason::BadCredentials, format!("access token {id} has expired"))
    }

    /// A request for a token is malformed.
    pub fn bad_token_request(message: &'static str) -> Self {
        Self::new(Reason::BadTokenRequest, message)
    }

    /// The path or a name is not canonical.
    pub fn name_invalid() -> Self {
        Self::new(Reason::NameInvalid, "path or name is not canonical")
    }

    /// No registry can have what the path names.
    pub fn unknown(what: Unknown) -> Self {
        let message = match what {
            Unknown::Name => "no repository has such a name",
            Unknown::Manifest => "no manifest has such a reference",
            Unknown::Blob => "no blob has such a digest",
        };
        Self::new(Reason::Unknown(what), message)
    }

    /// Not a route of a registry.
    pub fn unsupported() -> Self {
        Self::new(Reason::Unsupported, "not a registry route")
    }

    /// Too many failed logins; worth another try after this many seconds.
    pub fn too_many_failures(retry_after: u32) -> Self {
        let seconds = if retry_after == 1 { "second" } else { "seconds" };
        Self::new(
            Reason::TooManyFailures { retry_after },
            format!("too many failed logins, try again in {retry_after} {seconds}"),
        )
    }

    /// The hashing queue is full.
    pub fn hashing_busy() -> Self {
        Self::new(Reason::HashingBusy, "too many logins at once")
    }

    /// Too many lists are being read, of this user's or in all.
    pub fn lists_busy() -> Self {
        Self::new(Reason::ListsBusy, "too many lists at once")
    }

    /// The store is unreachable.
    pub fn unavailable() -> Self {
        Self::new(Reason::Unavailable, "account data is unavailable")
    }

    /// A record cannot be read.
    pub fn bad_record() -> Self {
        Self::new(Reason::BadRecord, "account data is unreadable")
    }

    /// No backend.
    pub fn no_backend() -> Self {
        Self::new(Reason::NoBackend, "no registry is assigned to this account")
    }

    /// There are backends, and none of them may be used, or has an address.
    pub fn no_usable_backend() -> Self {
        Self::new(Reason::NoBackend, "the registry of this account cannot be used")
    }

    /// The configuration would have nginx answer otherwise, or forward another request, than was decided.
    pub fn misconfigured() -> Self {
        Self::new(
            Reason::Misconfigured,
            "the server's configuration does not permit an answer",
        )
    }

    /// The registry's own catalogue cannot be read.
    pub fn malformed_catalog() -> Self {
        Self::new(Reason::MalformedCatalog, "the registry's catalog cannot be read")
    }

    /// The registry redirects its clients to another host.
    pub fn foreign_redirect() -> Self {
        Self::new(Reason::ForeignRedirect, "the registry redirects to another host")
    }

    /// The registry has sent something that is not an HTTP answer.
    pub fn malformed_answer() -> Self {
        Self::new(Reason::MalformedAnswer, "the registry's answer is malformed")
    }

    /// The registry's own search results cannot be read.
    pub fn malformed_search() -> Self {
        Self::new(
            Reason::MalformedCatalog,
            "the registry's search results cannot be read",
        )
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self.reason {
            Reason::Unauthenticated | Reason::BadCredentials => 401,
            Reason::InvalidToken | Reason::InsufficientScope => 401,
            Reason::Denied => 403,
            Reason::NameInvalid | Reason::FormBody | Reason::PaginationNumber | Reason::BadTokenRequest => {
                400
            }
            Reason::Misconfigured => 500,
            Reason::MalformedCatalog | Reason::ForeignRedirect | Reason::MalformedAnswer => 502,
            Reason::Unsupported | Reason::Unknown(_) => 404,
            Reason::TooManyFailures { .. } | Reason::HashingBusy | Reason::ListsBusy => 429,
            Reason::Unavailable | Reason::BadRecord | Reason::NoBackend => 503,
        }
    }

    /// The error code of the OCI distribution-spec (section Error Codes).
    pub fn code(&self) -> &'static str {
        match self.reason {
            Reason::Unauthenticated | Reason::BadCredentials => "UNAUTHORIZED",
            Reason::InvalidToken | Reason::InsufficientScope => "UNAUTHORIZED",
            Reason::Denied => "DENIED",
            Reason::NameInvalid => "NAME_INVALID",
            Reason::Unknown(Unknown::Name) => "NAME_UNKNOWN",
            Reason::Unknown(Unknown::Manifest) => "MANIFEST_UNKNOWN",
            Reason::Unknown(Unknown::Blob) => "BLOB_UNKNOWN",
            Reason::FormBody => "BLOB_UPLOAD_INVALID",
            // Of distribution, beside the specification's codes.
            Reason::PaginationNumber => "PAGINATION_NUMBER_INVALID",
            Reason::MalformedCatalog | Reason::ForeignRedirect | Reason::MalformedAnswer => "UNKNOWN",
            Reason::Misconfigured => "UNKNOWN",
            Reason::Unsupported | Reason::BadTokenRequest => "UNSUPPORTED",
            Reason::TooManyFailures { .. } | Reason::HashingBusy | Reason::ListsBusy => "TOOMANYREQUESTS",
            Reason::Unavailable | Reason::BadRecord | Reason::NoBackend => "UNAVAILABLE",
        }
    }

    /// The level at which it is logged. Most clients begin with a request without credentials, which is
    /// hardly worth a line.
    pub fn log_level(&self) -> LogLevel {
        match self.reason {
            Reason::Unauthenticated | Reason::Denied => LogLevel::Info,
            Reason::Unsupported | Reason::NameInvalid | Reason::FormBody => LogLevel::Info,
            Reason::Unknown(_) => LogLevel::Info,
            Reason::PaginationNumber | Reason::BadTokenRequest => LogLevel::Info,
            // Tokens expire, and clients then ask for another one.
            Reason::InvalidToken | Reason::InsufficientScope => LogLevel::Info,
            Reason::MalformedCatalog | Reason::ForeignRedirect | Reason::MalformedAnswer => LogLevel::Error,
            Reason::Misconfigured => LogLevel::Error,
            Reason::BadCredentials => LogLevel::Notice,
            Reason::TooManyFailures { .. } | Reason::HashingBusy | Reason::ListsBusy => LogLevel::Warn,
            Reason::Unavailable | Reason::BadRecord | Reason::NoBackend => LogLevel::Error,
        }
    }

    /// Seconds for `Retry-After`, where the answer has one.
    pub fn retry_after(&self) -> Option<u32> {
        match self.reason {
            Reason::Unauthenticated | Reason::BadCredentials | Reason::Denied => None,
            Reason::NameInvalid | Reason::FormBody | Reason::Unsupported | Reason::Unknown(_) => None,
            Reason::PaginationNumber | Reason::MalformedCatalog | Reason::BadTokenRequest => None,
            Reason::InvalidToken | Reason::InsufficientScope => None,
            Reason::ForeignRedirect | Reason::MalformedAnswer | Reason::Misconfigured => None,
            Reason::TooManyFailures { retry_after } => Some(retry_after),
            Reason::HashingBusy | Reason::ListsBusy | Reason::Unavailable => Some(1),
            Reason::BadRecord | Reason::NoBackend => Some(10),
        }
    }

    /// Whether the answer carries a challenge: with 401, and only then.
    pub fn challenges(&self) -> bool {
        self.status() == 401
    }

    /// The `error` of a Bearer challenge (RFC 6750, section 3.1), where a token was sent.
    pub fn challenge_error(&self) -> Option<&'static str> {
        match self.reason {
            Reason::InvalidToken => Some("invalid_token"),
            Reason::InsufficientScope => Some("insufficient_scope"),
            _ => None,
        }
    }

    /// How the request was decided: `$registry_auth_result`.
    pub fn result(&self) -> RequestResult {
        match self.reason {
            Reason::Unauthenticated | Reason::BadCredentials => RequestResult::Unauthenticated,
            Reason::InvalidToken | Reason::InsufficientScope => RequestResult::Unauthenticated,
            Reason::Denied => RequestResult::Denied,
            Reason::NameInvalid | Reason::FormBody | Reason::Unsupported | Reason::Unknown(_) => {
                RequestResult::Invalid
            }
            Reason::PaginationNumber | Reason::BadTokenRequest => RequestResult::Invalid,
            Reason::TooManyFailures { .. } | Reason::HashingBusy | Reason::ListsBusy => {
                RequestResult::Throttled
            }
            Reason::Unavailable | Reason::BadRecord | Reason::NoBackend => RequestResult::Unavailable,
            Reason::MalformedCatalog | Reason::ForeignRedirect | Reason::MalformedAnswer => {
                RequestResult::Unavailable
            }
            Reason::Misconfigured => RequestResult::Unavailable,
        }
    }

    /// Appends the body of the answer: OCI distribution-spec error JSON, one line.
    ///
    /// The detail is never absent: distribution's client (docker, podman, skopeo) takes an error without one
    /// whose message is the code's standard text for no error of a registry at all, retries a push for 50
    /// seconds and prints a bare "denied" (registry/api/errcode/errors.go, `Errors.UnmarshalJSON`).
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"errors":[{"code":""#);
        out.extend_from_slice(self.code().as_bytes());
        out.extend_from_slice(br#"","message":""#);
        write_json_text(&self.message, out);
        out.extend_from_slice(b"\",\"detail\":{");
        if let Some(Wanted {
            repository, action, ..
        }) = self.wanted.as_deref()
        {
            out.extend_from_slice(br#""repository":""#);
            write_json_text(repository, out);
            out.extend_from_slice(br#"","action":""#);
            out.extend_from_slice(action.as_str().as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b"}}]}\n");
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Denial {}

/// Appends the inside of a JSON string (RFC 8259, section 7).
fn write_json_text(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}
