//! The verbs of `registry-authctl group`.

use crate::cli::GroupVerb;
use crate::connector::Connector;
use crate::error::Error;
use crate::terminal::output::{BAD, Output, note, printable, styled};
use crate::terminal::progress::Bar;
use crate::verbs::explain::backends;
use crate::verbs::grant::grant_json;
use registry_auth::Record;
use registry_auth_admin::{GroupEntry, GroupName, PUBLIC};
use serde_json::{Value, json};

pub(crate) async fn run(verb: GroupVerb, connector: &Connector, out: &Output) -> Result<(), Error> {
    let bar = Bar::share("reading users");
    let progress = |share| bar.set_share(share);
    match verb {
        GroupVerb::Add { group } => {
            let members = connector.connect().await?.group_add(&group, &progress).await?;
            drop(bar);
            if !members.is_empty() {
                note(&format!("already in it: {}", printable(&members.join(" "))));
            }
            out.print(
                &format!("group {group} added"),
                &json!({ "group": group.as_str(), "added": true, "members": members }),
            )
        }
        GroupVerb::List => {
            let groups = connector.connect().await?.group_list(&progress).await?;
            drop(bar);
            list(&groups, out)
        }
        GroupVerb::Show { group } => {
            let admin = connector.connect().await?;
            let record = admin.group_show(&group).await?;
            let members = match group.is_public() {
                true => Vec::new(),
                false => admin.group_members(&group, &progress).await?,
            };
            drop(bar);
            show(&group, &record, &members, out)
        }
        GroupVerb::Remove { group } => {
            let members = connector.connect().await?.group_remove(&group, &progress).await?;
            drop(bar);
            let text = match (group.is_public(), members.len()) {
                (true, _) => "everything that was granted to public is removed".to_owned(),
                (false, count) => format!("group {group} removed; members: {count}"),
            };
            out.print(
                &text,
                &json!({ "group": group.as_str(), "removed": true, "members": members }),
            )
        }
        GroupVerb::Join { group, user } => {
            if group.is_public() {
                return Err(Error::Usage("everyone is in the group public"));
            }
            let member = user.as_name();
            let admin = connector.connect().await?;
            let before = admin
                .access(Some(member))
                .await
                .ok()
                .map(|access| backends(&access));
            let joined = admin.group_join(&group, member).await?;
            let after = admin
                .access(Some(member))
                .await
                .ok()
                .map(|access| backends(&access));
            if let (Some(Ok(before)), Some(Ok(after))) = (before, after)
                && before != after
            {
                note(&format!(
                    "all that {user} pulls and pushes goes to {} from now on, {user}/… included: what \
                         lies at {} is not found there",
                    after.shown(),
                    before.shown()
                ));
            }
            let text = if joined {
                "is in group"
            } else {
                "was before in group"
            };
            out.print(
                &format!("{user} {text} {group}"),
                &json!({ "group": group.as_str(), "user": user.as_str(), "member": true, "changed": joined }),
            )
        }
        GroupVerb::Leave { group, user } => {
            if group == PUBLIC {
                return Err(Error::Usage("nobody can leave the group public"));
            }
            let left = connector
                .connect()
                .await?
                .group_leave(&group, user.as_name())
                .await?;
            let text = if left {
                "is no longer in group"
            } else {
                "was not in group"
            };
            out.print(
                &format!("{user} {text} {group}"),
                &json!({ "group": group, "user": user.as_str(), "member": false, "changed": left }),
            )
        }
    }
}

fn list(groups: &[GroupEntry], out: &Output) -> Result<(), Error> {
    let line = |group: &GroupEntry| {
        let name = printable(&group.name);
        match group.counts {
            Some((grants, backends)) => format!("{name}\tgrants: {grants}, backends: {backends}"),
            None => format!("{name}\t{}", styled(BAD, "(unreadable: registry-authctl check)")),
        }
    };
    let json = |group: &GroupEntry| {
        let (grants, backends) = group.counts.unzip();
        json!({ "group": group.name, "grants": grants, "backends": backends,
                "readable": group.counts.is_some() })
    };
    out.print(
        &groups.iter().map(line).collect::<Vec<_>>().join("\n"),
        &Value::Array(groups.iter().map(json).collect()),
    )
}

fn show(group: &GroupName, record: &Record, members: &[String], out: &Output) -> Result<(), Error> {
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let backends: Vec<&str> = record.backends.iter().map(|peer| peer.name.as_str()).collect();
    let shown_members = match group.is_public() {
        true => "everyone, the anonymous included".to_owned(),
        false => or_none(printable(&members.join(" "))),
    };
    let mut lines = vec![
        format!("group:    {group}"),
        format!("members:  {shown_members}"),
        format!("backends: {}", or_none(backends.join(" "))),
    ];
    for grant in &record.grants {
        let kind = if grant.deny { "deny: " } else { "grant:" };
        lines.push(format!("{kind}    {} {}", grant.pattern, grant.actions));
    }
    let grants: Vec<Value> = record.grants.iter().map(grant_json).collect();
    out.print(
        &lines.join("\n"),
        &json!({ "group": group.as_str(), "members": members, "backends": backends, "grants": grants }),
    )
}
