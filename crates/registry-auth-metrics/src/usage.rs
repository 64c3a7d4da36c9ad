//! The forms of what is counted by user and by repository: a page, JSON, and text for Prometheus.
//!
//! Shown at a place of its own: unlike the other numbers, these name users and repositories.

use crate::accept::Format;
use crate::exposition::{Dialect, write_family};
use crate::family::{Family, Kind, Sample};
use crate::page::{STYLE, date, escaped, grouped};
use registry_auth_usage::{Counts, Row};
use serde_json::{Value, json};
use std::fmt::Write;

/// What is counted by user and by repository.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What all requests came to.
    pub total: Counts,
    /// The users with the most requests.
    pub users: Vec<Row>,
    /// The repositories with the most requests.
    pub repositories: Vec<Row>,
}

impl Usage {
    /// The text of a form.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Html => self.page(),
            Format::Json => self.json(),
            Format::Prometheus => self.exposition(Dialect::Prometheus),
            Format::OpenMetrics => self.exposition(Dialect::OpenMetrics) + "# EOF\n",
        }
    }

    fn json(&self) -> String {
        let rows = |rows: &[Row]| -> Value {
            let row = |row: &Row| {
                let mut value = counts(&row.counts);
                if let Value::Object(value) = &mut value {
                    value.insert("name".to_owned(), row.name.as_str().into());
                    value.insert("missed".to_owned(), row.missed.into());
                    let last = row.counts.last_pull;
                    value.insert("last_pull".to_owned(), (last > 0).then_some(last).into());
                }
                value
            };
            rows.iter().map(row).collect()
        };
        let all = json!({
            "since": self.since,
            "total": counts(&self.total),
            "users": rows(&self.users),
            "repositories": rows(&self.repositories),
        });
        format!("{all}\n")
    }

    fn exposition(&self, dialect: Dialect) -> String {
        let mut text = String::new();
        let since = Family {
            name: "usage_start_time_seconds",
            kind: Kind::Gauge,
            help: "Since when usage is counted, in seconds since 1970.",
            samples: vec![Sample {
                labels: Vec::new(),
                value: self.since,
            }],
        };
        write_family(&mut text, &since, dialect);
        for (label, names, rows) in [
            ("user", USER, &self.users),
            ("repository", REPOSITORY, &self.repositories),
        ] {
            for (name, (kind, help, value)) in names.into_iter().zip(COLUMNS) {
                let samples = rows.iter().map(|row| Sample {
                    labels: vec![(label, row.name.as_str().into())],
                    value: value(row),
                });
                let family = Family {
                    name,
                    kind,
                    help,
                    samples: samples.collect(),
                };
                write_family(&mut text, &family, dialect);
            }
        }
        text
    }

    fn page(&self) -> String {
        let mut text = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>registry auth: usage</title>\n<style>{}</style></head><body>\n\
             <h1>Usage</h1>\n<p>counted since {} UTC: {} pulls, {} pushes, {} bytes in, {} bytes out</p>\n",
            STYLE.trim_end(),
            date(self.since),
            grouped(self.total.pulls),
            grouped(self.total.pushes),
            grouped(self.total.bytes_in),
            grouped(self.total.bytes_out)
        );
        table(&mut text, "Users", &self.users);
        table(&mut text, "Repositories", &self.repositories);
        text.push_str(
            "<p>JSON: <a href=\"?format=json\">?format=json</a> · \
             Prometheus: <a href=\"?format=prometheus\">?format=prometheus</a></p>\n</body></html>\n",
        );
        text
    }
}

/// Names of the families of users; those of repositories are in the same order.
const USER: [&str; 7] = [
    "user_requests",
    "user_pulls",
    "user_pushes",
    "user_received_bytes",
    "user_sent_bytes",
    "user_last_pull_timestamp_seconds",
    "user_missed_requests",
];
const REPOSITORY: [&str; 7] = [
    "repository_requests",
    "repository_pulls",
    "repository_pushes",
    "repository_received_bytes",
    "repository_sent_bytes",
    "repository_last_pull_timestamp_seconds",
    "repository_missed_requests",
];

/// Of each family its kind, what it is, and its value.
type Column = (Kind, &'static str, fn(&Row) -> u64);
const COLUMNS: [Column; 7] = [
    (Kind::Counter, "Requests that were let through.", |row| {
        row.counts.requests
    }),
    (Kind::Counter, "Manifests that were fetched.", |row| {
        row.counts.pulls
    }),
    (Kind::Counter, "Manifests that were stored.", |row| {
        row.counts.pushes
    }),
    (Kind::Counter, "Bytes of requests, with their headers.", |row| {
        row.counts.bytes_in
    }),
    (Kind::Counter, "Bytes of answers, with their headers.", |row| {
        row.counts.bytes_out
    }),
    (
        Kind::Gauge,
        "When a manifest was fetched last; 0 for never.",
        |row| row.counts.last_pull,
    ),
    (
        Kind::Gauge,
        "Requests that may be missing in the others, at most.",
        |row| row.missed,
    ),
];

fn counts(counts: &Counts) -> Value {
    json!({
        "requests": counts.requests,
        "pulls": counts.pulls,
        "pushes": counts.pushes,
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
    })
}

fn table(text: &mut String, title: &str, rows: &[Row]) {
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "<h2>{title}</h2>\n<table class=\"u\">\n<tr><th scope=\"col\">name</th><th scope=\"col\">pulls</th>\
         <th scope=\"col\">pushes</th><th scope=\"col\">bytes in</th><th scope=\"col\">bytes out</th>\
         <th scope=\"col\">last pull</th></tr>\n"
    );
    for row in rows {
        let Counts {
            pulls,
            pushes,
            bytes_in,
            bytes_out,
            last_pull,
            ..
        } = row.counts;
        let last = if last_pull == 0 {
            "–".to_owned()
        } else {
            date(last_pull)
        };
        // What may be missing is said where something may.
        let missed = match row.missed {
            0 => String::new(),
            missed => format!(" <small>up to {} requests missed</small>", grouped(missed)),
        };
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">{}{missed}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{last}</td></tr>",
            escaped(&row.name),
            grouped(pulls),
            grouped(pushes),
            grouped(bytes_in),
            grouped(bytes_out)
        );
    }
    text.push_str("</table>\n");
}
