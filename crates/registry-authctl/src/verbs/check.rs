//! `registry-authctl check`: what is wrong with the server and with what is stored.
//!
//! Errors are what keeps somebody out or loses data, warnings what should be changed. Remarks are neither,
//! and do not count.

use crate::connector::Connector;
use crate::error::Error;
use crate::terminal::output::{BAD, DOUBTFUL, GOOD, Output, printable, styled};
use crate::terminal::progress::Bar;
use crate::time;
use crate::verbs::backend::SEVERAL;
use anstyle::Style;
use registry_auth_admin::{AdminError, Counts, Finding, Health, Problem};
use registry_auth_redis::Rung;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is listed of each kind for people; `--json` has all.
const SHOWN: usize = 10;
/// Of a round trip: a lookup waits for one.
const SLOW: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Error,
    Warning,
    Remark,
}

impl Severity {
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

/// One kind of finding: said of one, and of several.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FindingKind {
    level: Severity,
    one: String,
    many: String,
}

impl FindingKind {
    fn new(level: Severity, one: impl Into<String>, many: impl Into<String>) -> Self {
        let (one, many) = (one.into(), many.into());
        Self { level, one, many }
    }

    /// Of the server, which there is one of.
    fn single(level: Severity, what: String) -> Self {
        Self::new(level, what.clone(), what)
    }
}

/// Findings of one kind: whom or what they concern, and where they are.
type Report = BTreeMap<FindingKind, Vec<(String, String)>>;

pub(crate) async fn run(connector: &Connector, out: &Output) -> Result<(), Error> {
    let (endpoint, prefix) = (&connector.place(), connector.prefix());
    let admin = connector.connect().await?;
    let health = admin.health().await?;
    let mut report = Report::new();
    server(&health, &mut report);
    let bar = Bar::share("reading records");
    let mut found = |finding: Finding| {
        let (kind, thing, place) = describe(finding, prefix);
        report.entry(kind).or_default().push((thing, place));
    };
    let counts = admin
        .inspect(time::now()?, &mut found, &|share| bar.set_share(share))
        .await;
    drop(bar);
    let counts = match counts {
        Ok(counts) => Some(counts),
        // What was found of the server is worth saying: this may be the module's own Redis user.
        Err(AdminError::Forbidden(why)) => {
            let what = format!("what is stored was not looked through, as this Redis user may not: {why}");
            report.insert(FindingKind::single(Severity::Warning, what), Vec::new());
            None
        }
        Err(error) => return Err(error.into()),
    };
    if counts.is_some_and(|counts| counts.users == 0) {
        let what = format!(
            "there are no users under the prefix {prefix} yet; if there should be, see whether --prefix \
             (REGISTRY_AUTH_PREFIX) is what registry_auth_prefix of nginx.conf says"
        );
        report.insert(FindingKind::single(Severity::Remark, what), Vec::new());
    }
    for places in report.values_mut() {
        places.sort_unstable();
        places.dedup();
    }
    let bad = report.keys().any(|kind| kind.level != Severity::Remark);
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
        report.entry(FindingKind::single(level, what)).or_default();
    };
    if let Some(policy) = health
        .policy
        .as_deref()
        .filter(|policy| policy.starts_with("allkeys-"))
    {
        add(
            Severity::Error,
            format!(
                "maxmemory-policy is {policy}: where memory is short, Redis drops users, and denials with \
                 them; set it to noeviction"
            ),
        );
    }
    if health.role.as_deref() == Some("slave") {
        add(
            Severity::Warning,
            "this is a replica: changes must go to its master".to_owned(),
        );
    }
    if health.latency > SLOW {
        add(
            Severity::Warning,
            format!(
                "a round trip takes {}: every lookup waits for one",
                milliseconds(health.latency)
            ),
        );
    }
    let (rung, why) = (health.changes.0, health.changes.1.join("; "));
    let channel = &health.channel;
    match rung {
        Rung::Broadcast => {}
        Rung::Tracking => add(
            Severity::Remark,
            format!("Redis tells changes only of what was asked for, as it does not know BCAST ({why})"),
        ),
        Rung::Channel => add(
            Severity::Warning,
            format!(
                "Redis does not tell this Redis user what changes ({why}): if the module logs in as the same \
                 user, it hears on the channel {channel} of what this tool changes, and what others change \
                 counts after ttl; to hear of all takes Redis 6, +hello and +client|tracking"
            ),
        ),
        Rung::Ttl => add(
            Severity::Warning,
            format!(
                "Redis does not tell this Redis user what changes ({why}): if the module logs in as the same \
                 user, its cache lives for ttl; it takes Redis 6, +hello and +client|tracking, or else \
                 &{channel} and +subscribe"
            ),
        ),
    }
    if rung > Rung::Tracking && !health.may_publish {
        add(
            Severity::Warning,
            format!(
                "this Redis user may not PUBLISH on {channel}, where this tool tells gates what it changes \
                 if Redis does not: it takes &{channel} and +publish"
            ),
        );
    }
    for (command, why) in &health.lookups {
        add(
            Severity::Warning,
            format!(
                "this Redis user may not {command} as the module does, whose requests would be refused \
                with 503: {why}"
            ),
        );
    }
    if let Some(why) = &health.refused {
        add(
            Severity::Remark,
            format!("version and maxmemory-policy are unknown, INFO was refused: {why}"),
        );
    }
}

/// What, whom or what it concerns, and where.
fn describe(finding: Finding, prefix: &str) -> (FindingKind, String, String) {
    let key = finding.key;
    let kind = FindingKind::new;
    match finding.problem {
        Problem::Unreadable(why) => (
            kind(
                Severity::Error,
                "record that cannot be read: requests that need it are refused (503)",
                "records that cannot be read: requests that need them are refused (503)",
            ),
            key.clone(),
            format!("{key}: {why}"),
        ),
        Problem::SkippedBackend(field) => (
            kind(
                Severity::Warning,
                "list with a backend that is neither host:port nor host, and is skipped: requests go to the \
                 others; to set it anew: registry-authctl backend set SUBJECT HOST:PORT...",
                "lists with backends that are neither host:port nor host, and are skipped: requests go to \
                 the others; to set one anew: registry-authctl backend set SUBJECT HOST:PORT...",
            ),
            key.clone(),
            match field {
                Some(field) => format!("{key}: field {field}"),
                None => key,
            },
        ),
        Problem::Address(pattern) => (
            kind(
                Severity::Remark,
                "pattern that begins with what looks like a registry's address, which is no part of a \
                 repository's name: what clients call registry.example.com/team/app is team/app here",
                "patterns that begin with what looks like a registry's address, which is no part of a \
                 repository's name: what clients call registry.example.com/team/app is team/app here",
            ),
            format!("{key}: {pattern}"),
            format!("{key}: {pattern}"),
        ),
        Problem::Hash { user, why } => (
            kind(
                Severity::Error,
                "password that cannot be checked: its user is refused (503); to set a new one: \
                 registry-authctl user passwd NAME",
                "passwords that cannot be checked: these users are refused (503); to set new ones: \
                 registry-authctl user passwd NAME",
            ),
            user.clone(),
            format!("{user}: {why}"),
        ),
        Problem::Weak { user, why } => (
            kind(
                Severity::Warning,
                "password that is guessed fast if its hash leaks; to set a new one: registry-authctl user \
                 passwd NAME; registry_auth_rehash of nginx does so when its owner logs in",
                "passwords that are guessed fast if the hashes leak; to set new ones: registry-authctl user \
                 passwd NAME; registry_auth_rehash of nginx does so when their owners log in",
            ),
            user.clone(),
            format!("{user}: {why}"),
        ),
        Problem::UnknownGroup(group) => (
            kind(
                Severity::Warning,
                "user in a group that does not exist, which grants nothing; registry-authctl group add \
                 GROUP, or group leave GROUP USER",
                "users in groups that do not exist, which grant nothing; registry-authctl group add GROUP, \
                 or group leave GROUP USER",
            ),
            key.clone(),
            format!("{key}: {group}"),
        ),
        Problem::UnknownField(field) => {
            let place = format!("{key}: {field}");
            let kind = kind(
                Severity::Warning,
                "field that the module does not know, so that it has no effect",
                "fields that the module does not know, so that they have no effect",
            );
            (kind, place.clone(), place)
        }
        Problem::Name(name) => {
            let place = format!("{key}: {name}");
            let kind = kind(
                Severity::Warning,
                "name that no client can send, so that nobody can log in with it",
                "names that no client can send, so that nobody can log in with them",
            );
            (kind, place.clone(), place)
        }
        Problem::Superseded(user) => (
            FindingKind::new(
                Severity::Remark,
                format!(
                    "password in {prefix}:passwords that has no effect, as the user's record has one; \
                     registry-authctl migrate removes it"
                ),
                format!(
                    "passwords in {prefix}:passwords that have no effect, as the users' records have some; \
                     registry-authctl migrate removes them"
                ),
            ),
            user.clone(),
            user,
        ),
        Problem::ExpiredToken(id) => {
            let place = format!("{key}: {id}");
            let kind = kind(
                Severity::Remark,
                "access token that has expired; registry-authctl token revoke USER ID removes it",
                "access tokens that have expired; registry-authctl token revoke USER ID removes one",
            );
            (kind, place.clone(), place)
        }
        Problem::TokenUse(why) => (
            FindingKind::single(
                Severity::Warning,
                "key in which the last use of access tokens cannot be recorded; look at it with redis-cli, \
                 and rename or delete it"
                    .to_owned(),
            ),
            key.clone(),
            format!("{key}: {why}"),
        ),
        Problem::NoOwner(id) => {
            let place = format!("{key}: {id}");
            let kind = FindingKind::new(
                Severity::Remark,
                format!(
                    "access token that is accepted with its user's name only (Basic), not alone (Bearer), as \
                     {prefix}:token-owners lacks it; registry-authctl migrate --apply adds it"
                ),
                format!(
                    "access tokens that are accepted with their users' names only (Basic), not alone \
                     (Bearer), as {prefix}:token-owners lacks them; registry-authctl migrate --apply adds \
                     them"
                ),
            );
            (kind, place.clone(), place)
        }
        Problem::OwnerOfNothing { token, user } => {
            let place = format!("{key}: {token}… of {user}");
            let kind = kind(
                Severity::Remark,
                "entry for an access token that nobody has, which lets nobody in; registry-authctl migrate \
                 --apply removes it",
                "entries for access tokens that nobody has, which let nobody in; registry-authctl migrate \
                 --apply removes them",
            );
            (kind, place.clone(), place)
        }
        Problem::TokenOwners(why) => (
            FindingKind::single(
                Severity::Warning,
                "key that should say whose the access tokens are: none is accepted without its user's name \
                 (503 for Bearer), and none can be created; look at it with redis-cli, and rename or delete \
                 it, then registry-authctl migrate --apply"
                    .to_owned(),
            ),
            key.clone(),
            format!("{key}: {why}"),
        ),
        Problem::Owned {
            user,
            subject,
            pattern,
        } => (
            kind(
                Severity::Remark,
                "user who has every right, by the name, on what somebody else was granted, too; without \
                 registry_auth_own_namespace not",
                "users who have every right, by their names, on what somebody else was granted, too; without \
                 registry_auth_own_namespace not",
            ),
            user.clone(),
            format!("{user}: {pattern} of {subject}"),
        ),
        Problem::Several { subject, backends } => (
            FindingKind::new(
                Severity::Remark,
                format!("set of several backends; {SEVERAL}"),
                format!("sets of several backends; {SEVERAL}"),
            ),
            subject.clone(),
            format!("{subject}: {}", backends.join(" ")),
        ),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn text(health: &Health, counts: Option<Counts>, report: &Report, endpoint: &str, prefix: &str) -> String {
    let version = health.version.as_deref().unwrap_or("(version unknown)");
    let rung = health.changes.0;
    let tracking = match rung {
        Rung::Broadcast | Rung::Tracking => "tells this Redis user what changes",
        Rung::Channel => "tells this Redis user what registry-authctl changes",
        Rung::Ttl => "does not tell this Redis user what changes",
    };
    let latency = milliseconds(health.latency);
    let mut lines = vec![format!(
        "{endpoint}: Redis {version}, answers in {latency}, {tracking} (changes: {rung})"
    )];
    if let Some(counts) = counts {
        lines.push(format!(
            "users: {} (locked: {}, without a password: {}, with one in {prefix}:passwords: {}), groups: {}",
            counts.users, counts.locked, counts.no_password, counts.old, counts.groups
        ));
        lines.push(match (counts.defaults, counts.with_backends) {
            (0, 0) => "backends: none, so that all requests go to the upstream's own server lines if it has \
                       any, and get 503 else"
                .to_owned(),
            (defaults, with) => {
                format!("backends: {defaults} of everybody; users and groups with their own: {with}")
            }
        });
    }
    for (kind, places) in report {
        let label = styled(kind.level.style(), kind.level.name());
        let things: BTreeSet<&str> = places.iter().map(|(thing, _)| thing.as_str()).collect();
        let what = match things.len() {
            0 => kind.one.clone(),
            1 => format!("1 {}", kind.one),
            count => format!("{count} {}", kind.many),
        };
        lines.push(format!("{label}: {what}"));
        lines.extend(
            places
                .iter()
                .take(SHOWN)
                .map(|(_, place)| format!("    {}", printable(place))),
        );
        if let Some(more) = places.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            lines.push(format!("    and {more} more (--json tells all)"));
        }
    }
    let is_empty = counts.is_some_and(|counts| counts.users == 0);
    if !is_empty && report.keys().all(|kind| kind.level == Severity::Remark) {
        lines.push(styled(GOOD, "nothing is wrong"));
    }
    lines.join("\n")
}

fn json(health: &Health, counts: Option<Counts>, report: &Report, bad: bool) -> Value {
    let place = |(_, place): &(String, String)| json!(place);
    let findings: Vec<Value> = report
        .iter()
        .map(|(kind, places)| {
            let places: Vec<Value> = places.iter().map(place).collect();
            json!({ "level": kind.level.name(), "what": kind.many, "where": places })
        })
        .collect();
    let count = |of: fn(Counts) -> usize| counts.map(of);
    json!({
        "ok": !bad,
        "redis": {
            "version": health.version, "maxmemory_policy": health.policy, "role": health.role,
            "latency_ms": health.latency.as_secs_f64() * 1000.0,
            "tracking": health.changes.0 <= Rung::Tracking,
            "changes": health.changes.0.as_str(), "may_publish": health.may_publish,
        },
        "users": count(|counts| counts.users), "locked": count(|counts| counts.locked),
        "no_password": count(|counts| counts.no_password), "in_passwords": count(|counts| counts.old),
        "groups": count(|counts| counts.groups), "default_backends": count(|counts| counts.defaults),
        "with_backends": count(|counts| counts.with_backends), "findings": findings,
    })
}
