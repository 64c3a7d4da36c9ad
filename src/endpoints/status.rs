//! `registry_auth_status`: the numbers of all workers, for people and for those who collect numbers.

use std::sync::Arc;

use registry_auth_cache::EVICTED;
use registry_auth_metrics::{Format, Gauges, Redis, Snapshot, Zone};

use crate::ffi::content::{Answer, Content};
use crate::ffi::request::Request;
use crate::ffi::{event, nginx_version};
use crate::worker::cache::{self, Census};
use crate::worker::{store, totals, usage};

/// The page's only source is itself: no script, no picture, no font.
const POLICY: &[u8] = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                        frame-ancestors 'none'";

/// The page with what is known of all requests together.
pub struct Status;

/// The page with what is counted by user and by repository.
pub struct Usage;

impl Content for Status {
    fn answer(request: &mut Request) -> Result<Answer, u16> {
        shown(request, |format| {
            totals::add_up();
            cache::census().map(|census| render(&census, format))
        })
    }
}

impl Content for Usage {
    fn answer(request: &mut Request) -> Result<Answer, u16> {
        shown(request, |format| usage::shown().map(|usage| usage.render(format)))
    }
}

/// The answer with numbers in the form that the client wants.
fn shown(request: &Request, render: impl FnOnce(Format) -> Option<String>) -> Result<Answer, u16> {
    if !matches!(request.method(), b"GET" | b"HEAD") {
        return Err(405);
    }
    let format = match Format::of_query(request.args()) {
        Ok(Some(format)) => format,
        Ok(None) => Format::of_accept(request.headers(b"accept")),
        Err(_) => return Err(400),
    };
    Ok(Answer {
        status: 200,
        content_type: format.content_type().into(),
        headers: vec![
            ("Vary", b"Accept".into()),
            ("Cache-Control", b"no-store".into()),
            ("X-Content-Type-Options", b"nosniff".into()),
            ("Content-Security-Policy", POLICY.into()),
        ],
        body: render(format).ok_or(503_u16)?.into_bytes(),
    })
}

fn render(census: &Census, format: Format) -> String {
    let (workers, connected, [waiting, hashes_queued, hashes_running, lists]) = census.workers;
    let (free, size) = census.pages;
    let server = store::server().unwrap_or_else(|| Arc::from(""));
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
            changes: census.changes,
        },
    };
    snapshot.render(format)
}
