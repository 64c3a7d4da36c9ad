//! `registry_auth_status`: the numbers of all workers, for people and for those who collect numbers.

use std::sync::Arc;

use registry_auth_cache::EVICTED;
use registry_auth_metrics::{Format, Gauges, Redis, Snapshot, Zone};

use crate::endpoints::usage_page::UsagePage;
use crate::ffi::content::{Answer, Content, GradualContent};
use crate::ffi::request::Request;
use crate::ffi::{event, nginx_version};
use crate::request::context::{Context, Stage};
use crate::worker::cache::{self, Census};
use crate::worker::{store, totals};

/// The page's only source is itself: no script, no picture, no font.
const POLICY: &[u8] = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                        frame-ancestors 'none'";

/// The page with what is known of all requests together.
pub struct Status;

/// The page with what is counted by user and by repository.
pub struct Usage;

impl Content for Status {
    fn answer(request: &mut Request) -> Result<Answer, u16> {
        let format = wanted(request)?;
        totals::add_up();
        let census = cache::census().ok_or(503_u16)?;
        Ok(shown(format, render(&census, format).into_bytes()))
    }
}

impl GradualContent for Usage {
    fn answer(request: &mut Request) -> Result<Option<Answer<Vec<Vec<u8>>>>, u16> {
        let visit = request.visit();
        let page = request.with_context::<Context, _>(|_, context| {
            let Stage::Showing(pages) = &mut context.stage else {
                return None;
            };
            let index = pages.iter().position(|(of, _)| *of == visit)?;
            Some(pages.swap_remove(index).1)
        });
        let mut page = match page.ok_or(503_u16)? {
            Some(page) => page,
            None => UsagePage::new(wanted(request)?).ok_or(503_u16)?,
        };
        if page.go_on(request, note_turn)? {
            return Ok(Some(shown(page.format(), page.into_pieces())));
        }
        let kept = request.existing_context::<Context, _>(|_, context| {
            match &mut context.stage {
                Stage::Showing(pages) => pages.push((visit, page)),
                stage @ Stage::Idle => *stage = Stage::Showing(vec![(visit, page)]),
                // The access phase is not over: nginx has moved the request here out of it.
                Stage::Waiting(_) | Stage::Answered(..) | Stage::Filtering(_) | Stage::Granting(_) => {
                    return Err(503);
                }
            }
            Ok(None)
        });
        kept.unwrap_or(Err(503))
    }
}

/// Notes that it is the turn of a request's page.
fn note_turn(request: &mut Request) {
    let visit = request.visit();
    request.existing_context::<Context, _>(|_, context| {
        if let Stage::Showing(pages) = &mut context.stage
            && let Some((_, page)) = pages.iter_mut().find(|(of, _)| *of == visit)
        {
            page.take_turn();
        }
    });
}

/// The form that the client wants.
fn wanted(request: &Request) -> Result<Format, u16> {
    if !matches!(request.method(), b"GET" | b"HEAD") {
        return Err(405);
    }
    match Format::of_query(request.args()) {
        Ok(Some(format)) => Ok(format),
        Ok(None) => Ok(Format::of_accept(request.headers(b"accept"))),
        Err(_) => Err(400),
    }
}

/// The answer with numbers in that form.
fn shown<B>(format: Format, body: B) -> Answer<B> {
    Answer {
        status: 200,
        content_type: format.content_type().into(),
        headers: vec![
            ("Vary", b"Accept".into()),
            ("Cache-Control", b"no-store".into()),
            ("X-Content-Type-Options", b"nosniff".into()),
            ("Content-Security-Policy", POLICY.into()),
        ],
        body,
    }
}

fn render(census: &Census, format: Format) -> String {
    let (workers, connected, [waiting, hashes_queued, hashes_running, lists]) = census.workers;
    let (free, size) = census.pages;
    let (server, address) = store::server().unwrap_or_else(|| (Arc::from(""), None));
    let snapshot = Snapshot {
        version: env!("CARGO_PKG_VERSION"),
        nginx: nginx_version(),
        now: event::unix_seconds(),
        since: census.since,
        counters: &census.counters,
        gauges: Gauges {
            workers: workers.into(),
            connected: connected as u64,
            waiting,
            hashes_queued,
            hashes_running,
            lists,
        },
        zone: Zone {
            name: &census.name,
            size,
            free,
            records: census.records.into(),
            negative_entries: census.negative_entries.into(),
            evicted: census.counters.get(EVICTED).copied().unwrap_or_default(),
        },
        redis: Redis {
            server: &server,
            address: address.as_deref().unwrap_or_default(),
            changes: census.changes,
        },
    };
    snapshot.render(format)
}
