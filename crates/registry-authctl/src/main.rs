//! registry-authctl: manages the users and backends of the gate, in Redis, on the same schema as the module.
//!
//! Map: `cli` (what can be typed) → `user`, `backend` (one function per verb) → `password` (asking and hashing) →
//! `output` (text or JSON). Exit status: 0 done, 1 refused, not found or Redis unreachable, 2 usage.
#![forbid(unsafe_code)]

mod backend;
mod cli;
mod error;
mod output;
mod password;
mod user;

use clap::Parser;
use cli::{Cli, Command};
use error::Error;
use output::Output;
use registry_auth_redis::{Admin, Endpoint};
use std::process::ExitCode;
use std::time::Duration;

/// Limit of the connection and of each round trip. Generous: a person waits, no request does.
const LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("registry-authctl: {error}");
            ExitCode::from(error.status())
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    let endpoint = Endpoint::parse(&cli.redis)
        .and_then(|endpoint| endpoint.check().map(|()| endpoint))
        .map_err(Error::Endpoint)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(Error::Io)?;
    let out = Output::new(cli.json);
    runtime.block_on(async {
        let connect = || Admin::connect(&endpoint, &cli.prefix, LIMIT);
        match cli.command {
            Command::User(verb) => user::run(verb, connect, &out).await,
            Command::Backend(verb) => backend::run(verb, connect, &out).await,
        }
    })
}
