//! `registry_auth_health`: whether logins can be decided, for what watches over several machines.
//!
//! `access` asks the store what it needs to know of everybody, past the cache, and refuses with 503 where the
//! store has no answer; so the page itself is only for requests that got past that.

use std::sync::Arc;

use registry_auth::Denial;

use crate::conf::Settings;
use crate::ffi::content::{Answer, Content};
use crate::ffi::request::Request;
use crate::request::context::{Asked, Context, Origin, Question};
use crate::request::credential::Credential;

/// What the store is to be asked: about nobody in particular.
pub fn question(request: &Request, settings: &Settings) -> Result<Asked, Denial> {
    match request.method() {
        b"GET" | b"HEAD" => Ok(Asked {
            space: Arc::clone(&settings.space),
            question: Question::Credential {
                credential: Credential::ANONYMOUS,
                // What the cache knows is no proof that Redis is there.
                miss: None,
                login: None,
            },
            operation: None,
        }),
        _ => Err(Denial::unsupported()),
    }
}

/// The page.
pub struct Health;

impl Content for Health {
    fn answer(request: &mut Request) -> Result<Answer, u16> {
        let is_healthy = request.existing_context::<Context, _>(|request, context| {
            context.origin == Some(Origin::Health) && context.is_about(request)
        });
        match is_healthy {
            Some(true) => Ok(Answer {
                status: 200,
                content_type: "application/json".into(),
                headers: vec![("Cache-Control", b"no-store".to_vec())],
                body: b"{\"status\":\"ok\"}\n".to_vec(),
            }),
            // The request came past the access phase: nothing was asked.
            _ => Err(503),
        }
    }
}
