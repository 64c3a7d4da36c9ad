//! `registry-authctl import-htpasswd`, `import-docker-auth` and `migrate`: the passwords of many users at
//! once, and what later versions need.
//!
//! Invariant: whenever this ends, each user is either done or as before, and the same command again does the
//! rest.

use crate::cli::{ImportOptions, is_reserved};
use crate::connector::Connector;
use crate::error::Error;
use crate::files::FileUser;
use crate::files::docker_auth::{self, Plan};
use crate::files::htpasswd::{self, RefusedLine};
use crate::terminal::output::{BAD, DOUBTFUL, GOOD, Output, note, printable, styled};
use crate::terminal::progress::Bar;
use crate::verbs::grant::grant_json;
use crate::verbs::user::form_name;
use registry_auth::password::{self, Form};
use registry_auth::{UserName, UserNameBuf};
use registry_auth_admin::{Admin, AdminError, Existing, NewPassword, OwnersMended, Put, UNSEEN};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Users of one transaction: long enough for the network, short enough for Redis' other clients.
const BATCH: usize = 1000;

/// What became, or would become, of the users.
#[derive(Default)]
struct Tally {
    new: Vec<String>,
    changed: Vec<String>,
    unchanged: usize,
    superseded: Vec<String>,
    kept: usize,
    /// Hashes of the file by their form.
    forms: BTreeMap<&'static str, usize>,
    locked: usize,
    refused: Vec<(Option<usize>, Option<String>, String)>,
    /// Users whose hash is guessed fast if it leaks, with the reason.
    weak: Vec<(usize, String, &'static str)>,
    /// For each of `new` and `changed`, in the order of the input.
    lines: Vec<String>,
    written: usize,
    /// Only reported so far.
    is_trial: bool,
}

impl Tally {
    fn add(&mut self, line: Option<usize>, user: &str, put: &Put) {
        let shown = printable(user);
        let at = line.map_or(String::new(), |line| format!("line {line}: "));
        match put {
            Put::New | Put::Moved => {
                self.lines
                    .push(format!("{at}{} {shown}", styled(GOOD, self.verb(put))));
                self.new.push(user.to_owned());
            }
            Put::Changed(locked) => {
                let remark = if *locked { " (locked, stays so)" } else { "" };
                self.locked += usize::from(*locked);
                self.lines
                    .push(format!("{at}{} {shown}{remark}", styled(DOUBTFUL, "changed")));
                self.changed.push(user.to_owned());
            }
            Put::Superseded => {
                self.lines
                    .push(format!("{} {shown}", styled(DOUBTFUL, "superseded")));
                self.superseded.push(user.to_owned());
            }
            Put::Unchanged => self.unchanged += 1,
            Put::Kept => {
                self.kept += 1;
                self.lines
                    .push(format!("{at}kept {shown}, who has another password"));
            }
            Put::Stronger => {
                let why = "the argon2 hash that is stored is stronger; --force replaces it";
                self.refused.push((line, Some(user.to_owned()), why.to_owned()));
            }
            Put::Bad(why) => {
                let why = format!("the record cannot be read, and stays as it is: {why}");
                self.refused.push((line, Some(user.to_owned()), why));
            }
        }
        self.written += usize::from(matches!(
            put,
            Put::New | Put::Moved | Put::Changed(_) | Put::Superseded
        ));
    }

    fn verb(&self, put: &Put) -> &'static str {
        match put {
            Put::New => "new",
            _ if self.is_trial => "would move",
            _ => "moved",
        }
    }

    /// For a line of the file whose hash is weak, and which was not refused.
    fn add_weak(&mut self, line: usize, user: &str, put: &Put, why: &'static str) {
        if matches!(put, Put::Bad(_) | Put::Stronger | Put::Kept) {
            return;
        }
        if let Some(said) = self.lines.last_mut().filter(|_| *put != Put::Unchanged) {
            said.push_str(&format!(" ({}: {why})", styled(DOUBTFUL, "weak")));
        }
        self.weak.push((line, user.to_owned(), why));
    }

    fn weak_json(&self) -> Vec<Value> {
        self.weak
            .iter()
            .map(|(line, user, why)| json!({ "line": line, "user": user, "why": why }))
            .collect()
    }

    fn refused_lines(&self) -> Vec<String> {
        let line = |(line, user, why): &(Option<usize>, Option<String>, String)| {
            let at = line.map_or(String::new(), |line| format!("line {line}: "));
            let user = user
                .as_ref()
                .map_or(String::new(), |user| format!(" {}", printable(user)));
            format!("{at}{}{user}: {why}", styled(BAD, "refused"))
        };
        self.refused.iter().map(line).collect()
    }

    fn refused_json(&self) -> Vec<Value> {
        self.refused
            .iter()
            .map(|(line, user, why)| json!({ "line": line, "user": user, "why": why }))
            .collect()
    }
}

/// Ends the work at Ctrl-C, and says how far it came. Redis carries out a transaction whole or not at all,
/// whenever its client goes away.
async fn until_interrupted(work: impl Future<Output = Result<(), Error>>) -> Option<Box<Error>> {
    tokio::select! {
        done = work => done.err().map(Box::new),
        Ok(()) = tokio::signal::ctrl_c() => Some(Box::new(Error::Interrupted)),
    }
}

/// The file to read; "-" is what comes in.
fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    Ok(match path == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path)?)),
    })
}

pub(crate) async fn htpasswd(
    path: &Path,
    options: &ImportOptions,
    connector: &Connector,
    out: &Output,
) -> Result<(), Error> {
    let (existing, apply) = (options.existing(), options.apply);
    let file_error = |error| Error::File(path.to_owned(), error);
    let (entries, refused) = open(path).and_then(htpasswd::read).map_err(file_error)?;
    let mut tally = Tally::default();
    let refuse = |RefusedLine { line, user, why }| (Some(line), user, why);
    tally.refused = refused.into_iter().map(refuse).collect();
    let admin = connector.connect().await?;
    let ended = until_interrupted(put_users(&admin, &entries, existing, apply, &mut tally)).await;
    ended_early(ended, apply, &tally)?;
    tally.refused.sort_by_key(|(line, ..)| *line);
    let kept = match existing {
        Existing::Keep => format!(" kept: {},", tally.kept),
        _ => String::new(),
    };
    let mut counts = format!(
        "new: {}, changed: {}, unchanged: {},{kept} refused: {}",
        tally.new.len(),
        tally.changed.len(),
        tally.unchanged,
        tally.refused.len()
    );
    if !tally.forms.is_empty() {
        let forms: Vec<String> = tally
            .forms
            .iter()
            .map(|(form, count)| format!("{form}: {count}"))
            .collect();
        counts.push_str(&format!("\nhashes: {}", forms.join(", ")));
    }
    let json = json!({
        "applied": apply, "new": tally.new, "changed": tally.changed, "unchanged": tally.unchanged,
        "kept": tally.kept, "changed_locked": tally.locked, "hashes": tally.forms, "weak": tally.weak_json(),
        "refused": tally.refused_json(),
    });
    if !tally.weak.is_empty() {
        note(&format!(
            "{}, guessed fast if leaked; registry-authctl user passwd NAME replaces one, check lists those \
             that are stored",
            match tally.weak.len() {
                1 => "1 of the hashes is weak".to_owned(),
                count => format!("{count} of the hashes are weak"),
            }
        ));
    }
    finish(&tally, apply, &counts, &json, out)
}

pub(crate) async fn docker_auth(
    path: &Path,
    options: &ImportOptions,
    connector: &Connector,
    out: &Output,
) -> Result<(), Error> {
    let (existing, apply) = (options.existing(), options.apply);
    let file_error = |error| Error::File(path.to_owned(), error);
    let text = open(path).and_then(std::io::read_to_string).map_err(file_error)?;
    let plan = docker_auth::read(&text)
        .map_err(|why| file_error(std::io::Error::new(std::io::ErrorKind::InvalidData, why)))?;
    let admin = connector.connect().await?;
    let mut tally = Tally::default();
    let place = |(place, why): &(String, String)| (None, Some(place.clone()), why.clone());
    tally.refused = plan.unequal.iter().map(place).collect();
    let ended = until_interrupted(async {
        put_users(&admin, &plan.users, existing, apply, &mut tally).await?;
        put_rights(&admin, &plan, apply, &mut tally).await
    })
    .await;
    ended_early(ended, apply, &tally)?;
    if !plan.own_namespace && !plan.users.is_empty() {
        note(
            "a user has every right on NAME/** here, which this acl does not give to all: \
             registry_auth_own_namespace off takes that away",
        );
    }
    let counts = format!(
        "users: {} new, {} changed, {} unchanged or kept; groups: {}; grants: {}; without an equal, or \
         refused: {}",
        tally.new.len(),
        tally.changed.len(),
        tally.unchanged + tally.kept,
        plan.groups.len(),
        plan.grants.len(),
        tally.refused.len()
    );
    let grants: Vec<Value> = plan
        .grants
        .iter()
        .map(|(subject, grant)| json!({ "subject": subject.to_string(), "grant": grant_json(grant) }))
        .collect();
    let groups: BTreeMap<&str, Vec<&str>> = plan
        .groups
        .iter()
        .map(|(group, members)| (group.as_str(), members.iter().map(UserNameBuf::as_str).collect()))
        .collect();
    let json = json!({
        "applied": apply, "new": tally.new, "changed": tally.changed, "unchanged": tally.unchanged,
        "kept": tally.kept, "groups": groups, "grants": grants, "refused": tally.refused_json(),
    });
    finish(&tally, apply, &counts, &json, out)
}

async fn put_users(
    admin: &Admin,
    users: &[FileUser],
    existing: Existing,
    apply: bool,
    tally: &mut Tally,
) -> Result<(), Error> {
    let bar = Bar::of("importing", users.len() as u64);
    for (index, users) in users.chunks(BATCH).enumerate() {
        let batch: Vec<NewPassword<'_>> = users
            .iter()
            .map(|user| NewPassword::new(&user.user, &user.hash))
            .collect();
        let put = admin.passwords_put(&batch, existing, apply).await?;
        for (FileUser { line, user, hash }, put) in users.iter().zip(&put) {
            *tally.forms.entry(form_name(Form::of(hash))).or_default() += 1;
            tally.add(*line, user.as_str(), put);
            if let (Some(line), Some(why)) = (*line, password::weakness(hash)) {
                tally.add_weak(line, user.as_str(), put, why);
            }
        }
        bar.set((index * BATCH + users.len()) as u64);
    }
    Ok(())
}

/// Groups, members and grants: each is a change of its own, and there already when the same command comes
/// again.
async fn put_rights(admin: &Admin, plan: &Plan, apply: bool, tally: &mut Tally) -> Result<(), Error> {
    for (group, members) in &plan.groups {
        tally.lines.push(format!("registry-authctl group add {group}"));
        if apply {
            match admin.group_add(group, UNSEEN).await {
                Ok(_) | Err(AdminError::GroupExists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for member in members {
            tally
                .lines
                .push(format!("registry-authctl group join {group} {member}"));
            if apply {
                admin.group_join(group, member.as_name()).await?;
            }
        }
    }
    for (subject, grant) in &plan.grants {
        let (pattern, actions) = (&grant.pattern, grant.actions);
        tally.lines.push(format!(
            "registry-authctl grant add {subject} '{pattern}' '{actions}'"
        ));
        if apply {
            admin.grant_add(subject, grant).await?;
        }
    }
    Ok(())
}

pub(crate) async fn migrate(apply: bool, connector: &Connector, out: &Output) -> Result<(), Error> {
    let admin = connector.connect().await?;
    let mut tally = Tally {
        is_trial: !apply,
        ..Tally::default()
    };
    let mut salted = 0;
    let bar = Bar::of("moving", admin.old_passwords_count().await?);
    let ended = until_interrupted(async {
        let (mut cursor, mut done) = (0, 0);
        // A scan may tell an entry twice.
        let mut seen = std::collections::HashSet::new();
        loop {
            let (next, page) = admin.old_passwords(cursor).await?;
            let mut users = Vec::new();
            for (name, hash) in &page {
                if !seen.insert(name.clone()) {
                    continue;
                }
                let shown = String::from_utf8_lossy(name).into_owned();
                let hash = std::str::from_utf8(hash).ok();
                let form = hash
                    .filter(|hash| password::check(hash).is_ok())
                    .and_then(Form::of);
                match (UserName::parse(name), form) {
                    (Err(_), _) => {
                        let why = "no client can send this user name";
                        tally.refused.push((None, Some(shown), why.to_owned()));
                    }
                    (Ok(user), _) if is_reserved(user.as_str()) => {
                        let why = "this name is reserved: it never means a user; it stays where it is";
                        tally.refused.push((None, Some(shown), why.to_owned()));
                    }
                    (Ok(_), None) => {
                        let why = "this is no hash that can be checked, or one that is too costly";
                        tally.refused.push((None, Some(shown), why.to_owned()));
                    }
                    (Ok(user), Some(form)) => users.push((user, form)),
                }
            }
            for part in users.chunks(BATCH) {
                let names: Vec<UserName<'_>> = part.iter().map(|(user, _)| *user).collect();
                let put = admin.passwords_move(&names, apply).await?;
                for ((user, form), put) in part.iter().zip(&put) {
                    salted += usize::from(*put == Put::Moved && *form == Form::Legacy);
                    tally.add(None, user.as_str(), put);
                }
            }
            done += page.len() as u64;
            bar.set(done);
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    })
    .await;
    drop(bar);
    ended_early(ended, apply, &tally)?;
    let bar = Bar::share("reading access tokens");
    let mut owners = OwnersMended::default();
    let ended = until_interrupted(async {
        owners = admin
            .token_owners_mend(apply, &|share| bar.set_share(share))
            .await?;
        Ok(())
    })
    .await;
    drop(bar);
    ended_early(ended, apply, &tally)?;
    tally.written += owners.added + owners.removed;
    let mut counts = format!(
        "{}: {}, superseded: {}, refused: {}",
        tally.verb(&Put::Moved),
        tally.new.len(),
        tally.superseded.len(),
        tally.refused.len()
    );
    if owners != OwnersMended::default() {
        counts.push_str(&format!(
            "\n{}:token-owners: access tokens {}: {}, entries without a token {}: {}",
            connector.prefix(),
            if apply { "added" } else { "to add" },
            owners.added,
            if apply { "removed" } else { "to remove" },
            owners.removed
        ));
    }
    if salted > 0 {
        note(&format!(
            "{} of 40 hex digits, good with the same registry_auth_salt as before, until registry-authctl \
             user passwd NAME gives the user a better one",
            match salted {
                1 => "1 of them is a SHA-1 digest".to_owned(),
                count => format!("{count} of them are SHA-1 digests"),
            }
        ));
    }
    if !tally.superseded.is_empty() {
        note(&format!(
            "superseded: the user's record has a password already, so that the one of {}:passwords has no \
             effect and is only removed",
            connector.prefix()
        ));
    }
    let json = json!({
        "applied": apply, "moved": tally.new, "superseded": tally.superseded, "sha1": salted,
        "token_owners": { "added": owners.added, "removed": owners.removed },
        "refused": tally.refused_json(),
    });
    finish(&tally, apply, &counts, &json, out)
}

/// An error after the first write says how much was written.
fn ended_early(ended: Option<Box<Error>>, apply: bool, tally: &Tally) -> Result<(), Error> {
    match ended {
        None => Ok(()),
        Some(why) if apply => Err(Error::Partly {
            written: tally.written,
            why,
        }),
        Some(why) => Err(*why),
    }
}

fn finish(tally: &Tally, apply: bool, counts: &str, json: &Value, out: &Output) -> Result<(), Error> {
    let mut lines = tally.refused_lines();
    if !apply {
        // What would be done is only of interest before it is.
        lines.extend(tally.lines.iter().cloned());
    }
    lines.push(counts.to_owned());
    if !apply && tally.written > 0 {
        lines.push("nothing was written; to write it, add --apply".to_owned());
    }
    out.print(&lines.join("\n"), json)?;
    match tally.refused.is_empty() {
        true => Ok(()),
        false => Err(Error::Refused),
    }
}
