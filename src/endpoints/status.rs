//! `registry_auth_status`: the zone's counters, for people and for those who collect numbers.

use std::fmt::Write;

use registry_auth::{RequestResult, Source};
use registry_auth_cache::EVICTED;
use serde_json::{Map, Value};

use crate::ffi::content::{Answer, Content};
use crate::ffi::request::Request;
use crate::worker::cache::{self, Census};
use crate::worker::counters::{self, CacheState, FIRST_OF_CACHE, FIRST_OF_SOURCE};

/// The page.
pub struct Status;

impl Content for Status {
    fn answer(request: &mut Request) -> Result<Answer, u16> {
        if !matches!(request.method(), b"GET" | b"HEAD") {
            return Err(405);
        }
        let format = request
            .args()
            .split(|byte| *byte == b'&')
            .find_map(|argument| argument.strip_prefix(b"format="));
        counters::add_up();
        let census = cache::census().ok_or(503_u16)?;
        let (content_type, body) = match format {
            None | Some(b"html") => ("text/html", html(&census)),
            Some(b"json") => ("application/json", json(&census)),
            Some(b"prometheus") => ("text/plain; version=0.0.4", prometheus(&census)),
            Some(_) => return Err(400),
        };
        Ok(Answer {
            status: 200,
            content_type: content_type.into(),
            headers: Vec::new(),
            body: body.map_err(|_| 500_u16)?.into_bytes(),
        })
    }
}

/// A number with the name, label and explanation under which it is shown.
struct Row {
    family: &'static str,
    kind: &'static str,
    help: &'static str,
    label: Option<(&'static str, &'static str)>,
    value: u64,
}

/// Everything that is shown, rows of one family being neighbours.
fn rows(census: &Census) -> Vec<Row> {
    let counter = |index: usize| census.counters.get(index).copied().unwrap_or_default();
    let results = RequestResult::ALL.iter().enumerate().map(|(index, result)| Row {
        family: "requests",
        kind: "counter",
        help: "Decisions about requests, by $registry_auth_result.",
        label: Some(("result", result.as_str())),
        value: counter(index),
    });
    let cache = CacheState::ALL.iter().enumerate().map(|(index, state)| Row {
        family: "cache",
        kind: "counter",
        help: "What the cache did, where it was asked, by $registry_auth_cache.",
        label: Some(("state", state.as_str())),
        value: counter(FIRST_OF_CACHE + index),
    });
    let sources = Source::ALL.iter().enumerate().map(|(index, source)| Row {
        family: "source",
        kind: "counter",
        help: "Answers to granted requests, by $registry_auth_source, where a store or a cache is in use.",
        label: Some(("source", source.as_str())),
        value: counter(FIRST_OF_SOURCE + index),
    });
    let gauge = |family, help, value| Row {
        family,
        kind: "gauge",
        help,
        label: None,
        value,
    };
    let (free, size) = census.pages;
    results
        .chain(cache)
        .chain(sources)
        .chain([
            Row {
                family: "evicted",
                kind: "counter",
                help: "Records that made room in the zone for others.",
                label: None,
                value: counter(EVICTED),
            },
            gauge("records", "Records in the zone.", census.records.into()),
            gauge(
                "negative_entries",
                "Users that do not exist and counters of failed logins in the zone.",
                census.negative_entries.into(),
            ),
            gauge("zone_bytes", "Size of the zone.", size),
            gauge("zone_free_bytes", "Bytes in the zone's free pages.", free),
            gauge(
                "tracking",
                "Whether the worker that answers may trust the zone: 1, or 0 while Redis is unreachable.",
                census.trusted.into(),
            ),
        ])
        .collect()
}

fn prometheus(census: &Census) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let mut last = "";
    for row in rows(census) {
        let suffix = if row.kind == "counter" { "_total" } else { "" };
        let name = format!("registry_auth_{}{suffix}", row.family);
        if last != row.family {
            writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", row.help, row.kind)?;
            last = row.family;
        }
        match row.label {
            Some((label, value)) => writeln!(text, "{name}{{{label}=\"{value}\"}} {}", row.value)?,
            None => writeln!(text, "{name} {}", row.value)?,
        }
    }
    Ok(text)
}

fn json(census: &Census) -> Result<String, std::fmt::Error> {
    let mut all = Map::new();
    for row in rows(census) {
        match row.label {
            Some((_, label)) => {
                let family = all.entry(row.family).or_insert_with(|| Map::new().into());
                if let Value::Object(family) = family {
                    family.insert(label.to_owned(), row.value.into());
                }
            }
            None => {
                all.insert(row.family.to_owned(), row.value.into());
            }
        }
    }
    Ok(format!("{}\n", Value::Object(all)))
}

fn html(census: &Census) -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>registry auth</title></head>\n<body>\n<h1>registry auth</h1>\n<table>\n",
    );
    for row in rows(census) {
        let label = row.label.map_or("", |(_, value)| value);
        writeln!(
            text,
            "<tr title=\"{}\"><th scope=\"row\">{} {label}</th><td>{}</td></tr>",
            row.help, row.family, row.value
        )?;
    }
    text.push_str("</table>\n</body></html>\n");
    Ok(text)
}
