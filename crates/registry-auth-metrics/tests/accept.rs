//! Which form each client gets, by the headers that it sends.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use registry_auth_metrics::Format;
use registry_auth_metrics::accept::UnknownFormat;

fn form(accept: &str) -> Format {
    Format::of_accept([accept.as_bytes()])
}

#[test]
fn browsers_get_the_page() {
    for accept in [
        // Firefox, Chromium, Safari, links.
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
         application/signed-exchange;v=b3;q=0.7",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html, text/*;q=0.5, image/*, application/*, */*;q=0.1",
    ] {
        assert_eq!(form(accept), Format::Html, "{accept}");
    }
}

#[test]
fn scrapers_get_what_they_like_best() {
    for (accept, expected) in [
        // Prometheus 2.5, 2.42, 2.54 with protobuf; VictoriaMetrics; Telegraf; Datadog.
        (
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=values;q=0.5,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::OpenMetrics,
        ),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Prometheus),
        ("text/plain", Format::Prometheus),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3",
            Format::Prometheus,
        ),
    ] {
        assert_eq!(form(accept), expected, "{accept}");
    }
}

#[test]
fn a_client_that_says_nothing_gets_the_page_as_does_one_that_takes_all_or_none_of_it() {
    assert_eq!(Format::of_accept([]), Format::Html);
    for accept in [
        "",
        "*/*",
        "text/*",
        "image/png",
        "text/html;q=0",
        "nonsense",
        ";q=1",
        "text/html;q=2",
        ",",
    ] {
        assert_eq!(form(accept), Format::Html, "{accept}");
    }
}

#[test]
fn quality_and_the_most_specific_range_decide() {
    for (accept, expected) in [
        ("application/json", Format::Json),
        ("application/json, text/html;q=0.9", Format::Json),
        ("text/html;q=0.5, application/json;q=0.6", Format::Json),
        ("text/html;q=0.123, application/json;q=0.124", Format::Json),
        ("*/*, text/html;q=0", Format::Json),
        ("text/*;q=1, text/html;q=0.1", Format::Prometheus),
        ("*/*;q=0.5, text/plain", Format::Prometheus),
        ("APPLICATION/JSON ; Q=0.8 , text/html;q=0.1", Format::Json),
        ("application/*;q=0.9, text/*;q=0.8", Format::Json),
    ] {
        assert_eq!(form(accept), expected, "{accept}");
    }
    // Two headers are one.
    assert_eq!(
        Format::of_accept([&b"text/html;q=0.1"[..], b"application/json"]),
        Format::Json
    );
}

#[test]
fn a_query_names_the_form() {
    assert_eq!(Format::of_query(b""), Ok(None));
    assert_eq!(Format::of_query(b"x=1&format=json"), Ok(Some(Format::Json)));
    assert_eq!(
        Format::of_query(b"format=prometheus&y"),
        Ok(Some(Format::Prometheus))
    );
    assert_eq!(
        Format::of_query(b"format=openmetrics"),
        Ok(Some(Format::OpenMetrics))
    );
    assert_eq!(Format::of_query(b"format=html"), Ok(Some(Format::Html)));
    for query in [&b"format="[..], b"format=xml", b"format=JSON"] {
        assert_eq!(Format::of_query(query), Err(UnknownFormat));
    }
}

proptest! {
    #[test]
    fn any_header_has_an_answer(accept in "[a-z/*;q=0-9., ]{0,80}") {
        let format = form(&accept);
        // What is refused in so many words is not given, unless nothing else is left.
        if format != Format::Html {
            let name = format.content_type().split(';').next().unwrap().to_owned();
            let refused = format!("{accept},{name};q=0");
            let only = accept.to_ascii_lowercase().contains(&name);
            prop_assert!(only || form(&refused) != format);
        }
    }
}
