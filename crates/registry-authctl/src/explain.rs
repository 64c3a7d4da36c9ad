//! `registry-authctl explain`: the module's own decision about the records that the module would read.

mod explanation;

use crate::cli::{ExplainArgs, Switch};
use crate::error::Error;
use crate::output::{note, printable, styled, Output, BAD, GOOD};
use crate::token::is_id;
use explanation::{explain, group_label, refusal, unreadable, Explanation};
use registry_auth::policy::Rules;
use registry_auth::{Record, RepositoryName, UserName};
use registry_auth_redis::admin::{Access, PUBLIC};
use registry_auth_redis::{Admin, AdminError};
use serde_json::json;
use std::future::Future;

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
    if let Some(token) = &args.token {
        is_id(token)?;
    }
    let rules = Rules {
        own_namespace: args.own_namespace == Switch::On,
        catalog: true,
        public_images: false,
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
            let explanation = explain(
                user,
                access,
                &repository,
                args.action,
                args.token.as_deref(),
                rules,
            )?;
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
    let with = match &args.token {
        Some(id) => format!(" with token {}", printable(id)),
        None => String::new(),
    };
    let mut lines = vec![
        format!(
            "{verdict}: {who} {may} {} {}{with}{status}",
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
            "user": args.user, "token": args.token, "action": args.action.as_str(), "repository": args.repository,
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
