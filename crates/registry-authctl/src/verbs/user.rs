//! The verbs of `registry-authctl user`.

use crate::cli::UserVerb;
use crate::connector::Connector;
use crate::error::Error;
use crate::password;
use crate::terminal::output::{Output, note, printable};
use crate::terminal::progress::Bar;
use crate::time::date;
use crate::verbs::grant::grant_json;
use registry_auth::password::Form;
use registry_auth::{Record, UserName};
use registry_auth_admin::{Admin, AdminError, Stored, UserEntry};
use serde_json::{Value, json};
use std::io::IsTerminal;

pub(crate) async fn run(verb: UserVerb, connector: &Connector, out: &Output) -> Result<(), Error> {
    match verb {
        UserVerb::Add {
            name,
            no_password,
            password,
            own_namespace_anyway,
        } => {
            // Before the question: who is refused should not have typed a password for nothing. And dropped
            // before it: Redis may close a connection that idles while somebody thinks.
            let user = name.as_name();
            if connector
                .connect()
                .await?
                .user_find(user)
                .await?
                .is_some_and(|entry| entry.stored != Stored::Nowhere)
            {
                return Err(AdminError::Exists(name.to_string()).into());
            }
            if !own_namespace_anyway {
                is_nobody_elses(user, &connector.connect().await?).await?;
            }
            let admin = || connector.connect();
            match no_password {
                true => admin().await?.user_add_without_password(user).await?,
                false => {
                    let hash = password::ask(user, &password)?;
                    admin().await?.user_add(user, &hash).await?;
                }
            }
            if !user.is_path_segment() {
                note(&format!(
                    "{name} is no legal part of a repository's name: this user has no repositories {name}/…"
                ));
            }
            if no_password {
                note(&format!(
                    "{name} has no password; to log in, {name} needs an access token: registry-authctl token \
                     create {name} --scope PATTERN:ACTIONS"
                ));
            }
            out.print(
                &format!("user {name} added"),
                &json!({ "user": name.as_str(), "added": true }),
            )
        }
        UserVerb::Passwd { name, password } => {
            let user = name.as_name();
            if connector.connect().await?.user_find(user).await?.is_none() {
                return Err(AdminError::NoUser(name.to_string()).into());
            }
            let hash = password::ask(user, &password)?;
            let set = connector.connect().await?.user_passwd(user, &hash).await?;
            if set.locked {
                note(&format!(
                    "{name} is locked; to unlock: registry-authctl user unlock {name}"
                ));
            }
            out.print(
                &format!("password of {name} changed"),
                &json!({ "user": name.as_str(), "changed": true, "locked": set.locked }),
            )
        }
        UserVerb::List => {
            let bar = Bar::share("reading users");
            let users = connector
                .connect()
                .await?
                .user_list(&|share| bar.set_share(share))
                .await?;
            drop(bar);
            list(&users, out)
        }
        UserVerb::Show { name } => {
            let (entry, record) = connector.connect().await?.user_show(name.as_name()).await?;
            show(&entry, &record, out)
        }
        UserVerb::Lock { name } => {
            let changed = connector.connect().await?.user_lock(name.as_name()).await?;
            let text = if changed { "locked" } else { "was locked before" };
            out.print(
                &format!("user {name} {text}"),
                &json!({ "user": name.as_str(), "locked": true, "changed": changed }),
            )
        }
        UserVerb::Unlock { name } => {
            let changed = connector.connect().await?.user_unlock(name.as_name()).await?;
            let text = if changed { "unlocked" } else { "was not locked" };
            out.print(
                &format!("user {name} {text}"),
                &json!({ "user": name.as_str(), "locked": false, "changed": changed }),
            )
        }
        UserVerb::Rename {
            name,
            new,
            own_namespace_anyway,
        } => {
            let (user, new_name) = (name.as_name(), new.as_name());
            let admin = connector.connect().await?;
            if !own_namespace_anyway {
                is_nobody_elses(new_name, &admin).await?;
            }
            admin.user_rename(user, new_name).await?;
            if user.is_path_segment() {
                note(&format!(
                    "repositories {name}/… keep their names; to leave them to {new}: registry-authctl grant \
                     add {new} '{name}/**' '*'"
                ));
            }
            out.print(
                &format!("user {name} is now {new}"),
                &json!({ "user": name.as_str(), "renamed": new.as_str() }),
            )
        }
        UserVerb::Remove { name } => {
            connector.connect().await?.user_remove(name.as_name()).await?;
            out.print(
                &format!("user {name} removed"),
                &json!({ "user": name.as_str(), "removed": true }),
            )
        }
    }
}

/// Refuses a name under which others were granted repositories, on which its user would get every right.
async fn is_nobody_elses(user: UserName<'_>, admin: &Admin) -> Result<(), Error> {
    let bar = Bar::share("reading grants");
    let foreign = admin.foreign_grants(user, &|share| bar.set_share(share)).await?;
    drop(bar);
    match foreign.is_empty() {
        true => Ok(()),
        false => Err(Error::Owned {
            user: user.as_str().to_owned(),
            foreign,
        }),
    }
}

fn list(users: &[UserEntry], out: &Output) -> Result<(), Error> {
    let lines: Vec<String> = users
        .iter()
        .map(|user| {
            let remark = match (user.stored, user.locked) {
                (Stored::Nowhere, _) => "\t(no password)",
                (Stored::Unreadable, _) => "\t(cannot be read)",
                (_, true) => "\t(locked)",
                _ => "",
            };
            format!("{}{remark}", printable(&user.name))
        })
        .collect();
    let json: Vec<Value> = users.iter().map(entry_json).collect();
    let text = match std::io::stdout().is_terminal() && !users.is_empty() {
        true => table(users),
        false => lines.join("\n"),
    };
    out.print(&text, &Value::Array(json))
}

/// For people; programs get a line for each user, or JSON.
fn table(users: &[UserEntry]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["USER", "PASSWORD", "STATE", "TOKEN USED"]);
    for user in users {
        let hash = match (user.stored, user.form) {
            (Stored::Nowhere, _) => "none",
            (Stored::Unreadable, _) => "cannot be read",
            (_, form) => form_name(form),
        };
        let weak = if user.weak.is_some() { " (weak)" } else { "" };
        let state = if user.locked { "locked" } else { "" };
        table.add_row([
            printable(&user.name),
            format!("{hash}{weak}"),
            state.to_owned(),
            user.last_use.map_or_else(String::new, date),
        ]);
    }
    // Blanks at the ends of lines are of no use to anybody.
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

fn show(entry: &UserEntry, record: &Record, out: &Output) -> Result<(), Error> {
    let backends: Vec<&str> = record.backends.iter().map(|peer| peer.name.as_str()).collect();
    let password = match (entry.stored, entry.form) {
        (Stored::Nowhere, _) => "none",
        (_, form) => form_name(form),
    };
    let mut lines = vec![
        format!("user:     {}", entry.name),
        format!(
            "password: {password}{}",
            if entry.locked { " (locked)" } else { "" }
        ),
    ];
    if entry.stored == Stored::Passwords {
        lines.push("          (kept in the 2014 gate's list of passwords)".to_owned());
    }
    lines.push(format!("groups:   {}", or_none(&record.groups.join(" "))));
    lines.push(format!("backends: {}", or_none(&backends.join(" "))));
    for grant in &record.grants {
        let kind = if grant.deny { "deny: " } else { "grant:" };
        lines.push(format!("{kind}    {} {}", grant.pattern, grant.actions));
    }
    match record.tokens.len() {
        0 => {}
        count => lines.push(format!(
            "tokens:   {count} (registry-authctl token list {})",
            entry.name
        )),
    }
    let grants: Vec<Value> = record.grants.iter().map(grant_json).collect();
    let mut json = entry_json(entry);
    if let Some(object) = json.as_object_mut() {
        object.insert("groups".to_owned(), json!(record.groups));
        object.insert("backends".to_owned(), json!(backends));
        object.insert("grants".to_owned(), Value::Array(grants));
        object.insert("tokens".to_owned(), json!(record.tokens.len()));
    }
    out.print(&lines.join("\n"), &json)
}

fn entry_json(user: &UserEntry) -> Value {
    let stored = match user.stored {
        Stored::Record => json!("user"),
        Stored::Passwords => json!("passwords"),
        Stored::Nowhere => Value::Null,
        Stored::Unreadable => json!("unreadable"),
    };
    let hash = match user.stored {
        Stored::Nowhere | Stored::Unreadable => Value::Null,
        Stored::Record | Stored::Passwords => json!(form_name(user.form)),
    };
    json!({
        "user": user.name, "locked": user.locked, "hash": hash, "stored": stored, "weak": user.weak,
        "token_last_use": user.last_use,
    })
}

pub(crate) fn form_name(form: Option<Form>) -> &'static str {
    match form {
        Some(Form::Argon2) => "argon2",
        Some(Form::Bcrypt) => "bcrypt",
        Some(Form::Scrypt) => "scrypt",
        Some(Form::Pbkdf2) => "pbkdf2",
        Some(Form::ShaCrypt) => "sha-crypt",
        Some(Form::Apr1) => "apr1",
        Some(Form::Sha) => "sha",
        Some(Form::SaltedSha) => "ssha",
        Some(Form::Legacy) => "sha1",
        None => "unknown",
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
