//! The completions of a shell: verbs and options from the command line's definition, names from Redis.
//!
//! A shell calls the tool itself, with [`VARIABLE`] set (the scripts of `completions` do so). Invariants:
//! nothing is changed, nothing is said on standard error, and it takes no longer than [`PATIENCE`], whatever
//! Redis does.

use super::redis::RedisArgs;
use super::values::{PREFIX, REDIS};
use clap::{Command, Parser};
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use registry_auth::scope::Action;
use registry_auth_admin::{Admin, PUBLIC, Subject};
use std::ffi::{OsStr, OsString};
use std::time::Duration;

/// The environment variable in which a shell names itself.
pub(crate) const VARIABLE: &str = "_REGISTRY_AUTHCTL_COMPLETE";
/// Somebody waits, and can type the name as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// More names are no help.
const MOST: usize = 200;

/// Answers a shell and ends the tool, if it was called by one; `command` is the command line's definition.
pub(crate) fn answer(command: fn() -> Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// Kinds of names to complete.
#[derive(Clone, Copy)]
enum NameKind {
    User,
    Group,
}

pub(crate) fn users(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(names(NameKind::User, text(typed)), "")
}

pub(crate) fn groups(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(names(NameKind::Group, text(typed)), "")
}

/// Whom something can be granted to.
pub(crate) fn grant_subjects(typed: &OsStr) -> Vec<CompletionCandidate> {
    subjects(typed, &[PUBLIC])
}

/// Whose backends can be set.
pub(crate) fn backend_subjects(typed: &OsStr) -> Vec<CompletionCandidate> {
    subjects(typed, &[PUBLIC, "default"])
}

pub(crate) fn actions() -> Vec<CompletionCandidate> {
    let words = Action::ALL.into_iter().map(|action| action.as_str());
    words.map(CompletionCandidate::new).collect()
}

fn subjects(typed: &OsStr, others: &[&str]) -> Vec<CompletionCandidate> {
    let typed = text(typed);
    if let Some(group) = typed.strip_prefix('@') {
        return candidates(names(NameKind::Group, group), "@");
    }
    let mut found = names(NameKind::User, typed);
    found.extend(
        others
            .iter()
            .filter(|other| other.starts_with(typed))
            .map(|other| (*other).to_owned()),
    );
    let mut all = candidates(found, "");
    if typed.is_empty() {
        all.extend(candidates(names(NameKind::Group, ""), "@"));
    }
    all
}

fn text(typed: &OsStr) -> &str {
    typed.to_str().unwrap_or_default()
}

fn candidates(names: Vec<String>, before: &str) -> Vec<CompletionCandidate> {
    let is_plain = |name: &String| {
        // A shell would read anything else as something of its own, as nobody quotes what is put into the
        // line.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
        name.bytes().all(plain) && Subject::parse(name).is_ok()
    };
    names
        .into_iter()
        .filter(is_plain)
        .map(|name| CompletionCandidate::new(format!("{before}{name}")))
        .collect()
}

/// Names that begin so; none where Redis cannot be asked.
fn names(kind: NameKind, beginning: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, ask(kind, beginning)).await })
        .ok()
        .flatten()
        .unwrap_or_default()
}

async fn ask(kind: NameKind, beginning: &str) -> Option<Vec<String>> {
    let options = typed_options(std::env::args_os());
    let endpoint = options.redis.endpoint().ok()?;
    let admin = Admin::connect(&endpoint, &options.prefix, PATIENCE).await.ok()?;
    let names = match kind {
        NameKind::User => admin.users_beginning(beginning, MOST).await,
        NameKind::Group => admin.groups_beginning(beginning, MOST).await,
    };
    names.ok()
}

/// Where Redis is.
#[derive(Parser)]
#[command(ignore_errors = true, disable_help_flag = true)]
struct TypedOptions {
    #[command(flatten)]
    redis: RedisArgs,
    #[arg(long, env = "REGISTRY_AUTH_PREFIX", default_value = PREFIX)]
    prefix: String,
}

/// The options of the line that is being typed. What the shell passes is the name of the tool, `--`, and the
/// words of the line.
fn typed_options(args: impl Iterator<Item = OsString>) -> TypedOptions {
    let words = args.skip_while(|arg| arg != "--").skip(2);
    let mut known = vec![OsString::from("registry-authctl")];
    let mut value_follows = false;
    for word in words {
        let shown = word.to_string_lossy();
        let is_option = shown.starts_with("--redis") || shown.starts_with("--prefix");
        let is_alone = is_option && !shown.contains('=');
        if value_follows || is_option {
            known.push(word);
        }
        value_follows = is_alone;
    }
    TypedOptions::try_parse_from(&known).unwrap_or_else(|_| TypedOptions {
        redis: RedisArgs::at(REDIS),
        prefix: PREFIX.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{PREFIX, typed_options};

    #[test]
    fn the_typed_line_says_which_redis() {
        let options = |line: &str| {
            let words = format!("/usr/bin/registry-authctl -- registry-authctl {line}");
            let options = typed_options(words.split(' ').map(Into::into));
            (options.redis.url, options.prefix)
        };
        assert_eq!(
            options("--redis redis://h:1 user show a --prefix=P"),
            ("redis://h:1".to_owned(), "P".to_owned())
        );
        // Half a line is no error.
        assert_eq!(options("--json user --redis").1, PREFIX);
    }
}
