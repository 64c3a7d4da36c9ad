//! `registry-authctl check`: what is wrong with the server and with what is stored.
//!
//! Errors are what keeps somebody out or loses data, warnings what should be changed. Remarks are neither, and do not count.

use crate::error::Error;
use crate::output::{printable, styled, Output, BAD, DOUBTFUL, GOOD};
use crate::progress::Bar;
use crate::time;
use anstyle::Style;
use registry_auth_redis::admin::{Counts, Finding, Health, Problem};
use registry_auth_redis::{Admin, AdminError};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

/// What is listed of each kind for people; `--json` has all.
const SHOWN: usize = 10;
/// Of a round trip: a lookup waits for one.
const SLOW: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Warning,
    Remark,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Remark => "remark",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Error => BAD,
            Self::Warning => DOUBTFUL,
            Self::Remark => GOOD,
        }
    }
}

/// Findings of one kind, and where they are.
type Report = BTreeMap<(Level, String), Vec<String>>;

pub(crate) async fn run<C>(
    connect: impl Fn() -> C,
    endpoint: &str,
    prefix: &str,
    out: &Output,
) -> Result<(), Error>
where
    C: Future<Output = Result<Admin, AdminError>>,
{
    let admin = connect().await?;
    let health = admin.health().await?;
    let mut report = Report::new();
    server(&health, &mut report);
    let bar = Bar::share("reading records");
    let mut found = |finding: Finding| {
        let (level, what, place) = describe(finding, prefix);
        report.entry((level, what)).or_default().push(place);
    };
    let counts = admin
        .inspect(time::now()?, &mut found, &|share| bar.set_share(share))
        .await?;
    drop(bar);
    for places in report.values_mut() {
        places.sort_unstable();
        places.dedup();
    }
    let bad = report.keys().any(|(level, _)| *level != Level::Remark);
    out.print(
        &text(&health, counts, &report, endpoint, prefix),
        &json(&health, counts, &report, bad),
    )?;
    match bad {
        true => Err(Error::Refused),
        false => Ok(()),
    }
}

fn server(health: &Health, report: &mut Report) {
    let mut add = |level, what: String| {
        report.entry((level, what)).or_default();
    };
    if let Some(policy) = health
        .policy
        .as_deref()
        .filter(|policy| policy.starts_with("allkeys-"))
    {
        add(
            Level::Error,
            format!(
                "maxmemory-policy is {policy}: where memory is short, Redis drops users, and denials with them; set it to \
                 noeviction"
            ),
        );
    }
    if health.role.as_deref() == Some("slave") {
        add(
            Level::Warning,
            "this is a replica: changes must go to its master".to_owned(),
        );
    }
    if health.latency > SLOW {
        add(
            Level::Warning,
            format!(
                "a round trip takes {}: every lookup waits for one",
                milliseconds(health.latency)
            ),
        );
    }
    if let Err(why) = &health.tracking {
        add(
            Level::Warning,
            format!(
                "Redis does not tell this Redis user what changes ({why}): if the module logs in as the same user, its cache \
                 lives for ttl; it takes Redis 6, +hello and +client|tracking"
            ),
        );
    }
    if let Some(why) = &health.refused {
        add(
            Level::Remark,
            format!("version and maxmemory-policy are unknown, INFO was refused: {why}"),
        );
    }
}

/// How bad, what, and where.
fn describe(finding: Finding, prefix: &str) -> (Level, String, String) {
    let key = finding.key;
    match finding.problem {
        Problem::Unreadable(why) => (
            Level::Error,
            "records that cannot be read: requests that need them are refused (503)".to_owned(),
            format!("{key}: {why}"),
        ),
        Problem::Hash { user, why } => (
            Level::Error,
            "passwords that cannot be checked: these users are refused (503); to set new ones: registry-authctl user \
             passwd NAME"
                .to_owned(),
            format!("{user}: {why}"),
        ),
        Problem::Weak { user, why } => (
            Level::Warning,
            "passwords that are guessed fast if the hashes leak; to set new ones: registry-authctl user passwd NAME"
                .to_owned(),
            format!("{user}: {why}"),
        ),
        Problem::UnknownGroup(group) => (
            Level::Warning,
            "users in groups that do not exist, which grant nothing; registry-authctl group add GROUP, or group leave \
             GROUP USER"
                .to_owned(),
            format!("{key}: {group}"),
        ),
        Problem::UnknownField(field) => (
            Level::Warning,
            "fields that the module does not know, so that they have no effect".to_owned(),
            format!("{key}: {field}"),
        ),
        Problem::Name(name) => (
            Level::Warning,
            "names that no client can send, so that nobody can log in with them".to_owned(),
            format!("{key}: {name}"),
        ),
        Problem::Superseded(user) => (
            Level::Remark,
            format!(
                "passwords in {prefix}:passwords that have no effect, as the user's record has one; registry-authctl \
                 migrate removes them"
            ),
            user,
        ),
        Problem::ExpiredToken(id) => (
            Level::Remark,
            "access tokens that have expired; registry-authctl token revoke USER ID removes one".to_owned(),
            format!("{key}: {id}"),
        ),
        Problem::TokenUse(why) => (
            Level::Warning,
            "keys in which the last use of access tokens cannot be recorded; look at it with redis-cli, and rename or delete \
             it"
                .to_owned(),
            format!("{key}: {why}"),
        ),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn text(health: &Health, counts: Counts, report: &Report, endpoint: &str, prefix: &str) -> String {
    let version = health.version.as_deref().unwrap_or("(version unknown)");
    let mut lines = vec![
        format!(
            "{endpoint}: Redis {version}, answers in {}",
            milliseconds(health.latency)
        ),
        format!(
            "users: {} (locked: {}, without a password: {}, with one in {prefix}:passwords: {}), groups: {}",
            counts.users, counts.locked, counts.no_password, counts.old, counts.groups
        ),
    ];
    for ((level, what), places) in report {
        let label = styled(level.style(), level.name());
        let count = match places.len() {
            0 => String::new(),
            count => format!("{count} "),
        };
        lines.push(format!("{label}: {count}{what}"));
        lines.extend(
            places
                .iter()
                .take(SHOWN)
                .map(|place| format!("    {}", printable(place))),
        );
        if let Some(more) = places.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            lines.push(format!("    and {more} more (--json tells all)"));
        }
    }
    if report.is_empty() {
        lines.push(styled(GOOD, "nothing is wrong"));
    }
    lines.join("\n")
}

fn json(health: &Health, counts: Counts, report: &Report, bad: bool) -> Value {
    let findings: Vec<Value> = report
        .iter()
        .map(|((level, what), places)| json!({ "level": level.name(), "what": what, "where": places }))
        .collect();
    json!({
        "ok": !bad,
        "redis": {
            "version": health.version, "maxmemory_policy": health.policy, "role": health.role,
            "latency_ms": health.latency.as_secs_f64() * 1000.0, "tracking": health.tracking.is_ok(),
        },
        "users": counts.users, "locked": counts.locked, "no_password": counts.no_password,
        "in_passwords": counts.old, "groups": counts.groups, "findings": findings,
    })
}
