//! What can be typed. `values` parses each value before anything is asked or written.
//!
//! A new noun is a variant of [`Command`] with an enum of its verbs; main.rs hands it to a module of its own.

pub(crate) mod complete;
mod redis;
mod token;
mod values;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use redis::RedisArgs;
use registry_auth::scope::{Action, Actions};
use registry_auth::{RepositoryName, UserNameBuf};
use registry_auth_admin::{BackendName, Existing, GroupName, Subject};
use std::path::PathBuf;
pub(crate) use token::TokenVerb;
use values::{
    GrantPattern, PREFIX, TokenIdParser, action, actions, backend, backend_subject, grant_subject, group,
    new_group, new_user, pattern, repository, stored_group, user,
};
pub(crate) use values::{TokenId, is_reserved};

/// What belongs to all verbs; the manual page has it, too. A paragraph is one line, which clap breaks at the
/// width of the terminal.
const AFTER: &str = "\
Examples:
  registry-authctl user add alice
  registry-authctl group add team
  registry-authctl group join team alice
  registry-authctl grant add @team 'team/**' pull,push
  registry-authctl token create alice --scope 'team/*:pull,push' --expires 30d
  registry-authctl backend set default 127.0.0.1:5001
  registry-authctl explain --user alice --action push team/app

Environment: REGISTRY_AUTH_REDIS and REGISTRY_AUTH_PREFIX set what --redis and --prefix set, and so on for \
each --redis-... option; NO_COLOR switches colours off.

Exit status: 0 done, or allowed; 1 refused, not found, something found by check, or Redis not reachable; 2 \
wrong usage.";

/// Manages the users, groups, grants, access tokens and backends of nginx registry auth in Redis.
#[derive(Parser)]
#[command(
    name = "registry-authctl",
    after_long_help = AFTER,
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) redis: RedisArgs,

    /// What the keys begin with: registry_auth_prefix of nginx.conf.
    #[arg(
        long,
        global = true,
        env = "REGISTRY_AUTH_PREFIX",
        default_value = PREFIX
    )]
    pub(crate) prefix: String,

    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Accounts.
    #[command(subcommand)]
    User(UserVerb),
    /// Groups, whose members share grants and backends.
    #[command(subcommand)]
    Group(GroupVerb),
    /// Who may do what to which repositories.
    #[command(subcommand)]
    Grant(GrantVerb),
    /// Access tokens: secrets that robots use in place of a user's password, for a part of the user's rights.
    #[command(subcommand)]
    Token(TokenVerb),
    /// Registries that requests are passed to.
    #[command(subcommand)]
    Backend(BackendVerb),
    /// Say whether a user may do something, which rule decides, and to which backend the request goes.
    ///
    /// Exit status: 0 allowed, 1 refused.
    Explain(ExplainArgs),
    /// Look for what is wrong: the server, records that cannot be read, weak hashes, unknown groups.
    ///
    /// Exit status: 0 nothing found, 1 something found or Redis not reached. Changes nothing.
    Check,
    /// Import users and passwords from a file of htpasswd; only reports without --apply.
    ///
    /// Grants, groups and backends that are stored for a user stay, and a locked account stays locked. Users
    /// who are not in the file stay as they are. Exit status: 0, or 1 if a line was refused.
    ImportHtpasswd {
        /// Lines of `user:hash`; - is standard input.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        options: ImportOptions,
    },
    /// Import users, groups and grants from the configuration of docker_auth; only reports without --apply.
    ///
    /// There the first entry of the acl that matches decides, here grants add up: an entry that would allow
    /// more here than there is listed and left out, and so is what has no equal. Users are imported as by
    /// import-htpasswd. Exit status: 0, or 1 if something was left out.
    ImportDockerAuth {
        /// The file in YAML; - is standard input.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        options: ImportOptions,
    },
    /// Move the 2014 gate's passwords into the users' records, and enter access tokens that were created by
    /// earlier versions, so that they are accepted as Bearer; only reports without --apply.
    ///
    /// The module reads passwords in both places. The 2014 gate does not find them afterwards.
    Migrate {
        /// Write it.
        #[arg(long)]
        apply: bool,
    },
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all verbs into a folder.
    Man {
        /// The folder; it is created if need be.
        #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
        /// Print nginx-registry-auth(5), the page of nginx's directives.
        #[arg(long, conflicts_with = "folder")]
        directives: bool,
    },
}

/// What both imports take besides their file.
#[derive(Args)]
pub(crate) struct ImportOptions {
    /// Write it.
    #[arg(long)]
    pub(crate) apply: bool,
    /// Leave the passwords of users who have one as they are.
    #[arg(long)]
    keep: bool,
    /// Replace argon2 hashes by weaker ones, too.
    #[arg(long, conflicts_with = "keep")]
    force: bool,
}

impl ImportOptions {
    /// What happens to users who have a password.
    pub(crate) fn existing(&self) -> Existing {
        match (self.keep, self.force) {
            (true, _) => Existing::Keep,
            (_, true) => Existing::Force,
            _ => Existing::Replace,
        }
    }
}

impl Command {
    /// Whether it takes a user as well as a group, which is then written with `@`.
    pub(crate) fn takes_both(&self) -> bool {
        matches!(self, Self::Grant(_) | Self::Backend(_))
    }

    /// Whether it gives something to a user or a group, so that one who is missing may have to be created
    /// first.
    pub(crate) fn gives(&self) -> bool {
        matches!(
            self,
            Self::User(UserVerb::Passwd { .. })
                | Self::Group(GroupVerb::Join { .. })
                | Self::Grant(GrantVerb::Add { .. })
                | Self::Token(TokenVerb::Create { .. })
                | Self::Backend(BackendVerb::Set { .. })
        )
    }
}

#[derive(Subcommand)]
pub(crate) enum UserVerb {
    /// Create a user, asking for the password.
    ///
    /// With --no-password the user has none, and logs in with access tokens only (token create): for robots.
    Add {
        /// The user.
        #[arg(value_parser = new_user)]
        name: UserNameBuf,
        /// Give the user no password: access tokens are the only way to log in.
        #[arg(long, conflicts_with_all = ["password_stdin", "allow_weak", "hash"])]
        no_password: bool,
        #[command(flatten)]
        password: PasswordArgs,
        /// Also where others were granted repositories NAME/..., on which the new user gets every right.
        #[arg(long)]
        own_namespace_anyway: bool,
    },
    /// Set a new password. Access tokens stay good: token revoke ends them.
    Passwd {
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        name: UserNameBuf,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List all users.
    #[command(visible_alias = "ls")]
    List,
    /// Show what is stored for a user, except the password.
    Show {
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        name: UserNameBuf,
    },
    /// Refuse the user until unlocked; the password and the access tokens stay.
    Lock {
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        name: UserNameBuf,
    },
    /// Let a locked user in again.
    Unlock {
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        name: UserNameBuf,
    },
    /// Give a user another name, with everything that is stored: password, groups, grants, backends, access
    /// tokens.
    ///
    /// Repositories keep their names: what lies in OLD/ is no longer the user's own.
    Rename {
        /// The user.
        #[arg(value_name = "OLD", value_parser = user, add = ArgValueCompleter::new(complete::users))]
        name: UserNameBuf,
        /// The new name.
        #[arg(value_name = "NEW", value_parser = new_user)]
        new: UserNameBuf,
        /// Also where others were granted repositories NEW/..., on which the user then gets every right.
        #[arg(long)]
        own_namespace_anyway: bool,
    },
    /// Remove the user with everything that is stored for it.
    #[command(visible_alias = "rm")]
    Remove {
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        name: UserNameBuf,
    },
}

#[derive(Args)]
pub(crate) struct PasswordArgs {
    /// Read the password from standard input (one line) instead of the terminal.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Take a password of fewer than 8 characters, too.
    #[arg(long)]
    pub(crate) allow_weak: bool,
    /// How the password is stored.
    #[arg(long, value_enum, default_value_t = Hash::Argon2id)]
    pub(crate) hash: Hash,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Hash {
    /// The strongest; 19 MiB and some 20 ms for each first login.
    Argon2id,
    /// For data that other programs read, too; passwords of at most 72 bytes.
    Bcrypt,
}

#[derive(Subcommand)]
pub(crate) enum GroupVerb {
    /// Create a group.
    Add {
        /// The group.
        #[arg(value_parser = new_group)]
        group: GroupName,
    },
    /// List all groups.
    #[command(visible_alias = "ls")]
    List,
    /// Show a group's grants, backends and members.
    Show {
        /// The group.
        #[arg(value_parser = group, add = ArgValueCompleter::new(complete::groups))]
        group: GroupName,
    },
    /// Remove a group with its grants and backends, and take its members out of it.
    #[command(visible_alias = "rm")]
    Remove {
        /// The group.
        #[arg(value_parser = group, add = ArgValueCompleter::new(complete::groups))]
        group: GroupName,
    },
    /// Put a user into a group. Of several groups' backends those of the first one joined are used.
    Join {
        /// The group.
        #[arg(value_parser = group, add = ArgValueCompleter::new(complete::groups))]
        group: GroupName,
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        user: UserNameBuf,
    },
    /// Take a user out of a group.
    Leave {
        /// The group.
        #[arg(value_parser = stored_group, add = ArgValueCompleter::new(complete::groups))]
        group: String,
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        user: UserNameBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum GrantVerb {
    /// Let a user (alice), a group (@team) or everyone (public, the anonymous included) do something.
    Add {
        /// A user (alice), a group (@team) or everyone (public).
        #[arg(value_parser = grant_subject, add = ArgValueCompleter::new(complete::grant_subjects))]
        subject: Subject,
        /// Repositories: * is any run within one segment, ** any run across segments. With ! in front it
        /// denies, which wins over every right. Quote it for the shell.
        #[arg(value_parser = pattern)]
        pattern: GrantPattern,
        /// pull, push, delete, separated by commas, or '*'. They are added to those that the pattern has.
        #[arg(value_parser = actions, add = ArgValueCandidates::new(complete::actions))]
        actions: Actions,
    },
    /// Take actions from a grant, or remove it.
    #[command(visible_alias = "rm")]
    Remove {
        /// A user (alice), a group (@team) or everyone (public).
        #[arg(value_parser = grant_subject, add = ArgValueCompleter::new(complete::grant_subjects))]
        subject: Subject,
        /// As `grant list` shows it, with ! in front where it denies.
        pattern: String,
        /// Only these; without it, all of them.
        #[arg(value_parser = actions, add = ArgValueCandidates::new(complete::actions))]
        actions: Option<Actions>,
    },
    /// List the grants of a user, a group or everyone.
    #[command(visible_alias = "ls")]
    List {
        /// A user (alice), a group (@team) or everyone (public).
        #[arg(value_parser = grant_subject, add = ArgValueCompleter::new(complete::grant_subjects))]
        subject: Subject,
    },
}

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// The user; without it, the anonymous.
    #[arg(long, value_parser = user, add = ArgValueCompleter::new(complete::users))]
    pub(crate) user: Option<UserNameBuf>,
    /// With this access token of the user (its id), which may do a part of what the user may; without it,
    /// with the password.
    #[arg(long, value_name = "ID", requires = "user", value_parser = TokenIdParser)]
    pub(crate) token: Option<TokenId>,
    /// What is to be done: pull, push or delete.
    #[arg(long, value_parser = action, add = ArgValueCandidates::new(complete::actions))]
    pub(crate) action: Action,
    /// registry_auth_own_namespace of nginx.conf.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub(crate) own_namespace: Switch,
    /// A repository, without registry and tag: team/app.
    #[arg(value_parser = repository)]
    pub(crate) repository: RepositoryName<'static>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Subcommand)]
pub(crate) enum BackendVerb {
    /// Set the backends of a user (alice), a group (@team) or everybody (default).
    Set {
        /// A user (alice), a group (@team), everyone (public), or all without their own (default).
        #[arg(value_parser = backend_subject, add = ArgValueCompleter::new(complete::backend_subjects))]
        subject: Subject,
        /// The registries' addresses; without a port it is port 80. Of several, each repository has one
        /// (`balance=repository`).
        #[arg(required = true, value_name = "HOST:PORT", value_parser = backend)]
        backends: Vec<BackendName>,
    },
    /// List the backends of a user (alice), a group (@team) or everybody (default).
    #[command(visible_alias = "ls")]
    List {
        /// A user (alice), a group (@team), everyone (public), or all without their own (default).
        #[arg(value_parser = backend_subject, add = ArgValueCompleter::new(complete::backend_subjects))]
        subject: Subject,
    },
    /// Remove the backends of a user (alice), a group (@team) or everybody (default).
    #[command(visible_alias = "rm")]
    Clear {
        /// A user (alice), a group (@team), everyone (public), or all without their own (default).
        #[arg(value_parser = backend_subject, add = ArgValueCompleter::new(complete::backend_subjects))]
        subject: Subject,
    },
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_argument_and_each_verb_says_what_it_is() {
        fn lacking(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            found.extend(command.get_about().is_none().then(|| path.clone()));
            let arguments = command
                .get_arguments()
                .filter(|argument| argument.get_help().is_none());
            found.extend(arguments.map(|argument| format!("{path} {}", argument.get_id())));
            for verb in command.get_subcommands() {
                lacking(verb, &path, found);
            }
        }
        let mut found = Vec::new();
        lacking(&Cli::command(), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn no_line_of_the_help_is_broken_twice() {
        for width in [80, 100] {
            let help = Cli::command().term_width(width).render_long_help().to_string();
            let lines: Vec<&str> = help.lines().collect();
            for pair in lines.windows(2) {
                let [line, next] = pair else { continue };
                // A word that stands alone in its line, and does not end a paragraph, would have had room.
                let is_short = !line.starts_with(' ') && line.len() < 20 && line.contains(' ');
                assert!(!is_short || next.is_empty(), "{width}: {line:?} {next:?}");
            }
        }
    }
}
