//! The forms of what is counted by user and by repository: a page, JSON, and text for Prometheus.
//!
//! There may be a hundred thousand names, so that a form is written a little at a time.
//! Shown at a place of its own: unlike the other numbers, these name users and repositories.

use crate::accept::Format;
use crate::exposition::{Dialect, SampleName, write_head, write_sample};
use crate::family::{Kind, Sample};
use crate::page::{STYLE, date, escaped, grouped};
use registry_auth_usage::{Counts, Row, Table};
use serde_json::{Value, json};
use std::collections::VecDeque;
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

/// The text of a form in the making.
pub struct Rendering {
    usage: Usage,
    /// What is still to be written.
    parts: VecDeque<Part>,
    /// How many rows of the first of these are written.
    written: usize,
}

/// A part of a form.
enum Part {
    /// As it is.
    Text(String),
    /// Each row of a table, in the way of that column or form.
    Rows(Table, RowForm),
}

/// How a row is written.
#[derive(Clone, Copy)]
enum RowForm {
    /// An object, after a comma where another was before it.
    Json,
    /// A sample of one column.
    Sample(&'static str, SampleName<'static>, fn(&Row) -> u64),
    /// A row of the page's table.
    Cells,
}

impl Usage {
    /// The text of a form, to be written a little at a time.
    pub fn render(self, format: Format) -> Rendering {
        let parts = match format {
            Format::Html => self.page(),
            Format::Json => self.json(),
            Format::Prometheus => self.exposition(Dialect::Prometheus),
            Format::OpenMetrics => self.exposition(Dialect::OpenMetrics),
        };
        Rendering {
            usage: self,
            parts: parts.into(),
            written: 0,
        }
    }

    fn rows(&self, table: Table) -> &[Row] {
        match table {
            Table::Users => &self.users,
            Table::Repositories => &self.repositories,
        }
    }

    fn json(&self) -> Vec<Part> {
        let all = format!(
            "],\"since\":{},\"total\":{},\"users\":[",
            self.since,
            counts(&self.total)
        );
        vec![
            Part::Text("{\"repositories\":[".to_owned()),
            Part::Rows(Table::Repositories, RowForm::Json),
            Part::Text(all),
            Part::Rows(Table::Users, RowForm::Json),
            Part::Text("]}\n".to_owned()),
        ]
    }

    fn exposition(&self, dialect: Dialect) -> Vec<Part> {
        let (since, help) = (
            "usage_start_time_seconds",
            "Since when usage is counted, in seconds since 1970.",
        );
        let mut text = String::new();
        write_head(&mut text, Kind::Gauge, since, help, dialect);
        let sample = Sample {
            labels: Vec::new(),
            value: self.since,
        };
        write_sample(&mut text, SampleName::new(Kind::Gauge, since), &sample);
        let mut parts = vec![Part::Text(text)];
        for (table, label, names) in [
            (Table::Users, "user", USER),
            (Table::Repositories, "repository", REPOSITORY),
        ] {
            for (name, (kind, help, value)) in names.into_iter().zip(COLUMNS) {
                let mut head = String::new();
                write_head(&mut head, kind, name, help, dialect);
                let form = RowForm::Sample(label, SampleName::new(kind, name), value);
                parts.extend([Part::Text(head), Part::Rows(table, form)]);
            }
        }
        if dialect == Dialect::OpenMetrics {
            parts.push(Part::Text("# EOF\n".to_owned()));
        }
        parts
    }

    fn page(&self) -> Vec<Part> {
        let top = format!(
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
        let end = "<p>JSON: <a href=\"?format=json\">?format=json</a> · \
                   Prometheus: <a href=\"?format=prometheus\">?format=prometheus</a></p>\n</body></html>\n";
        vec![
            Part::Text(top + &table_head("Users")),
            Part::Rows(Table::Users, RowForm::Cells),
            Part::Text(TABLE_END.to_owned() + &table_head("Repositories")),
            Part::Rows(Table::Repositories, RowForm::Cells),
            Part::Text(TABLE_END.to_owned() + end),
        ]
    }
}

impl Rendering {
    /// Adds what comes next to a text, for as long as `go_on` says, and until the text has `most` bytes or a
    /// little more. Whether that was all.
    pub fn write(&mut self, text: &mut String, most: usize, mut go_on: impl FnMut() -> bool) -> bool {
        while text.len() < most && go_on() {
            match self.parts.front() {
                Some(Part::Text(part)) => {
                    text.push_str(part);
                    self.parts.pop_front();
                }
                Some(Part::Rows(table, form)) => match self.usage.rows(*table).get(self.written) {
                    Some(row) => {
                        form.write(text, row, self.written);
                        self.written += 1;
                    }
                    None => {
                        self.parts.pop_front();
                        self.written = 0;
                    }
                },
                // To give back the memory of so many names takes its time, too.
                None if self.usage.users.pop().is_some() || self.usage.repositories.pop().is_some() => {}
                None => return true,
            }
        }
        false
    }
}

impl RowForm {
    fn write(self, text: &mut String, row: &Row, before: usize) {
        match self {
            Self::Json => {
                if before > 0 {
                    text.push(',');
                }
                let last = row.counts.last_pull;
                let mut value = counts(&row.counts);
                if let Value::Object(value) = &mut value {
                    value.insert("name".to_owned(), row.name.as_str().into());
                    value.insert("missed".to_owned(), row.missed.into());
                    value.insert("last_pull".to_owned(), (last > 0).then_some(last).into());
                }
                // Writing to a string cannot fail.
                let _ = write!(text, "{value}");
            }
            Self::Sample(label, name, value) => {
                let sample = Sample {
                    labels: vec![(label, row.name.as_str().into())],
                    value: value(row),
                };
                write_sample(text, name, &sample);
            }
            Self::Cells => write_cells(text, row),
        }
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

const TABLE_END: &str = "</table>\n";

fn table_head(title: &str) -> String {
    format!(
        "<h2>{title}</h2>\n<table class=\"u\">\n<tr><th scope=\"col\">name</th><th scope=\"col\">pulls</th>\
         <th scope=\"col\">pushes</th><th scope=\"col\">bytes in</th><th scope=\"col\">bytes out</th>\
         <th scope=\"col\">last pull</th></tr>\n"
    )
}

fn write_cells(text: &mut String, row: &Row) {
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
    // Writing to a string cannot fail.
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
