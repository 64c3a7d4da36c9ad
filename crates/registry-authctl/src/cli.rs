//! What can be typed. Names and backends are checked here, before anything is asked or written.

use clap::{Args, Parser, Subcommand, ValueEnum};
use registry_auth::backend::Backend;
use registry_auth::UserName;
use registry_auth_redis::admin::Subject;

/// Manages the users and backends of nginx registry auth in Redis.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    // Not a doc comment: rustdoc would take the brackets for links.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "REGISTRY_AUTH_REDIS",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379/0",
        help = "Redis: redis://[user:password@]host[:port][/db] or redis+unix:///path?db=n. A URL with a password belongs \
                into the environment, where other users of this machine do not see it"
    )]
    pub(crate) redis: String,

    /// What the keys begin with: registry_auth_prefix of nginx.conf.
    #[arg(
        long,
        global = true,
        env = "REGISTRY_AUTH_PREFIX",
        default_value = "docker-registry"
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
    /// Registries that requests are passed to.
    #[command(subcommand)]
    Backend(BackendVerb),
}

#[derive(Subcommand)]
pub(crate) enum UserVerb {
    /// Create a user, asking for the password.
    Add {
        #[arg(value_parser = new_user)]
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Set a new password.
    Passwd {
        #[arg(value_parser = user)]
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List all users.
    List,
    /// Show what is stored for a user, except the password.
    Show {
        #[arg(value_parser = user)]
        name: String,
    },
    /// Refuse the user until unlocked; the password stays.
    Lock {
        #[arg(value_parser = user)]
        name: String,
    },
    /// Let a locked user in again.
    Unlock {
        #[arg(value_parser = user)]
        name: String,
    },
    /// Remove the user with everything that is stored for it.
    Remove {
        #[arg(value_parser = user)]
        name: String,
    },
}

#[derive(Args)]
pub(crate) struct PasswordArgs {
    /// Read the password from standard input (one line) instead of the terminal.
    #[arg(long)]
    pub(crate) password_stdin: bool,
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
pub(crate) enum BackendVerb {
    /// Set the backends of a user (alice), a group (@team) or everybody (default).
    Set {
        #[arg(value_parser = subject)]
        subject: String,
        /// Several are taken in turn.
        #[arg(required = true, value_name = "HOST:PORT", value_parser = backend)]
        backends: Vec<String>,
    },
    /// List the backends of a user (alice), a group (@team) or everybody (default).
    List {
        #[arg(value_parser = subject)]
        subject: String,
    },
    /// Remove the backends of a user (alice), a group (@team) or everybody (default).
    Clear {
        #[arg(value_parser = subject)]
        subject: String,
    },
}

const NAME_RULE: &str = "a name is 1 to 255 bytes of UTF-8 without control characters, ':' or '/'";

fn user(text: &str) -> Result<String, String> {
    UserName::parse(text.as_bytes()).map_err(|_| NAME_RULE.to_owned())?;
    Ok(text.to_owned())
}

/// `default`, `public` and `@…` mean something else wherever a subject is named; the user would be out of reach.
fn new_user(text: &str) -> Result<String, String> {
    if matches!(text, "default" | "public") || text.starts_with('@') {
        return Err("this name is reserved: it stands for others than a user".to_owned());
    }
    user(text)
}

fn subject(text: &str) -> Result<String, String> {
    Subject::parse(text).map_err(|_| format!("a subject is alice, @team or default; {NAME_RULE}"))?;
    Ok(text.to_owned())
}

fn backend(text: &str) -> Result<String, String> {
    Backend::parse(text).map_err(|_| {
        "a backend is host:port, for example registry-1:5000, 10.0.0.5:5000 or [fd00::5]:5000".to_owned()
    })?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
