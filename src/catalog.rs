//! The catalogue, `GET /v2/_catalog`: the registry is asked by subrequests, and the client gets what they say of the repositories
//! that it may pull.
//!
//! `access` starts it before it grants the request, and goes on with it whenever a page has come; the filters take the pages.
//! Invariant: what a registry says of its catalogue gets to a client through `registry_auth::catalog` only, or not at all.

use std::mem;

use registry_auth::catalog::{has_next, Catalog, Malformed, Progress};
use registry_auth::policy::{judge, Rules};
use registry_auth::{Action, Denial};

use crate::context::Context;
use crate::ffi::content::{Answer, Content};
use crate::ffi::filter::Pieces;
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::ffi::subrequest::Subrequest;
use crate::identity::Identity;
use crate::routing;

/// A catalogue in the making.
pub struct Filtering {
    catalog: Catalog,
    /// The registry's page that is awaited.
    page: Subrequest,
    is_first: bool,
    /// Its status; 0 until it came.
    status: u32,
    /// Whether it links to another.
    more: bool,
    /// Why it cannot be read.
    bad: Option<&'static str>,
}

/// What is to be done next.
pub enum Next {
    /// To wait for another page.
    Wait(Box<Filtering>),
    /// To answer.
    Answer(Answer),
    /// To let the request itself go to the registry, which has refused the first page: the client is to see why. It must not be
    /// given a catalogue that comes all the same.
    PassOn,
}

/// The answer that was made, sent in the content phase: other modules of the access phase may still refuse the request.
pub struct Filtered;

impl Content for Filtered {
    fn answer(request: &mut Request) -> Result<Answer, u16> {
        let made =
            request.existing_context::<Context, _>(|request, context| match context.is_about(request) {
                true => context.answer.take(),
                false => None,
            });
        made.flatten().map(|answer| *answer).ok_or(500)
    }
}

/// Asks for the first page of what a client wants.
pub fn start(request: &mut Request) -> Result<Box<Filtering>, Denial> {
    if request.has_body() {
        return Err(Denial::unsupported());
    }
    let catalog = Catalog::new(routing::query(request))?;
    // What comes is to be read here.
    request.replace_headers(b"accept-encoding", "identity");
    let page = request.ask(&catalog.args()).ok_or_else(Denial::unavailable)?;
    Ok(Box::new(Filtering {
        catalog,
        page,
        is_first: true,
        status: 0,
        more: false,
        bad: None,
    }))
}

impl Filtering {
    /// Goes on, if the page has come.
    pub fn resume(
        mut self: Box<Self>,
        request: &mut Request,
        identity: &Identity,
        rules: &Rules,
    ) -> Result<Next, Denial> {
        if !self.page.is_done() {
            return Ok(Next::Wait(self));
        }
        match (self.status, self.bad) {
            (200, None) => {}
            (200, Some(why)) => return Err(malformed(request, why)),
            _ if self.is_first => {
                request
                    .set_args(self.catalog.args().as_bytes())
                    .ok_or_else(Denial::unavailable)?;
                return Ok(Next::PassOn);
            }
            _ => return Err(malformed(request, "a page after the first was refused")),
        }
        let more = mem::take(&mut self.more);
        let progress = identity
            .with_subject(|subject| {
                // A record that turns out to be damaged shows nothing.
                self.catalog.end(more, |name| {
                    judge(&subject.beside_token(), name, Action::Pull, rules)
                        .is_ok_and(|verdict| verdict.allowed)
                })
            })
            .map_err(|_| Denial::bad_record())?;
        match progress {
            Ok(Progress::Done) => Ok(Next::Answer(self.answer())),
            Ok(Progress::Ask) => {
                self.page = request
                    .ask(&self.catalog.args())
                    .ok_or_else(Denial::unavailable)?;
                (self.is_first, self.status) = (false, 0);
                Ok(Next::Wait(self))
            }
            Err(error) => Err(malformed(request, error.why())),
        }
    }

    fn answer(&self) -> Answer {
        let mut headers = vec![("Docker-Distribution-Api-Version", b"registry/2.0".to_vec())];
        headers.extend(self.catalog.link().map(|link| ("Link", link.into_bytes())));
        Answer {
            content_type: "application/json",
            headers,
            body: self.catalog.to_json(),
        }
    }

    /// Whether this request is the page that is awaited; not so one that nginx makes beside it.
    pub fn is_page(&self, request: &Request) -> bool {
        self.page.is(request)
    }

    /// Sees a page's status and headers. It `is_ours` unless it comes from a location of other accounts, to which nginx has moved it.
    pub fn header(&mut self, page: &Request, is_ours: bool) {
        self.status = page.status();
        if !is_ours {
            self.bad = Some("it comes from a location of another registry_auth_prefix");
        }
        self.more = page.answer_headers(b"link").any(has_next);
        if page.answer_headers(b"content-encoding").next().is_some() {
            self.bad = Some("it is encoded, though it was asked not to be");
        }
    }

    /// Takes a part of a page.
    pub fn body(&mut self, pieces: &Pieces) {
        if self.status != 200 || self.bad.is_some() {
            return;
        }
        let mut bad = None;
        let read = pieces.each(|piece| {
            self.catalog
                .feed(piece)
                .map_err(|error: Malformed| bad = Some(error.why()))
        });
        if read.is_err() {
            self.bad = Some(bad.unwrap_or("it is not in memory"));
        }
    }
}

fn malformed(request: &Request, why: &str) -> Denial {
    request.log(
        Level::Error,
        format_args!("registry_auth: the registry's catalog: {why}"),
    );
    Denial::malformed_catalog()
}
