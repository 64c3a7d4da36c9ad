//! The catalogue, `GET /v2/_catalog`, and V1's search, `GET /v1/search`: the registry is asked by
//! subrequests, and the client gets what they say of the repositories that it may pull.
//!
//! `access` starts it before it grants the request, and goes on with it whenever something has come; the
//! filters take the pages. Where a user's repositories lie on several backends, `upstream` says which these
//! are, and learns which of them a page is of. Invariants: what a registry lists comes to a client through
//! `registry_auth::catalog` and `registry_auth::search` only, or not at all; whatever it sends, it is read a
//! slice at a time, which all requests share, and between which the worker serves others.

use std::borrow::Cow;
use std::mem;

use registry_auth::catalog::{Catalog, Progress, has_next};
use registry_auth::cursor::NONCE;
use registry_auth::listing::{Malformed, Reading};
use registry_auth::name::{RepositoryName, UserName};
use registry_auth::policy::judge;
use registry_auth::search::Search;
use registry_auth::share::PAGE;
use registry_auth::{Action, Denial, Reason};
use registry_auth_metrics::counters::CATALOG_PAGES;

use crate::conf::Settings;
use crate::ffi::content::Answer;
use crate::ffi::event;
use crate::ffi::filter::Pieces;
use crate::ffi::log::Level;
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::ffi::subrequest::Subrequest;
use crate::request::context::{Context, Stage};
use crate::request::identity::Identity;
use crate::request::route::{query, query_of};
use crate::worker::counters;
use crate::worker::limited_log;
use crate::worker::token_keys;
use crate::worker::turns::{InLine, ListPlace, PageTime, Slice};

/// What the client of a list reads that lacks a backend's part.
const INCOMPLETE: &[u8] = b"299 - \"the list is incomplete: a registry cannot be reached\"";
/// Bytes of a registry's refusal at most, to be passed on.
const REFUSAL_BYTES: usize = 64 << 10;

/// What lists repositories.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// The catalogue.
    Catalog,
    /// V1's search.
    Search,
}

/// A list in the making.
enum List {
    Catalog(Catalog),
    Search(Search),
}

/// What a registry answers that does not list.
enum Failure {
    /// Its own refusal.
    Refusal(Answer),
    /// nginx's page for this status.
    Status(u16),
}

impl From<Failure> for Next {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refusal(refusal) => Self::Answer(refusal),
            Failure::Status(status) => Self::Status(status),
        }
    }
}

/// A list in the making, and the registry's page for it.
pub struct Filtering {
    list: List,
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
    /// What the first registry has come to that was left out: the answer, where none lists anything.
    left_out: Option<Failure>,
    /// Why it went to no registry.
    refused: Option<Denial>,
    /// Why it cannot be read.
    bad: Option<&'static str>,
    /// Whether the request goes on with what has come, once this callback is over.
    is_woken: bool,
    turn: Turn,
    /// When the first byte of the page came.
    since: Option<u64>,
    /// Ends a page that takes too long. Held for its drop.
    _time: PageTime,
    /// Counts it among the lists that the worker makes.
    place: ListPlace,
}

/// Whether a list has a turn to be read.
#[derive(Default)]
enum Turn {
    /// None was asked for.
    #[default]
    None,
    /// It comes after those of others.
    Awaited {
        /// Held for its drop, which gives the turn up.
        _line: InLine,
    },
    /// It is its turn.
    Now,
}

impl List {
    /// The query for the registry's next page.
    fn args<'a>(&'a self, request: &'a Request) -> Cow<'a, [u8]> {
        match self {
            Self::Catalog(catalog) => Cow::Owned(catalog.args().into_bytes()),
            Self::Search(_) => Cow::Borrowed(query(request)),
        }
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::Catalog(catalog) => catalog.feed(piece),
            Self::Search(search) => search.feed(piece),
        }
    }

    fn complete(&mut self) {
        match self {
            Self::Catalog(catalog) => catalog.complete(),
            Self::Search(search) => search.complete(),
        }
    }

    fn read(
        &mut self,
        may_know: impl FnMut(&RepositoryName<'_>) -> bool,
        go_on: impl FnMut() -> bool,
    ) -> Result<Reading, Malformed> {
        match self {
            Self::Catalog(catalog) => catalog.read(may_know, go_on),
            Self::Search(search) => search.read(may_know, go_on),
        }
    }

    /// The page is read to its end.
    fn end(&mut self, more: bool) -> Result<Progress, Malformed> {
        match self {
            Self::Catalog(catalog) => catalog.end(more),
            Self::Search(_) => Ok(Progress::Done),
        }
    }

    /// Goes on without the registry that was asked, where it is down and there are others. `None` where there
    /// are none.
    fn leave_out(&mut self, status: u32) -> Option<Result<Progress, Malformed>> {
        match self {
            Self::Catalog(catalog) if catalog.is_merged() && status >= 500 => Some(catalog.leave_out()),
            Self::Catalog(_) | Self::Search(_) => None,
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let (headers, body) = match self {
            Self::Catalog(catalog) => {
                let mut headers = vec![version()];
                headers.extend(catalog.link(seal).map(|link| ("Link", link.into_bytes())));
                if catalog.is_incomplete() {
                    // RFC 7234, section 5.5, as the OCI distribution specification wants it.
                    headers.push(("Warning", INCOMPLETE.to_vec()));
                }
                if catalog.is_disordered() {
                    limited_log::write(
                        request,
                        Level::Warn,
                        format_args!(
                            "registry_auth: a backend's catalog is not in the order of paths: where it is \
                             merged with others' and cut into pages, names may be missing"
                        ),
                    );
                }
                (headers, catalog.to_json())
            }
            Self::Search(search) => (Vec::new(), search.to_json()),
        };
        Answer {
            status: 200,
            content_type: "application/json".into(),
            headers,
            body,
        }
    }

    /// What a client reads where a registry's list cannot be read, and the log, why.
    fn malformed(&self, request: &Request, why: &str) -> Denial {
        let (what, denial) = match self {
            Self::Catalog(_) => ("catalog", Denial::malformed_catalog()),
            Self::Search(_) => ("search results", Denial::malformed_search()),
        };
        limited_log::write(
            request,
            Level::Error,
            format_args!("registry_auth: the registry's {what}: {why}"),
        );
        denial
    }
}

/// A cursor that does not show where it is.
fn seal(name: &str) -> Option<String> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).ok()?;
    token_keys::cursor_keys()?.seal(name, nonce)
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

/// Asks the registry for a page.
fn ask(request: &mut Request, args: &[u8]) -> Result<Subrequest, Denial> {
    counters::count(CATALOG_PAGES);
    request.ask(args).ok_or_else(Denial::unavailable)
}

/// Asks for the first page of what a client wants.
pub fn start(
    request: &mut Request,
    kind: ListKind,
    identity: &Identity,
    settings: &Settings,
) -> Result<Box<Filtering>, Denial> {
    if request.has_body() {
        return Err(Denial::unsupported());
    }
    let list = match kind {
        ListKind::Catalog => List::Catalog(Catalog::new(query(request), |sealed| {
            token_keys::cursor_keys()?.open(sealed)
        })?),
        ListKind::Search if settings.v1_search => List::Search(Search::default()),
        ListKind::Search => return Err(Denial::new(Reason::Denied, "the search is not available")),
    };
    let place = ListPlace::take(owner(identity, settings)).ok_or_else(Denial::lists_busy)?;
    let args = list.args(request).into_owned();
    let page = ask(request, &args)?;
    let time = PageTime::new(request, PAGE_MS, end_page).map_err(|OutOfMemory| Denial::unavailable())?;
    Ok(Box::new(Filtering {
        list,
        page,
        is_first: true,
        status: 0,
        more: false,
        refusal: None,
        is_nginxs: false,
        left_out: None,
        refused: None,
        bad: None,
        is_woken: false,
        turn: Turn::None,
        since: None,
        _time: time,
        place,
    }))
}

/// Milliseconds for which a page may come.
const PAGE_MS: u64 = PAGE.as_millis() as u64;

/// Looks whether a page of a request's list has taken too long.
fn end_page(request: &mut Request) {
    request.existing_context::<Context, _>(|request, context| {
        if let Stage::Filtering(filtering) = &mut context.stage {
            filtering.end_page(request);
        }
    });
}

/// Whose list it is: a user, of one prefix. No name has a control character.
fn owner(identity: &Identity, settings: &Settings) -> String {
    let user = identity.user();
    let name = user.as_ref().map(UserName::as_str).unwrap_or_default();
    format!("{}\0{name}", settings.space.prefix)
}

impl Filtering {
    /// Goes on with what has come of the page, and after it. Where it has to wait for its turn, `on_turn` is
    /// called when that comes.
    pub fn resume(
        mut self: Box<Self>,
        request: &mut Request,
        identity: &Identity,
        settings: &Settings,
        on_turn: fn(&mut Request),
    ) -> Result<Next, Denial> {
        self.is_woken = false;
        let slice = match mem::take(&mut self.turn) {
            // It goes on when it is its turn.
            awaited @ Turn::Awaited { .. } => {
                self.turn = awaited;
                return Ok(Next::Wait(self));
            }
            Turn::Now => Slice::of_turn(),
            Turn::None => match Slice::at_once() {
                Some(slice) => slice,
                None => return self.line_up(request, on_turn),
            },
        };
        let is_done = self.page.is_done();
        if is_done && self.page.is_broken() && self.bad.is_none() {
            self.bad = Some("it broke off");
        }
        if (self.status, self.bad) == (200, None) && self.refused.is_none() {
            if is_done {
                self.list.complete();
            }
            match self.read(identity, settings, &slice) {
                Ok(Reading::Paused) => return self.line_up(request, on_turn),
                Ok(Reading::Dry | Reading::End) => {}
                Err(error) => self.bad = Some(error.why()),
            }
        }
        if !is_done {
            return Ok(Next::Wait(self));
        }
        if let Some(denial) = self.refused.take() {
            return Err(denial);
        }
        if let Some(why) = self.bad {
            return Err(self.list.malformed(request, why));
        }
        let progress = match (self.status, self.failure()) {
            (200, _) => {
                self.is_first = false;
                self.list.end(mem::take(&mut self.more))
            }
            (status, failure) => match (self.list.leave_out(status), failure) {
                (Some(progress), failure) => {
                    self.left_out = self.left_out.take().or(failure);
                    progress
                }
                (None, Some(failure)) if self.is_first => return Ok(failure.into()),
                _ => Err(Malformed::REFUSED),
            },
        };
        match progress {
            Ok(Progress::Done) => Ok(match self.left_out.take().filter(|_| self.is_first) {
                Some(failure) => failure.into(),
                None => Next::Answer(self.list.answer(request)),
            }),
            Ok(Progress::Ask) => {
                self.place.keep_names();
                self.since = None;
                let args = self.list.args(request).into_owned();
                self.page = ask(request, &args)?;
                (self.status, self.is_nginxs) = (0, false);
                Ok(Next::Wait(self))
            }
            Err(error) => Err(self.list.malformed(request, error.why())),
        }
    }

    /// What the page says in place of a list.
    fn failure(&mut self) -> Option<Failure> {
        let refusal = self.refusal.take();
        if self.is_nginxs {
            Some(Failure::Status(u16::try_from(self.status).unwrap_or(502)))
        } else {
            refusal.map(Failure::Refusal)
        }
    }

    /// Says which backends a page of the catalogue may be of, by name; `is_down` is asked once of each.
    /// Answers which of them it is of. `None` where they cannot be merged.
    pub fn among<'n>(
        &mut self,
        backends: impl ExactSizeIterator<Item = &'n [u8]>,
        is_down: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let List::Catalog(catalog) = &mut self.list else {
            return None;
        };
        let found = catalog.among(backends, is_down);
        found.map_err(|error| self.bad = Some(error.why())).ok()
    }

    /// Waits for another turn, which `on_turn` then notes by [`Filtering::take_turn`].
    fn line_up(
        mut self: Box<Self>,
        request: &mut Request,
        on_turn: fn(&mut Request),
    ) -> Result<Next, Denial> {
        match InLine::new(request, on_turn) {
            Ok(line) => self.turn = Turn::Awaited { _line: line },
            Err(OutOfMemory) if self.page.is_done() => return Err(Denial::unavailable()),
            // What is still to come wakes it.
            Err(OutOfMemory) => {}
        }
        Ok(Next::Wait(self))
    }

    /// Ends the page where its first byte came too long ago; else looks again when that will be so. What
    /// holds a place gives it back by then.
    fn end_page(&mut self, request: &mut Request) {
        let came = self.since.filter(|_| !self.page.is_done());
        let left = came.map_or(PAGE_MS, |since| {
            PAGE_MS.saturating_sub(event::now().saturating_sub(since))
        });
        if left > 0
            && let Ok(time) = PageTime::new(request, left, end_page)
        {
            self._time = time;
        } else {
            self.bad = self.bad.or(Some("a page of it takes more than 30 seconds"));
            self.page.time_out();
        }
    }

    /// Notes that it is this list's turn to be read.
    pub fn take_turn(&mut self) {
        self.turn = Turn::Now;
    }

    /// Reads for a slice of time. A name that is asked about may take long: a user's grants are as many as
    /// they are.
    fn read(
        &mut self,
        identity: &Identity,
        settings: &Settings,
        slice: &Slice,
    ) -> Result<Reading, Malformed> {
        let list = &mut self.list;
        let read = identity.with_subject(|subject| {
            let subject = subject.beside_token();
            list.read(
                // A record that turns out to be damaged shows nothing.
                |name| {
                    judge(&subject, name, Action::Pull, &settings.rules).is_ok_and(|verdict| verdict.allowed)
                },
                || slice.go_on(),
            )
        });
        read.unwrap_or_else(|_| {
            self.refused = Some(Denial::bad_record());
            Ok(Reading::Dry)
        })
    }

    /// Whether this request is the page that is awaited; not so one that nginx makes beside it.
    pub fn is_page(&self, request: &Request) -> bool {
        self.page.matches(request)
    }

    /// Sees a page's status and headers, and why it was refused before it went to a registry. It `is_ours`
    /// unless it comes from a location of other accounts, to which nginx has moved it.
    pub fn header(&mut self, page: &Request, is_ours: bool, refused: Option<Denial>) {
        self.refused = refused.or_else(|| (is_ours && self.is_another(page)).then(Denial::misconfigured));
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

    /// Whether nothing more of the page is of any use.
    pub fn is_settled(&self) -> bool {
        self.bad.is_some() || self.refused.is_some()
    }

    /// Whether the registry was asked for another page than was meant, as with the client's query in the
    /// place of the gate's. What it says is then no answer to what was asked.
    fn is_another(&self, page: &Request) -> bool {
        let sent = match page.forwarded() {
            Some(target) => query_of(target),
            // What has parameters in the place of a target has the query as one; and what comes from a cache
            // was not asked for.
            None if page.is_of_upstream() => page.args(),
            None => return false,
        };
        if sent == self.page.args() {
            return false;
        }
        limited_log::write(
            page,
            Level::Error,
            format_args!(
                "registry_auth: \"proxy_pass\" asks the registry for another list than the gate does: end \
                 it with the upstream, and leave \"$args\" as it is"
            ),
        );
        true
    }

    /// Takes a part of a page, to be read when the request goes on. Whether the rest is of any use.
    /// `backend` is the registry that it is of, where users name that.
    pub fn body(&mut self, page: &mut Request, pieces: &Pieces, backend: Option<&[u8]>) -> bool {
        if self.is_settled() {
            return false;
        }
        if self.is_nginxs {
            return true;
        }
        if !self.place.is_filled() {
            if !self.place.fill(backend) {
                self.refused = Some(Denial::lists_busy());
                return false;
            }
            self.since = Some(event::now());
        }
        let mut bad = None;
        let taken = pieces.each(|piece| match &mut self.refusal {
            Some(refusal) if refusal.body.len() + piece.len() > REFUSAL_BYTES => {
                bad = Some("its refusal is too long");
                Err(())
            }
            Some(refusal) => {
                refusal.body.extend_from_slice(piece);
                Ok(())
            }
            None => self.list.feed(piece).map_err(|error| bad = Some(error.why())),
        });
        if taken.is_err() {
            self.bad = Some(bad.unwrap_or("it is not in memory"));
        } else if !mem::replace(&mut self.is_woken, true) && page.wake_main().is_none() {
            // It goes on when the page is there.
            self.is_woken = false;
        }
        self.bad.is_none()
    }
}

fn version() -> (&'static str, Vec<u8>) {
    ("Docker-Distribution-Api-Version", b"registry/2.0".to_vec())
}

/// What a registry answers that refuses: of its headers those that say how to read it, and when to come
/// again.
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
