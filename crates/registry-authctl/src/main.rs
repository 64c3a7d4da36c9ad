//! registry-authctl: manages users, groups, grants, access tokens and backends of the gate, in Redis, on the
//! same schema as the module.
//!
//! Map: `cli` (what can be typed, and what a shell offers), `verbs` (what each verb does), `connector` (opens
//! Redis), `password` (asks and hashes), `files` (that are imported), `manual` (the pages), `terminal`
//! (output, questions, progress), `time`, `error`. Exit status: 0 done or allowed; 1 refused, not found,
//! something found by `check`, or Redis unreachable; 2 usage.
#![forbid(unsafe_code)]

mod cli;
mod connector;
mod error;
mod files;
mod manual;
mod password;
mod terminal;
mod time;
mod verbs;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use connector::Connector;
use error::Error;
use std::io::Write;
use std::process::ExitCode;
use terminal::output::{BAD, Output, styled};
use verbs::{backend, check, explain, grant, group, import, shell, token, user};

fn main() -> ExitCode {
    cli::complete::answer(Cli::command);
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.is_message() {
                // A failure to write this cannot be reported anywhere.
                drop(writeln!(
                    anstream::stderr(),
                    "{}: {error}",
                    styled(BAD, "registry-authctl")
                ));
            }
            ExitCode::from(error.status())
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    match &cli.command {
        Command::Completions { shell } => return shell::completions(*shell),
        Command::Man { folder, directives } => return shell::man(folder.as_deref(), *directives),
        _ => {}
    }
    let endpoint = cli.redis.endpoint()?;
    let endpoint = endpoint.with_prefix(&cli.prefix).map_err(|why| Error::Prefix {
        prefix: cli.prefix.clone(),
        why,
    })?;
    let connector = Connector::new(endpoint, cli.prefix);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(Error::Io)?;
    let out = Output::new(cli.json);
    let (gives, takes_both) = (cli.command.gives(), cli.command.takes_both());
    runtime
        .block_on(async {
            let done = match cli.command {
                Command::User(verb) => user::run(verb, &connector, &out).await,
                Command::Group(verb) => group::run(verb, &connector, &out).await,
                Command::Grant(verb) => grant::run(verb, &connector, &out).await,
                Command::Token(verb) => token::run(verb, &connector, &out).await,
                Command::Backend(verb) => backend::run(verb, &connector, &out).await,
                Command::Explain(args) => explain::run(args, &connector, &out).await,
                Command::Check => check::run(&connector, &out).await,
                Command::ImportHtpasswd { file, options } => {
                    import::htpasswd(&file, &options, &connector, &out).await
                }
                Command::ImportDockerAuth { file, options } => {
                    import::docker_auth(&file, &options, &connector, &out).await
                }
                Command::Migrate { apply } => import::migrate(apply, &connector, &out).await,
                // Done before there was a connection.
                Command::Completions { .. } | Command::Man { .. } => Ok(()),
            };
            match done {
                Err(error) => Err(error.of_the_other_kind(takes_both, &connector).await),
                done => done,
            }
        })
        .map_err(|error| error.advised(gives))
}
