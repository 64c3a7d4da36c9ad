//! `registry-authctl explain`: the module's own decision about the records that the module would read.

use crate::cli::{ExplainArgs, Switch};
use crate::error::Error;
use crate::output::{note, printable, styled, Output, BAD, GOOD};
use registry_auth::codec::{encode, RecordRef};
use registry_auth::policy::{judge, Rule, Rules, Source};
use registry_auth::scope::Action;
use registry_auth::subject::{Limits, Subject};
use registry_auth::{Record, RepositoryName, UserName};
use registry_auth_redis::admin::{Access, GroupRecord, PUBLIC};
use registry_auth_redis::Admin;
use registry_auth_redis::AdminError;
use serde_json::{json, Value};
use std::future::Future;

/// The answer to the question, ready to be shown.
struct Explanation {
    allowed: bool,
    /// The one word for programs.
    kind: &'static str,
    /// Why, for people.
    why: String,
    /// The grant that decided.
    grant: Option<Value>,
    /// Whose grant: `user`, `@team`, `public`.
    source: Option<String>,
    /// The status of a refusal.
    status: Option<u16>,
}

pub(crate) async fn run<C>(args: ExplainArgs, connect: impl Fn() -> C, out: &Output) -> Result<(), Error>
where
    C: Future<Output = Result<Admin, AdminError>>,
{
    let user = args
        .user
        .as_deref()
        .map(|name| UserName::parse(name.as_bytes()))
        .transpose()
        .map_err(|_| Error::Usage("not a user name"))?;
    let repository = RepositoryName::parse(args.repository.as_bytes())
        .map_err(|_| Error::Usage("not a repository's name"))?;
    let rules = Rules {
        own_namespace: args.own_namespace == Switch::On,
        catalog: true,
    };
    let access = connect().await?.access(user).await;
    let (explanation, backends) = match &access {
        Ok(access) => {
            for group in access.groups.iter().filter(|group| group.name != PUBLIC) {
                if group.record.is_none() {
                    note(&format!(
                        "the group {} does not exist, so it grants nothing",
                        printable(&group.name)
                    ));
                }
            }
            let explanation = explain(user, access, &repository, args.action, rules)?;
            (explanation, Some(backends(access)))
        }
        Err(error @ AdminError::BadRecord { .. }) => (unreadable(error.to_string()), None),
        Err(error @ AdminError::NoUser(_)) => (
            Explanation {
                status: Some(401),
                ..refusal("unknown user", error.to_string())
            },
            None,
        ),
        Err(_) => return Err(access.err().map_or(Error::Refused, Error::Admin)),
    };
    let backends = match backends {
        Some(Ok(backends)) => backends,
        // Allowed or not, a request that would need a backend cannot be passed on.
        Some(Err(why)) if explanation.allowed => return show(&args, &unreadable(why), None, out),
        _ => return show(&args, &explanation, None, out),
    };
    show(&args, &explanation, Some(backends), out)
}

fn refusal(kind: &'static str, why: String) -> Explanation {
    Explanation {
        allowed: false,
        kind,
        why,
        grant: None,
        source: None,
        status: Some(403),
    }
}

fn unreadable(why: String) -> Explanation {
    Explanation {
        status: Some(503),
        ..refusal("unreadable", why)
    }
}

fn explain(
    user: Option<UserName<'_>>,
    access: &Access,
    repository: &RepositoryName<'_>,
    action: Action,
    rules: Rules,
) -> Result<Explanation, Error> {
    let too_large = || unreadable("a record is too large for the module".to_owned());
    let empty = Record::default();
    let mut encoded = Vec::new();
    let records = access
        .groups
        .iter()
        .map(|group| group.record.as_ref().unwrap_or(&empty));
    for record in [&access.user].into_iter().chain(records) {
        let mut bytes = Vec::new();
        if encode(record, &mut bytes).is_err() {
            return Ok(too_large());
        }
        encoded.push(bytes);
    }
    let decoded: Result<Vec<RecordRef<'_>>, _> =
        encoded.iter().map(|bytes| RecordRef::decode(bytes)).collect();
    let Some((record, groups)) = decoded.as_deref().ok().and_then(<[_]>::split_first) else {
        return Ok(too_large());
    };
    if let Some(user) = user {
        let bad_credentials = |kind, why| Explanation {
            status: Some(401),
            ..refusal(kind, why)
        };
        if record.is_locked() {
            let why = format!("the account is locked; to unlock it: registry-authctl user unlock {user}");
            return Ok(bad_credentials("locked", why));
        }
        if access.user.password.is_none() {
            let why = format!("there is no password; to set one: registry-authctl user passwd {user}");
            return Ok(bad_credentials("no password", why));
        }
    }
    let subject = Subject {
        user,
        record: *record,
        groups,
        limits: Limits::default(),
    };
    let Ok(verdict) = judge(&subject, repository, action, &rules) else {
        return Ok(too_large());
    };
    Ok(match verdict.rule {
        Rule::Grant { source, grant } => {
            let source = match source {
                Source::User => "user".to_owned(),
                Source::Group(index) => group_label(&access.groups, index),
            };
            let kind = if grant.deny { "denial" } else { "grant" };
            let actions = grant.actions.to_string();
            let pattern = grant.pattern().unwrap_or_default();
            let of = match source.as_str() {
                "user" => "the user's own record".to_owned(),
                group => group.to_owned(),
            };
            Explanation {
                allowed: verdict.allowed,
                kind,
                why: format!(
                    "{kind} {}{pattern} {actions} of {of}",
                    if grant.deny { "!" } else { "" }
                ),
                grant: Some(json!({ "pattern": pattern, "actions": actions, "deny": grant.deny })),
                source: Some(source),
                status: refused_with(verdict.allowed, user),
            }
        }
        Rule::Own => Explanation {
            allowed: verdict.allowed,
            kind: "own",
            why: "the repository is in the user's own namespace".to_owned(),
            grant: None,
            source: None,
            status: None,
        },
        _ => Explanation {
            status: refused_with(verdict.allowed, user),
            ..refusal("none", "no grant allows it".to_owned())
        },
    })
}

/// The anonymous is asked to log in.
fn refused_with(allowed: bool, user: Option<UserName<'_>>) -> Option<u16> {
    match (allowed, user) {
        (true, _) => None,
        (false, Some(_)) => Some(403),
        (false, None) => Some(401),
    }
}

fn group_label(groups: &[GroupRecord], index: usize) -> String {
    match groups.get(index).map(|group| group.name.as_str()) {
        Some(PUBLIC) | None => PUBLIC.to_owned(),
        Some(name) => format!("@{name}"),
    }
}

/// Backends and whose they are: the user's, else those of the first group that has some, else everybody's.
type Backends = (Vec<String>, String);

fn backends(access: &Access) -> Result<Backends, String> {
    let names =
        |record: &Record| -> Vec<String> { record.backends.iter().map(|peer| peer.name.clone()).collect() };
    if !access.user.backends.is_empty() {
        return Ok((names(&access.user), "user".to_owned()));
    }
    for (index, group) in access.groups.iter().enumerate() {
        if let Some(record) = group.record.as_ref().filter(|record| !record.backends.is_empty()) {
            return Ok((names(record), group_label(&access.groups, index)));
        }
    }
    match &access.backends {
        Ok(defaults) => Ok((defaults.clone(), "default".to_owned())),
        Err(why) => Err(why.clone()),
    }
}

fn show(
    args: &ExplainArgs,
    explanation: &Explanation,
    backends: Option<Backends>,
    out: &Output,
) -> Result<(), Error> {
    let who = args.user.as_deref().unwrap_or("the anonymous");
    let (verdict, may) = match explanation.allowed {
        true => (styled(GOOD, "allowed"), "may"),
        false => (styled(BAD, "refused"), "may not"),
    };
    let status = match explanation.status {
        Some(401) => " (401 UNAUTHORIZED)",
        Some(503) => " (503 UNAVAILABLE)",
        Some(_) => " (403 DENIED)",
        None => "",
    };
    let mut lines = vec![
        format!(
            "{verdict}: {who} {may} {} {}{status}",
            args.action, args.repository
        ),
        format!("rule:    {}", printable(&explanation.why)),
    ];
    if let Some((backends, source)) = &backends {
        let shown = match (backends.is_empty(), source.as_str()) {
            (true, _) => "none is stored: the upstream's own server lines, or 503".to_owned(),
            (false, "user") => format!("{} (the user's own)", backends.join(" ")),
            (false, "default") => format!("{} (everybody's)", backends.join(" ")),
            (false, group) => format!("{} (of {group})", backends.join(" ")),
        };
        lines.push(format!("backend: {shown}"));
    }
    let source = backends.as_ref().filter(|(backends, _)| !backends.is_empty());
    out.print(
        &lines.join("\n"),
        &json!({
            "user": args.user, "action": args.action.as_str(), "repository": args.repository,
            "allowed": explanation.allowed, "rule": explanation.kind, "why": explanation.why,
            "grant": explanation.grant, "source": explanation.source, "status": explanation.status,
            "backends": backends.as_ref().map(|(backends, _)| backends),
            "backends_of": source.map(|(_, source)| source),
        }),
    )?;
    match explanation.allowed {
        true => Ok(()),
        false => Err(Error::Refused),
    }
}
