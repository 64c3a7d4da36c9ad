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

/// Bytes of a registry's refusal at most, to be passed on.
const REFUSAL_BYTES: usize = 64 << 10;

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
    /// What it says in place of a first page.
    refusal: Option<Answer>,
    /// Whether it is a page of nginx's own, as where the registry cannot be reached.
    is_nginxs: bool,
    /// Why it went to no registry.
    refused: Option<Denial>,
    /// Why it cannot be read.
    bad: Option<&'static str>,
}

/// What is to be done next.
pub enum Next {
    /// To wait for another page.
    Wait(Box<Filtering>),
    /// To answer.
    Answer(Answer),
    /// To have nginx answer with this status, and the page that is configured for it.
    Status(u16),
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
    let page = request
        .ask(catalog.args().as_bytes())
        .ok_or_else(Denial::unavailable)?;
    Ok(Box::new(Filtering {
        catalog,
        page,
        is_first: true,
        status: 0,
        more: false,
        refusal: None,
        is_nginxs: false,
        refused: None,
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
        if let Some(denial) = self.refused.take() {
            return Err(denial);
        }
        if let Some(why) = self.bad {
            return Err(malformed(request, why));
        }
        match (self.status, self.refusal.take()) {
            (200, _) => {}
            (status, _) if self.is_first && self.is_nginxs => {
                return Ok(Next::Status(u16::try_from(status).unwrap_or(502)))
            }
            (_, Some(refusal)) if self.is_first => return Ok(Next::Answer(refusal)),
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
                    .ask(self.catalog.args().as_bytes())
                    .ok_or_else(Denial::unavailable)?;
                (self.is_first, self.status) = (false, 0);
                Ok(Next::Wait(self))
            }
            Err(error) => Err(malformed(request, error.why())),
        }
    }

    fn answer(&self) -> Answer {
        let mut headers = vec![version()];
        headers.extend(self.catalog.link().map(|link| ("Link", link.into_bytes())));
        Answer {
            status: 200,
            content_type: "application/json".into(),
            headers,
            body: self.catalog.to_json(),
        }
    }

    /// Whether this request is the page that is awaited; not so one that nginx makes beside it.
    pub fn is_page(&self, request: &Request) -> bool {
        self.page.is(request)
    }

    /// Sees a page's status and headers, and why it was refused before it went to a registry. It `is_ours` unless it comes from a
    /// location of other accounts, to which nginx has moved it.
    pub fn header(&mut self, page: &Request, is_ours: bool, refused: Option<Denial>) {
        self.refused = refused;
        self.status = page.status();
        match self.status {
            _ if !is_ours => self.bad = Some("it comes from a location of another registry_auth_prefix"),
            200 => {
                self.more = page.answer_headers(b"link").any(has_next);
                if page.answer_headers(b"content-encoding").next().is_some() {
                    self.bad = Some("it is encoded, though it was asked not to be");
                }
            }
            400..=599 if page.is_nginxs_page() => self.is_nginxs = true,
            400..=599 => self.refusal = Some(refusal(page)),
            // Neither a part of it, nor another address where all of it is shown.
            _ => self.bad = Some("its status is neither 200 nor an error's"),
        }
    }

    /// Takes a part of a page. Whether the rest is of any use.
    pub fn body(&mut self, pieces: &Pieces) -> bool {
        if self.bad.is_some() {
            return false;
        }
        if self.is_nginxs {
            return true;
        }
        let mut bad = None;
        let read = pieces.each(|piece| match &mut self.refusal {
            Some(refusal) if refusal.body.len() + piece.len() > REFUSAL_BYTES => {
                bad = Some("its refusal is too long");
                Err(())
            }
            Some(refusal) => {
                refusal.body.extend_from_slice(piece);
                Ok(())
            }
            None => self
                .catalog
                .feed(piece)
                .map_err(|error: Malformed| bad = Some(error.why())),
        });
        if read.is_err() {
            self.bad = Some(bad.unwrap_or("it is not in memory"));
        }
        self.bad.is_none()
    }
}

fn version() -> (&'static str, Vec<u8>) {
    ("Docker-Distribution-Api-Version", b"registry/2.0".to_vec())
}

/// What a registry answers that refuses: of its headers those that say how to read it, and when to come again.
fn refusal(page: &Request) -> Answer {
    let mut headers = vec![version()];
    headers.extend(
        page.answer_headers(b"retry-after")
            .map(|after| ("Retry-After", after.to_vec())),
    );
    let content_type = String::from_utf8_lossy(page.answer_type()).into_owned();
    Answer {
        status: u16::try_from(page.status()).unwrap_or(502),
        content_type: content_type.into(),
        headers,
        body: Vec::new(),
    }
}

fn malformed(request: &Request, why: &str) -> Denial {
    request.log(
        Level::Error,
        format_args!("registry_auth: the registry's catalog: {why}"),
    );
    Denial::malformed_catalog()
}
