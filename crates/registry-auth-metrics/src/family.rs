//! What is shown as families of samples: the same for JSON and for Prometheus.
//!
//! Users and repositories are in none of them: whoever may read the numbers need not know who there is.

use crate::counters::{self, CLASSES, CacheState, Histogram};
use crate::snapshot::Snapshot;
use registry_auth::{RequestResult, Source};
use std::borrow::Cow;

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows, and begins at 0 with the zone.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Labels with the value 1.
    Info,
}

/// Samples of one name.
pub(crate) struct Family<'a> {
    /// Without prefix and suffix.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) samples: Vec<Sample<'a>>,
}

/// One number.
pub(crate) struct Sample<'a> {
    pub(crate) labels: Vec<(&'static str, Cow<'a, str>)>,
    pub(crate) value: u64,
}

/// How long something took, how often.
pub(crate) struct Durations {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// How many took so many microseconds at most; the last bucket has no bound.
    pub(crate) buckets: Vec<(Option<u32>, u64)>,
    /// Microseconds.
    pub(crate) sum: u64,
}

impl Durations {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }
}

/// Seconds as Prometheus has them: `0.0005`, `1.0`.
pub(crate) fn seconds(microseconds: u64) -> String {
    let (whole, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let digits = format!("{rest:06}");
    let digits = digits.trim_end_matches('0');
    format!("{whole}.{}", if digits.is_empty() { "0" } else { digits })
}

fn one<'a>(kind: Kind, name: &'static str, value: u64, help: &'static str) -> Family<'a> {
    let labels = Vec::new();
    let samples = vec![Sample { labels, value }];
    Family {
        name,
        kind,
        help,
        samples,
    }
}

fn info<'a>(name: &'static str, labels: &[(&'static str, &'a str)], help: &'static str) -> Family<'a> {
    let labels = labels
        .iter()
        .map(|(name, value)| (*name, Cow::Borrowed(*value)))
        .collect();
    Family {
        name,
        kind: Kind::Info,
        help,
        samples: vec![Sample { labels, value: 1 }],
    }
}

/// All families but the histograms.
pub(crate) fn families<'a>(all: &Snapshot<'a>) -> Vec<Family<'a>> {
    let counter = |name, index, help| one(Kind::Counter, name, all.counter(index), help);
    let gauge = |name, value, help| one(Kind::Gauge, name, value, help);
    let (gauges, zone) = (&all.gauges, &all.zone);
    vec![
        info(
            "build",
            &[("version", all.version), ("nginx", all.nginx)],
            "The versions of the module and of nginx.",
        ),
        gauge(
            "start_time_seconds",
            all.since,
            "Since when is counted, in seconds since 1970.",
        ),
        gauge(
            "workers",
            gauges.workers,
            "Workers of nginx that count, at the last second.",
        ),
        requests(all),
        cache(all),
        by_source(
            all,
            "source",
            counters::source,
            "Answers to granted requests, by $registry_auth_source, where a store or a cache is in use.",
        ),
        by_source(
            all,
            "source_bytes",
            counters::source_bytes,
            "Bytes of answers to granted requests, by $registry_auth_source, as of source.",
        ),
        one(
            Kind::Counter,
            "evicted",
            zone.evicted,
            "Records that made room in the zone for others.",
        ),
        gauge("records", zone.records, "Records in the zone."),
        gauge(
            "negative_entries",
            zone.negative_entries,
            "Users that do not exist and counters of failed logins in the zone.",
        ),
        gauge("zone_bytes", zone.size, "Size of the zone."),
        gauge("zone_free_bytes", zone.free, "Bytes in the zone's free pages."),
        gauge(
            "tracking",
            u64::from(all.redis.changes != crate::Changes::Unreachable),
            "Whether the worker that answers may trust the zone: 1, or 0 while Redis is unreachable.",
        ),
        info(
            "redis",
            &[
                ("server", all.redis.server),
                ("address", all.redis.address),
                ("changes", all.redis.changes.as_str()),
            ],
            "Redis, as the worker that answers sees it, and how it tells of changes.",
        ),
        gauge(
            "redis_connected_workers",
            gauges.connected,
            "Workers that are connected to Redis, at the last second.",
        ),
        counter(
            "redis_connections",
            counters::CONNECTIONS,
            "Connections to Redis that were made.",
        ),
        counter(
            "redis_outages",
            counters::OUTAGES,
            "Connections to Redis that were lost.",
        ),
        counter(
            "redis_failovers",
            counters::FAILOVERS,
            "Connections to Redis that led to another server than the one before.",
        ),
        counter(
            "lookups_failed",
            counters::FAILED_LOOKUPS,
            "Users who could not be looked up, as Redis did not answer.",
        ),
        gauge(
            "requests_waiting",
            gauges.waiting,
            "Requests that wait for Redis or for a password to be verified.",
        ),
        gauge(
            "hashing_queued",
            gauges.hashes_queued,
            "Passwords that wait to be hashed.",
        ),
        gauge(
            "hashing_running",
            gauges.hashes_running,
            "Passwords that are being hashed.",
        ),
        counter(
            "hashing_refused",
            counters::REFUSED_HASHES,
            "Passwords that were not verified as too many others waited.",
        ),
        gauge(
            "lists",
            gauges.lists,
            "Catalogues, searches and pages of usage that are being made.",
        ),
        counter(
            "catalog_pages",
            counters::CATALOG_PAGES,
            "Pages of catalogues and searches that registries were asked for.",
        ),
    ]
}

/// The histograms.
pub(crate) fn durations(all: &Snapshot<'_>) -> [Durations; 2] {
    [
        histogram(
            all,
            counters::LOOKUPS,
            "lookup_duration_seconds",
            "How long Redis took for a lookup, from the question to all answers.",
        ),
        histogram(
            all,
            counters::HASHES,
            "hashing_duration_seconds",
            "How long a slow password hash took, without the time in the queue.",
        ),
    ]
}

fn requests<'a>(all: &Snapshot<'_>) -> Family<'a> {
    let mut samples = Vec::with_capacity(CLASSES.len() * RequestResult::ALL.len());
    for (class, (kind, action)) in CLASSES.iter().enumerate() {
        for result in RequestResult::ALL {
            let labels = vec![
                ("result", result.as_str().into()),
                ("action", action.map_or("none", |action| action.as_str()).into()),
                ("route", kind.as_str().into()),
            ];
            let value = all.counter(counters::first_of(class) + result as usize);
            samples.push(Sample { labels, value });
        }
    }
    Family {
        name: "requests",
        kind: Kind::Counter,
        help: "Decisions about requests, by $registry_auth_result, action and kind of route.",
        samples,
    }
}

fn by_source<'a>(
    all: &Snapshot<'_>,
    name: &'static str,
    counter: fn(Source) -> usize,
    help: &'static str,
) -> Family<'a> {
    let samples = Source::ALL.map(|source| Sample {
        labels: vec![("source", source.as_str().into())],
        value: all.counter(counter(source)),
    });
    Family {
        name,
        kind: Kind::Counter,
        help,
        samples: samples.into(),
    }
}

fn cache<'a>(all: &Snapshot<'_>) -> Family<'a> {
    let samples = CacheState::ALL.map(|state| Sample {
        labels: vec![("state", state.as_str().into())],
        value: all.cached(state),
    });
    Family {
        name: "cache",
        kind: Kind::Counter,
        help: "What the cache did, where it was asked, by $registry_auth_cache.",
        samples: samples.into(),
    }
}

fn histogram(all: &Snapshot<'_>, of: Histogram, name: &'static str, help: &'static str) -> Durations {
    let mut below = 0;
    let buckets = of.buckets().map(|(bound, index)| {
        below += all.counter(index);
        (bound, below)
    });
    Durations {
        name,
        help,
        buckets: buckets.collect(),
        sum: all.counter(of.sum()),
    }
}
