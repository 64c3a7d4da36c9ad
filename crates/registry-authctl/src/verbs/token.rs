//! The verbs of `registry-authctl token`.
//!
//! Invariant: a new token goes to standard output once, and nowhere else; what could not be printed is
//! revoked.

use crate::cli::TokenVerb;
use crate::connector::Connector;
use crate::error::Error;
use crate::terminal::output::{BAD, DOUBTFUL, Output, note, printable, styled, write_all};
use crate::terminal::progress::Bar;
use crate::terminal::prompt::{self, NoAnswer};
use crate::time::{date, minute, now};
use crate::verbs::grant::remark_on_hosts;
use registry_auth::grant::Grant;
use registry_auth::pattern::Pattern;
use registry_auth::scope::Action;
use registry_auth::{AccessToken, StoredToken, TokenDigest, UserName};
use registry_auth_admin::{AccessRecords, LastUse, TokenEntry, UserTokens};
use serde_json::{Value, json};
use std::io::{Read, Write};
use zeroize::Zeroizing;

/// More than a token with blanks around it.
const SECRET: usize = 1024;

pub(crate) async fn run(verb: TokenVerb, connector: &Connector, out: &Output) -> Result<(), Error> {
    match verb {
        TokenVerb::Create {
            user,
            scopes,
            expires,
            note: purpose,
        } => {
            let now = now()?;
            let token = AccessToken::generate(getrandom::fill)
                .map_err(|error| Error::Io(std::io::Error::other(error)))?;
            let stored = StoredToken {
                id: token.digest().to_id(),
                digest: token.digest(),
                expires: now.saturating_add(expires.as_secs()),
                created: now,
                scopes,
            };
            let (admin, whose) = (connector.connect().await?, user.as_name());
            admin.token_add(whose, &stored, purpose.as_deref()).await?;
            remark_on_hosts(&admin, stored.scopes.iter().map(|scope| scope.pattern.as_str())).await;
            // Where the records cannot be read, the token is of no less use: it is a remark.
            if let Ok(access) = admin.access(Some(whose)).await {
                remark_on_rights(whose, &access, &stored.scopes);
            }
            if let Err(why) = show_once(&token, whose, &stored, out) {
                // Nobody can use it, and nobody would know of it.
                let left = admin.token_revoke(whose, &stored.id).await.err();
                return Err(Error::Unseen { why, left });
            }
            Ok(())
        }
        TokenVerb::List { user, expiring } => {
            let now = now()?;
            let mut found = match &user {
                Some(user) => vec![UserTokens {
                    user: user.to_string(),
                    tokens: connector.connect().await?.tokens_list(user.as_name()).await?,
                }],
                None => {
                    let bar = Bar::share("reading users");
                    connector
                        .connect()
                        .await?
                        .tokens_of_all(&|share| bar.set_share(share))
                        .await?
                }
            };
            if let Some(time) = expiring {
                let until = now.saturating_add(time.as_secs());
                let is_soon =
                    |entry: &TokenEntry| entry.token.as_ref().is_ok_and(|token| token.expires <= until);
                found.iter_mut().for_each(|of| of.tokens.retain(is_soon));
                found.retain(|of| user.is_some() || !of.tokens.is_empty());
            }
            list(&found, user.is_some(), now, out)
        }
        TokenVerb::Find { revoke } => find(revoke, connector, out).await,
        TokenVerb::Revoke { user, id } => {
            connector
                .connect()
                .await?
                .token_revoke(user.as_name(), id.as_str())
                .await?;
            out.print(
                &format!("token {} of {user} revoked", printable(id.as_str())),
                &json!({ "user": user.as_str(), "id": id.as_str(), "revoked": true }),
            )
        }
    }
}

/// Says of which scopes the token is of no use, because its owner has no right that they name.
fn remark_on_rights(user: UserName<'_>, access: &AccessRecords, scopes: &[Grant]) {
    let own = match user.is_path_segment() {
        true => Pattern::parse(&format!("{user}/**")).ok(),
        false => None,
    };
    let records = access.groups.iter().filter_map(|group| group.record.as_ref());
    let grants: Vec<&Grant> = [&access.user]
        .into_iter()
        .chain(records)
        .flat_map(|record| &record.grants)
        .collect();
    for scope in scopes {
        let is_own = own.as_ref().is_some_and(|own| own.overlaps(&scope.pattern));
        let may = |action| {
            let is_denied = grants
                .iter()
                .any(|grant| grant.deny && grant.actions.contains(action) && grant.pattern == scope.pattern);
            let is_granted = grants.iter().any(|grant| {
                !grant.deny && grant.actions.contains(action) && grant.pattern.overlaps(&scope.pattern)
            });
            !is_denied && (is_own || is_granted)
        };
        let lacking: Vec<&str> = scope
            .actions
            .iter()
            .filter(|action| !may(*action))
            .map(Action::as_str)
            .collect();
        if !lacking.is_empty() {
            note(&format!(
                "{user} has no right to {} {}, so that the token has none either; to give it: \
                 registry-authctl grant add {user} '{}' {}",
                lacking.join(" or "),
                scope.pattern,
                scope.pattern,
                lacking.join(",")
            ));
        }
    }
}

/// A user's tokens, or those of all, each line with its user then.
fn list(found: &[UserTokens], is_of_one_user: bool, now: u64, out: &Output) -> Result<(), Error> {
    let lines: Vec<String> = found
        .iter()
        .flat_map(|of| {
            let whose = match is_of_one_user {
                true => String::new(),
                false => format!("{}  ", printable(&of.user)),
            };
            of.tokens
                .iter()
                .map(move |entry| format!("{whose}{}", line(entry, now)))
        })
        .collect();
    let json = |of: &UserTokens| {
        let tokens: Vec<Value> = of.tokens.iter().map(|entry| entry_json(entry, now)).collect();
        json!({ "user": of.user, "tokens": tokens })
    };
    let all: Vec<Value> = found.iter().map(json).collect();
    let json = match (is_of_one_user, all.into_iter().next()) {
        (true, Some(of)) => of,
        _ => Value::Array(found.iter().map(json).collect()),
    };
    out.print(&lines.join("\n"), &json)
}

/// Whose the secret is.
async fn find(revoke: bool, connector: &Connector, out: &Output) -> Result<(), Error> {
    let secret = secret()?;
    let digest = TokenDigest::of(secret.trim_ascii()).ok_or(Error::Password(
        "this is no access token: one is rga_ and 38 letters and digits, the last of which are a checksum",
    ))?;
    let admin = connector.connect().await?;
    let bar = Bar::share("reading users");
    let mut found = admin.tokens_of_all(&|share| bar.set_share(share)).await?;
    drop(bar);
    for of in &mut found {
        of.tokens
            .retain(|entry| entry.token.as_ref().is_ok_and(|token| token.digest == digest));
    }
    found.retain(|of| !of.tokens.is_empty());
    if found.is_empty() {
        return Err(Error::Password(
            "no user has this access token: it was revoked, or it is of another --prefix or Redis",
        ));
    }
    if revoke {
        for of in &found {
            // A name in Redis may be illegal; nobody logs in with that one.
            let user = UserName::parse(of.user.as_bytes()).map_err(|_| {
                Error::Password(
                    "the record of this token has a key that is no user's: remove it with redis-cli",
                )
            })?;
            for entry in &of.tokens {
                admin.token_revoke(user, &entry.id).await?;
            }
        }
    }
    let now = now()?;
    let mut lines = Vec::new();
    let mut json = Vec::new();
    for of in &found {
        for entry in &of.tokens {
            let user = printable(&of.user);
            lines.push(format!("token of {user}: {}", line(entry, now)));
            lines.push(match revoke {
                true => format!("token {} of {user} revoked", entry.id),
                false => format!("to revoke it: registry-authctl token revoke {user} {}", entry.id),
            });
            let mut one = entry_json(entry, now);
            if let Some(object) = one.as_object_mut() {
                object.insert("user".to_owned(), json!(of.user));
                object.insert("revoked".to_owned(), json!(revoke));
            }
            json.push(one);
        }
    }
    out.print(&lines.join("\n"), &Value::Array(json))
}

/// From the terminal, or standard input where that is none.
fn secret() -> Result<Zeroizing<Vec<u8>>, Error> {
    match prompt::ask("Access token: ") {
        Ok(secret) => Ok(secret),
        Err(NoAnswer::End) => Err(Error::Password("nothing was typed")),
        Err(NoAnswer::NoTerminal) => {
            let mut secret = Zeroizing::new(Vec::with_capacity(SECRET + 1));
            std::io::stdin()
                .lock()
                .take(SECRET as u64)
                .read_to_end(&mut secret)
                .map_err(Error::Io)?;
            Ok(secret)
        }
    }
}

/// The token to standard output, and what there is to know about it to standard error; as JSON all of it to
/// the former.
fn show_once(
    token: &AccessToken,
    user: UserName<'_>,
    stored: &StoredToken,
    out: &Output,
) -> std::io::Result<()> {
    if out.is_json() {
        let mut json = stored_json(stored);
        if let Some(object) = json.as_object_mut() {
            object.insert("user".to_owned(), json!(user.as_str()));
            object.insert("token".to_owned(), json!(token.expose()));
        }
        return write_all(&Zeroizing::new(format!("{json}\n")));
    }
    write_all(&Zeroizing::new(format!("{}\n", token.expose())))?;
    // A failure to write this cannot be reported anywhere.
    drop(writeln!(
        anstream::stderr(),
        "token {} of {user} for {}, until {}; it is not shown again",
        stored.id,
        scopes(&stored.scopes),
        minute(stored.expires)
    ));
    Ok(())
}

fn line(entry: &TokenEntry, now: u64) -> String {
    let id = printable(&entry.id);
    let Ok(token) = &entry.token else {
        let why = "(unreadable, so that all of the record is refused; to remove it: token revoke)";
        return format!("{id}  {}", styled(BAD, why));
    };
    let created = match token.created {
        0 => "unknown".to_owned(),
        created => date(created),
    };
    let expired = match token.expires <= now {
        true => format!(" {}", styled(DOUBTFUL, "(expired)")),
        false => String::new(),
    };
    let last_use = match entry.last_use {
        LastUse::Day(day) => date(day),
        LastUse::Never => "never".to_owned(),
        LastUse::Unknown => "unknown".to_owned(),
    };
    let note = match &entry.note {
        Some(note) => format!("  note: {}", printable(note)),
        None => String::new(),
    };
    format!(
        "{id}  {}  created: {created}  expires: {}{expired}  last use: {last_use}{note}",
        scopes(&token.scopes),
        date(token.expires)
    )
}

/// As they are typed.
pub(crate) fn scopes(scopes: &[Grant]) -> String {
    let scopes: Vec<String> = scopes
        .iter()
        .map(|scope| format!("{}:{}", scope.pattern, scope.actions))
        .collect();
    scopes.join(" ")
}

fn entry_json(entry: &TokenEntry, now: u64) -> Value {
    let Ok(token) = &entry.token else {
        return json!({ "id": entry.id, "unreadable": true });
    };
    let last_use = match entry.last_use {
        LastUse::Day(day) => json!(day),
        LastUse::Never => json!("never"),
        LastUse::Unknown => Value::Null,
    };
    let mut json = stored_json(token);
    if let Some(object) = json.as_object_mut() {
        object.insert("expired".to_owned(), json!(token.expires <= now));
        object.insert("last_use".to_owned(), last_use);
        object.insert("note".to_owned(), json!(entry.note));
    }
    json
}

/// Times in seconds since 1970; when it was created is null where that was not noted, the last use where it
/// is unknown.
fn stored_json(token: &StoredToken) -> Value {
    let scopes: Vec<Value> = token.scopes.iter().map(scope_json).collect();
    let created = (token.created > 0).then_some(token.created);
    json!({ "id": token.id, "scopes": scopes, "created": created, "expires": token.expires })
}

fn scope_json(scope: &Grant) -> Value {
    json!({ "pattern": scope.pattern.as_str(), "actions": scope.actions.to_string() })
}
