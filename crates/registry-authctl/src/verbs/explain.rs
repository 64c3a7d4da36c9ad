//! `registry-authctl explain`: the module's own decision about the records that the module would read.

mod explanation;

use crate::cli::{ExplainArgs, Switch, TokenId};
use crate::connector::Connector;
use crate::error::Error;
use crate::terminal::output::{BAD, GOOD, Output, note, printable, styled};
use crate::verbs::grant::remark_on_hosts;
use explanation::{Explanation, explain, group_label, refusal, unreadable};
use registry_auth::policy::Rules;
use registry_auth::scope::Action;
use registry_auth::{Record, RepositoryName, UserName, UserNameBuf, rendezvous};
use registry_auth_admin::{AccessRecords, Admin, AdminError, PUBLIC};
use serde_json::json;

pub(crate) async fn run(args: ExplainArgs, connector: &Connector, out: &Output) -> Result<(), Error> {
    let user = args.user.as_ref().map(UserNameBuf::as_name);
    let repository = &args.repository;
    let token = args.token.as_ref().map(TokenId::as_str);
    let rules = Rules {
        own_namespace: args.own_namespace == Switch::On,
        catalog: true,
        public_images: false,
    };
    let admin = connector.connect().await?;
    let access = admin.access(user).await;
    let mut unknown = Vec::new();
    let (explanation, backends) = match &access {
        Ok(access) => {
            let missing = access
                .groups
                .iter()
                .filter(|group| group.name != PUBLIC && group.record.is_none());
            unknown.extend(missing.map(|group| group.name.as_str()));
            for group in &unknown {
                note(&format!(
                    "the group {} does not exist, so it grants nothing",
                    printable(group)
                ));
            }
            let records = access.groups.iter().filter_map(|group| group.record.as_ref());
            let grants = [&access.user]
                .into_iter()
                .chain(records)
                .flat_map(|record| &record.grants);
            let names = grants
                .map(|grant| grant.pattern.as_str())
                .chain([repository.as_str()]);
            remark_on_hosts(&admin, names).await;
            let mut explanation = explain(user, access, repository, args.action, token, rules)?;
            if explanation.kind == "none" && rules.own_namespace {
                explanation.hint = own_repositories(user, repository, &admin).await;
            }
            let backends = backends(access).map(|backends| (backends, in_place_of(access)));
            (explanation, Some(backends))
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
        Some(Err(why)) if explanation.allowed => return show(&args, &unreadable(why), None, &unknown, out),
        _ => return show(&args, &explanation, None, &unknown, out),
    };
    show(&args, &explanation, Some(backends), &unknown, out)
}

/// Where a user's own repositories are, for one who names a repository that is nobody's.
async fn own_repositories(
    user: Option<UserName<'_>>,
    repository: &RepositoryName<'_>,
    admin: &Admin,
) -> Option<String> {
    let user = user.filter(UserName::is_path_segment)?;
    let (owner, rest) = match repository.as_str().split_once('/') {
        Some((owner, rest)) => (Some(owner), rest),
        None => (None, repository.as_str()),
    };
    if let Some(owner) = owner.and_then(|owner| UserName::parse(owner.as_bytes()).ok())
        && !matches!(admin.user_find(owner).await, Ok(None))
    {
        return None;
    }
    Some(format!(
        "{user}'s own repositories are {user}/..., for example {user}/{rest}"
    ))
}

/// Backends, and whose they are: `user`, `@team`, `public`, `default`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Backends {
    names: Vec<String>,
    source: String,
}

impl Backends {
    /// Where the module sends what concerns the repository, if it balances by repository, and nothing is
    /// down.
    fn of(&self, repository: &str) -> Option<&str> {
        let rank = |name: &&String| rendezvous::rank(repository.as_bytes(), name.as_bytes(), name.as_bytes());
        // Of equals the module takes the first, and this the last: they are the same.
        self.names.iter().max_by_key(rank).map(String::as_str)
    }

    pub(crate) fn shown(&self) -> String {
        match (self.names.is_empty(), self.source.as_str()) {
            (true, _) => "the upstream's own server lines".to_owned(),
            (false, "user") => format!("{} (the user's own)", self.names.join(" ")),
            (false, "default") => format!("{} (everybody's)", self.names.join(" ")),
            (false, group) => format!("{} (of {})", self.names.join(" "), printable(group)),
        }
    }
}

/// The user's, else those of the first group that has some, else everybody's.
pub(crate) fn backends(access: &AccessRecords) -> Result<Backends, String> {
    let mut all = sources(access);
    match all.is_empty() {
        true => defaults(access),
        false => Ok(all.swap_remove(0)),
    }
}

/// Where the requests would go without the group by which they go where they do; `None` where no group
/// decides.
fn in_place_of(access: &AccessRecords) -> Option<Backends> {
    let all = sources(access);
    if all.first()?.source == "user" {
        return None;
    }
    all.into_iter().nth(1).or_else(|| {
        let defaults = defaults(access).ok()?;
        (!defaults.names.is_empty()).then_some(defaults)
    })
}

/// Those that are not everybody's, the first of which holds.
fn sources(access: &AccessRecords) -> Vec<Backends> {
    let of = |record: &Record, source: String| Backends {
        names: record.backends.iter().map(|peer| peer.name.clone()).collect(),
        source,
    };
    let groups = access.groups.iter().enumerate();
    let groups = groups
        .filter_map(|(index, group)| Some(of(group.record.as_ref()?, group_label(&access.groups, index))));
    [of(&access.user, "user".to_owned())]
        .into_iter()
        .chain(groups)
        .filter(|backends| !backends.names.is_empty())
        .collect()
}

fn defaults(access: &AccessRecords) -> Result<Backends, String> {
    let names = access.backends.clone()?;
    let source = "default".to_owned();
    Ok(Backends { names, source })
}

fn show(
    args: &ExplainArgs,
    explanation: &Explanation,
    backends: Option<(Backends, Option<Backends>)>,
    unknown: &[&str],
    out: &Output,
) -> Result<(), Error> {
    let who = args.user.as_ref().map_or("the anonymous", UserNameBuf::as_str);
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
    let with = match &args.token {
        Some(id) => format!(" with token {}", printable(id.as_str())),
        None => String::new(),
    };
    let mut lines = vec![
        format!(
            "{verdict}: {who} {may} {} {}{with}{status}",
            args.action, args.repository
        ),
        format!("rule:    {}", printable(&explanation.why)),
    ];
    lines.extend(explanation.hint.iter().map(|hint| format!("         {hint}")));
    if explanation.existence {
        lines.push(
            "but:     HEAD of manifests and blobs is allowed, as clients ask before they push, which the \
             user may"
                .to_owned(),
        );
    }
    if let Some((backends, before)) = &backends {
        let shown = match backends.names.is_empty() {
            true => "none is stored: the upstream's own server lines, or 503".to_owned(),
            false => backends.shown(),
        };
        lines.push(format!("backend: {shown}"));
        if let (Some(name), true) = (backends.of(args.repository.as_str()), backends.names.len() > 1) {
            lines.push(format!(
                "         {} goes to {name}; with balance=turn to each of them",
                args.repository
            ));
        }
        if let Some(before) = before {
            lines.push(format!("         in place of {}", before.shown()));
        }
    }
    let source = backends
        .as_ref()
        .filter(|(backends, _)| !backends.names.is_empty());
    let before = backends.as_ref().and_then(|(_, before)| before.as_ref());
    out.print(
        &lines.join("\n"),
        &json!({
            "user": args.user.as_ref().map(UserNameBuf::as_str),
            "token": args.token.as_ref().map(TokenId::as_str),
            "action": args.action.as_str(), "repository": args.repository.as_str(),
            "allowed": explanation.allowed, "rule": explanation.kind, "why": explanation.why,
            "grant": explanation.grant, "source": explanation.source, "status": explanation.status,
            "head": explanation.allowed && args.action == Action::Pull || explanation.existence,
            "backends": backends.as_ref().map(|(backends, _)| &backends.names),
            "backend": source.and_then(|(backends, _)| backends.of(args.repository.as_str())),
            "backends_of": source.map(|(backends, _)| &backends.source),
            "backends_in_place_of": before.map(|before| &before.names),
            "unknown_groups": unknown, "hint": explanation.hint,
        }),
    )?;
    match explanation.allowed {
        true => Ok(()),
        false => Err(Error::Refused),
    }
}
