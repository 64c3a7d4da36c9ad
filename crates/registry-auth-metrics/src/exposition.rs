//! The text formats that Prometheus reads: its own (0.0.4) and OpenMetrics 1.0.0.
//!
//! Label values are escaped, whatever they are: a server's name comes from the configuration.

use crate::family::{self, Durations, Family, Kind, Sample, seconds};
use crate::snapshot::Snapshot;
use std::fmt::Write;

/// What all names begin with.
pub(crate) const PREFIX: &str = "registry_auth_";

/// In which of the two formats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Prometheus,
    OpenMetrics,
}

pub(crate) fn prometheus(all: &Snapshot<'_>) -> String {
    exposition(all, Dialect::Prometheus)
}

pub(crate) fn open_metrics(all: &Snapshot<'_>) -> String {
    let mut text = exposition(all, Dialect::OpenMetrics);
    text.push_str("# EOF\n");
    text
}

fn exposition(all: &Snapshot<'_>, dialect: Dialect) -> String {
    let mut text = String::new();
    for family in family::families(all) {
        write_family(&mut text, &family, dialect);
    }
    for durations in family::durations(all) {
        write_durations(&mut text, &durations);
    }
    text
}

pub(crate) fn write_family(text: &mut String, family: &Family<'_>, dialect: Dialect) {
    write_head(text, family.kind, family.name, family.help, dialect);
    let name = SampleName::new(family.kind, family.name);
    for sample in &family.samples {
        write_sample(text, name, sample);
    }
}

/// What stands above the samples of a family.
pub(crate) fn write_head(text: &mut String, kind: Kind, name: &str, help: &str, dialect: Dialect) {
    let of_kind = match (kind, dialect) {
        (Kind::Counter, _) => "counter",
        (Kind::Gauge, _) | (Kind::Info, Dialect::Prometheus) => "gauge",
        (Kind::Info, Dialect::OpenMetrics) => "info",
    };
    // In OpenMetrics the suffix belongs to the sample only.
    let suffix = match dialect {
        Dialect::Prometheus => SampleName::new(kind, name).suffix,
        Dialect::OpenMetrics => "",
    };
    put(text, format_args!("# HELP {PREFIX}{name}{suffix} {help}\n"));
    put(text, format_args!("# TYPE {PREFIX}{name}{suffix} {of_kind}\n"));
}

/// What samples of a family begin with.
#[derive(Clone, Copy)]
pub(crate) struct SampleName<'a> {
    name: &'a str,
    suffix: &'static str,
}

impl<'a> SampleName<'a> {
    pub(crate) fn new(kind: Kind, name: &'a str) -> Self {
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Info => "_info",
        };
        Self { name, suffix }
    }
}

pub(crate) fn write_sample(
    text: &mut String,
    SampleName { name, suffix }: SampleName<'_>,
    sample: &Sample<'_>,
) {
    put(text, format_args!("{PREFIX}{name}{suffix}"));
    for (index, (label, value)) in sample.labels.iter().enumerate() {
        put(
            text,
            format_args!("{}{label}=\"", if index == 0 { "{" } else { "," }),
        );
        escape(text, value);
        text.push('"');
    }
    text.push_str(if sample.labels.is_empty() { "" } else { "}" });
    put(text, format_args!(" {}\n", sample.value));
}

fn write_durations(text: &mut String, durations: &Durations) {
    let Durations { name, help, .. } = durations;
    put(
        text,
        format_args!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} histogram\n"),
    );
    for (bound, count) in &durations.buckets {
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| seconds(bound.into()));
        put(
            text,
            format_args!("{PREFIX}{name}_bucket{{le=\"{bound}\"}} {count}\n"),
        );
    }
    put(
        text,
        format_args!("{PREFIX}{name}_sum {}\n", seconds(durations.sum)),
    );
    put(text, format_args!("{PREFIX}{name}_count {}\n", durations.count()));
}

fn put(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(more);
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}
