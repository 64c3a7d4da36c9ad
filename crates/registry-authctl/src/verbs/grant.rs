//! The verbs of `registry-authctl grant`.

use crate::cli::GrantVerb;
use crate::connector::Connector;
use crate::error::Error;
use crate::terminal::output::{BAD, Output, note, printable, styled};
use registry_auth::UserName;
use registry_auth::grant::Grant;
use registry_auth::pattern::address_of;
use registry_auth_admin::{Admin, StoredGrant};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) async fn run(verb: GrantVerb, connector: &Connector, out: &Output) -> Result<(), Error> {
    match verb {
        GrantVerb::Add {
            subject,
            pattern,
            actions,
        } => {
            let grant = pattern.with(actions);
            let admin = connector.connect().await?;
            let all = admin.grant_add(&subject, &grant).await?;
            remark_on_hosts(&admin, [grant.pattern.as_str()].into_iter()).await;
            let may = if grant.deny { "may not" } else { "may" };
            out.print(
                &format!("{subject} {may} {all} {}", grant.pattern),
                &json!({ "subject": subject.to_string(), "pattern": grant.pattern.as_str(),
                         "deny": grant.deny, "actions": all.to_string() }),
            )
        }
        GrantVerb::Remove {
            subject,
            pattern,
            actions,
        } => {
            let left = connector
                .connect()
                .await?
                .grant_remove(&subject, &pattern, actions)
                .await?
                .map(|left| left.to_string());
            let shown = printable(&pattern);
            let text = match &left {
                Some(left) => format!("grant {shown} of {subject} is now {left}"),
                None => format!("grant {shown} of {subject} removed"),
            };
            out.print(
                &text,
                &json!({ "subject": subject.to_string(), "pattern": pattern, "actions": left }),
            )
        }
        GrantVerb::List { subject } => {
            let grants = connector.connect().await?.grants_list(&subject).await?;
            let lines: Vec<String> = grants.iter().map(line).collect();
            let json: Vec<Value> = grants.iter().map(stored_json).collect();
            out.print(
                &lines.join("\n"),
                &json!({ "subject": subject.to_string(), "grants": json }),
            )
        }
    }
}

/// Remarks on names and patterns that begin like the address of a registry, unless there is a user of that
/// name.
pub(crate) async fn remark_on_hosts<'n>(admin: &Admin, names: impl Iterator<Item = &'n str>) {
    for host in names.filter_map(address_of).collect::<BTreeSet<_>>() {
        let Ok(user) = UserName::parse(host.as_bytes()) else {
            continue;
        };
        // Where that cannot be asked, a remark too much does no harm.
        if !matches!(admin.user_find(user).await, Ok(Some(_))) {
            note(&format!(
                "{host} looks like a registry's address, which is no part of a repository's name: what \
                 clients call {host}/team/app is team/app here"
            ));
        }
    }
}

/// As it is typed at `grant add`, and at `grant remove`.
fn line(stored: &StoredGrant) -> String {
    let remark = match &stored.grant {
        Ok(_) => String::new(),
        Err(why) => styled(
            BAD,
            format!("  (unreadable, so that all of the record is refused: {why})"),
        ),
    };
    format!(
        "{} {}{remark}",
        printable(&stored.pattern),
        printable(&stored.actions)
    )
}

fn stored_json(stored: &StoredGrant) -> Value {
    match &stored.grant {
        Ok(grant) => grant_json(grant),
        Err(why) => {
            json!({ "pattern": stored.pattern, "actions": stored.actions, "deny": null,
                    "unreadable": why.to_string() })
        }
    }
}

pub(crate) fn grant_json(grant: &Grant) -> Value {
    json!({ "pattern": grant.pattern.as_str(), "actions": grant.actions.to_string(), "deny": grant.deny })
}
