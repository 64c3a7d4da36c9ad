//! What each form shows of the same numbers, and that none can be broken by a name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use registry_auth::route::{Method, Request, RouteKind, RouteOptions, parse};
use registry_auth::{Action, RequestResult};
use registry_auth_metrics::counters::{self, CLASSES, CacheState};
use registry_auth_metrics::{Changes, Format, Gauges, Redis, Snapshot, Zone};
use serde_json::Value;

/// Counters of some requests.
fn counted() -> Vec<u64> {
    let mut counters = vec![0; counters::END];
    let mut add = |index: usize, more| counters[index] += more;
    add(
        counters::decision(RouteKind::Manifest, Some(Action::Pull), RequestResult::Granted),
        15_000,
    );
    add(
        counters::decision(RouteKind::Upload, Some(Action::Push), RequestResult::Granted),
        902,
    );
    add(
        counters::decision(RouteKind::Login, None, RequestResult::Unauthenticated),
        1_011,
    );
    add(
        counters::decision(RouteKind::Manifest, Some(Action::Push), RequestResult::Denied),
        87,
    );
    add(
        counters::decision(RouteKind::None, None, RequestResult::Invalid),
        17,
    );
    add(counters::cache(CacheState::Hit), 987);
    add(counters::cache(CacheState::Miss), 13);
    add(counters::OUTAGES, 2);
    add(counters::FAILOVERS, 1);
    add(counters::LOOKUPS.bucket(400), 3);
    add(counters::LOOKUPS.bucket(700), 2);
    add(counters::LOOKUPS.bucket(30_000_000), 1);
    add(counters::LOOKUPS.sum(), 30_002_600);
    counters
}

fn snapshot(counters: &[u64]) -> Snapshot<'_> {
    Snapshot {
        version: "0.1.0",
        nginx: "1.22.1",
        now: 1_795_841_000,
        since: 1_795_836_660,
        counters,
        gauges: Gauges {
            workers: 4,
            connected: 3,
            waiting: 1,
            ..Gauges::default()
        },
        zone: Zone {
            name: "registry_auth",
            size: 10 << 20,
            free: 9 << 20,
            records: 612,
            negative_entries: 1,
            evicted: 0,
        },
        redis: Redis {
            server: "redis://127.0.0.1:6379/0",
            address: "127.0.0.1:6379",
            changes: Changes::Tracking,
        },
    }
}

/// The value of a sample, by its name and labels.
fn sample(text: &str, name: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(str::to_owned)
}

#[test]
fn each_route_has_a_counter_of_its_own_for_each_result() {
    let mut seen = std::collections::BTreeSet::new();
    for (kind, action) in CLASSES {
        for result in RequestResult::ALL {
            assert!(
                seen.insert(counters::decision(kind, action, result)),
                "{kind:?} {action:?}"
            );
        }
    }
    assert!(seen.iter().all(|index| *index < counters::cache(CacheState::Hit)));
    assert!(
        RouteKind::ALL
            .iter()
            .all(|kind| CLASSES.iter().any(|(other, _)| other == kind))
    );
}

#[test]
fn whatever_is_a_route_is_in_the_table() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let paths = [
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/blobs/{digest}"),
        "/v2/a/blobs/uploads/".to_owned(),
        "/v2/a/blobs/uploads/1".to_owned(),
        "/v2/a/tags/list".to_owned(),
        format!("/v2/a/referrers/{digest}"),
        "/v2/a/_oci/ext".to_owned(),
        "/v2/A/tags/list".to_owned(),
        "/v1/_ping".to_owned(),
        "/v1/users/".to_owned(),
        "/v1/search".to_owned(),
        "/v1/repositories/a/images".to_owned(),
        "/v1/repositories/a/tags/v1".to_owned(),
        format!("/v1/images/{}/layer", "ab".repeat(32)),
    ];
    let (mut routes, mut kinds) = (0, std::collections::BTreeSet::new());
    for path in &paths {
        for method in Method::ALL {
            let request = Request::from_target(method, path.as_bytes(), path.as_bytes(), None);
            let Ok(route) = parse(&request, &RouteOptions { v1_images: true }) else {
                continue;
            };
            let class = (route.kind, route.action());
            assert!(CLASSES.contains(&class), "{method:?} {path}: {class:?}");
            assert_ne!(route.kind, RouteKind::None);
            routes += 1;
            kinds.insert(route.kind.as_str());
        }
    }
    assert!(routes > 25);
    // All but the token endpoint, which is no route, and what is on none.
    assert_eq!(kinds.len(), RouteKind::ALL.len() - 2, "{kinds:?}");
}

#[test]
fn prometheus_has_each_number_under_its_labels() {
    let counters = counted();
    let text = snapshot(&counters).render(Format::Prometheus);
    for (name, value) in [
        (
            "registry_auth_build_info{version=\"0.1.0\",nginx=\"1.22.1\"}",
            "1",
        ),
        ("registry_auth_start_time_seconds", "1795836660"),
        (
            "registry_auth_requests_total{result=\"granted\",action=\"pull\",route=\"manifest\"}",
            "15000",
        ),
        (
            "registry_auth_requests_total{result=\"granted\",action=\"push\",route=\"upload\"}",
            "902",
        ),
        (
            "registry_auth_requests_total{result=\"unauthenticated\",action=\"none\",route=\"login\"}",
            "1011",
        ),
        (
            "registry_auth_requests_total{result=\"invalid\",action=\"none\",route=\"none\"}",
            "17",
        ),
        (
            "registry_auth_requests_total{result=\"throttled\",action=\"none\",route=\"token\"}",
            "0",
        ),
        ("registry_auth_cache_total{state=\"HIT\"}", "987"),
        (
            "registry_auth_redis_info{server=\"redis://127.0.0.1:6379/0\",address=\"127.0.0.1:6379\",\
             changes=\"tracking\"}",
            "1",
        ),
        ("registry_auth_redis_outages_total", "2"),
        ("registry_auth_redis_failovers_total", "1"),
        ("registry_auth_redis_connected_workers", "3"),
        ("registry_auth_tracking", "1"),
        ("registry_auth_lookup_duration_seconds_bucket{le=\"0.0005\"}", "3"),
        ("registry_auth_lookup_duration_seconds_bucket{le=\"0.001\"}", "5"),
        ("registry_auth_lookup_duration_seconds_bucket{le=\"1.0\"}", "5"),
        ("registry_auth_lookup_duration_seconds_bucket{le=\"+Inf\"}", "6"),
        ("registry_auth_lookup_duration_seconds_sum", "30.0026"),
        ("registry_auth_lookup_duration_seconds_count", "6"),
    ] {
        assert_eq!(sample(&text, name).as_deref(), Some(value), "{name}\n{text}");
    }
    assert!(text.contains("\n# TYPE registry_auth_requests_total counter\n"));
    assert!(text.contains("\n# TYPE registry_auth_lookup_duration_seconds histogram\n"));
}

#[test]
fn open_metrics_names_families_without_their_suffix_and_ends() {
    let counters = counted();
    let text = snapshot(&counters).render(Format::OpenMetrics);
    assert!(text.starts_with("# HELP registry_auth_build The versions"));
    assert!(text.contains("\n# TYPE registry_auth_build info\nregistry_auth_build_info{"));
    assert!(text.contains("\n# TYPE registry_auth_requests counter\nregistry_auth_requests_total{"));
    assert!(text.ends_with("\n# EOF\n"));
    assert_eq!(text.matches("# EOF").count(), 1);
}

#[test]
fn json_has_the_same_numbers() {
    let counters = counted();
    let all: Value = serde_json::from_str(&snapshot(&counters).render(Format::Json)).unwrap();
    assert_eq!(all["requests"]["granted"], 15_902);
    assert_eq!(all["requests"]["throttled"], 0);
    assert_eq!(all["cache"]["HIT"], 987);
    assert_eq!(all["records"], 612);
    assert_eq!(all["build"]["nginx"], "1.22.1");
    assert_eq!(all["redis"]["changes"], "tracking");
    assert_eq!(all["lookup_duration_seconds"]["count"], 6);
    assert_eq!(all["lookup_duration_seconds"]["buckets"]["0.001"], 5);
    let routes = all["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 5);
    assert!(routes.contains(&serde_json::json!(
        { "route": "manifest", "action": "push", "requests": { "denied": 87 } }
    )));
}

#[test]
fn the_page_says_it_at_a_glance_and_has_no_script() {
    let counters = counted();
    let page = snapshot(&counters).render(Format::Html);
    for words in [
        "<h1>registry auth 0.1.0</h1>",
        "nginx 1.22.1 · 4 workers · counting since 2026-11-28 03:31 UTC (1 h 12 min)",
        "<b class=\"ok\">reachable</b>",
        "<b>98.7&nbsp;%</b>",
        "987 of 1,000",
        "<b>17,017</b>",
        "3.9 a second",
        "<th scope=\"row\">granted</th><td class=\"n\">15,902</td>",
        "Cache zone “registry_auth”",
        "1.0 of 10.0 MiB in use · 612 records · 1 unknown or failed login · 0 made room for others",
        "<a href=\"?format=json\">",
        "<a href=\"?format=prometheus\">",
    ] {
        assert!(page.contains(words), "{words}\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains("connected to"));
    for server in [
        "redis+sentinel://a,b,c/main",
        "redis+sentinel://a,10.0.0.5:6379/main",
        "redis://10.0.0.6,10.0.0.5:6379",
        "redis://10.0.0.5:6379,10.0.0.6/0",
        "redis+sentinel://10.0.0.5:63791/main",
        "redis://redis.example.com/0",
    ] {
        let one_of_them = Redis {
            server,
            address: "10.0.0.5:6379",
            ..snapshot(&counters).redis
        };
        let page = Snapshot {
            redis: one_of_them,
            ..snapshot(&counters)
        }
        .render(Format::Html);
        let words = format!("{server}<br>connected to 10.0.0.5:6379<br>tells");
        assert!(page.contains(&words), "{words}\n{page}");
    }
    let unreachable = Redis {
        changes: Changes::Unreachable,
        ..snapshot(&counters).redis
    };
    let page = Snapshot {
        redis: unreachable,
        ..snapshot(&counters)
    }
    .render(Format::Html);
    assert!(page.contains("<b class=\"bad\">unreachable</b>"));
}

#[test]
fn no_name_breaks_a_form() {
    let counters = counted();
    let hostile = "x\"}\n</style><script>alert(1)</script>\\";
    let all = Snapshot {
        redis: Redis {
            server: hostile,
            address: hostile,
            changes: Changes::Expiry,
        },
        zone: Zone {
            name: hostile,
            ..snapshot(&counters).zone
        },
        ..snapshot(&counters)
    };
    assert!(!all.render(Format::Html).contains("<script"));
    let text = all.render(Format::Prometheus);
    assert!(
        text.contains("address=\"x\\\"}\\n</style><script>alert(1)</script>\\\\\",changes=\"expiry\"} 1\n")
    );
    let json: Value = serde_json::from_str(&all.render(Format::Json)).unwrap();
    assert_eq!(json["redis"]["server"], hostile);
}

#[test]
fn empty_memory_shows_zeroes() {
    for format in Format::ALL {
        assert!(!Snapshot::default().render(format).is_empty());
    }
}

/// All of a form, in slices of one step each, that end at the latest after so many bytes: the same whatever
/// these are.
fn whole(usage: &registry_auth_metrics::usage::Usage, format: Format) -> String {
    let texts = [1, 100, usize::MAX].map(|most| {
        let (mut rendering, mut all) = (usage.clone().render(format), String::new());
        loop {
            let (mut text, mut steps) = (String::new(), 0..1);
            let is_done = rendering.write(&mut text, most, || most < usize::MAX || steps.next().is_some());
            all.push_str(&text);
            if is_done {
                return all;
            }
        }
    });
    assert!(texts.iter().all(|text| *text == texts[0]));
    let [text, ..] = texts;
    text
}

#[test]
fn usage_has_a_row_for_each_name_in_every_form_and_no_name_breaks_one() {
    let row = |name: &str, missed| registry_auth_usage::Row {
        name: name.to_owned(),
        counts: registry_auth_usage::Counts {
            requests: 12,
            pulls: 3,
            pushes: 1,
            bytes_in: 400,
            bytes_out: 5_000,
            last_pull: 1_795_836_660,
        },
        missed,
    };
    let usage = registry_auth_metrics::usage::Usage {
        since: 1_795_836_000,
        users: vec![row("alice", 0), row("<b>\"\\\n", 7)],
        repositories: vec![row("team/app", 0)],
        ..Default::default()
    };
    let text = whole(&usage, Format::Prometheus);
    assert_eq!(
        sample(&text, "registry_auth_user_pulls_total{user=\"alice\"}").as_deref(),
        Some("3")
    );
    let hostile = "registry_auth_user_missed_requests{user=\"<b>\\\"\\\\\\n\"}";
    assert_eq!(sample(&text, hostile).as_deref(), Some("7"));
    let repository = "registry_auth_repository_last_pull_timestamp_seconds{repository=\"team/app\"}";
    assert_eq!(sample(&text, repository).as_deref(), Some("1795836660"));
    assert!(whole(&usage, Format::OpenMetrics).ends_with("\n# EOF\n"));
    let json: Value = serde_json::from_str(&whole(&usage, Format::Json)).unwrap();
    assert_eq!(json["users"][0]["bytes_out"], 5_000);
    assert_eq!(json["users"][1]["name"], "<b>\"\\\n");
    let page = whole(&usage, Format::Html);
    assert!(page.contains("<th scope=\"row\">alice</th><td>3</td><td>1</td><td>400</td><td>5,000</td>"));
    assert!(page.contains("&lt;b&gt;&quot;") && !page.contains("<b>"));
    assert!(page.contains("up to 7 requests missed"));
}
