//! The verbs of `registry-authctl backend`.

use crate::cli::BackendVerb;
use crate::error::Error;
use crate::output::{printable, Output};
use registry_auth_redis::admin::Subject;
use registry_auth_redis::{Admin, AdminError};
use serde_json::json;
use std::future::Future;

pub(crate) async fn run<C>(verb: BackendVerb, connect: impl Fn() -> C, out: &Output) -> Result<(), Error>
where
    C: Future<Output = Result<Admin, AdminError>>,
{
    match verb {
        BackendVerb::Set { subject, backends } => {
            let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
            let whose = parse(&subject)?;
            connect().await?.backends_set(whose, &backends).await?;
            out.print(
                &format!("backends of {subject}: {}", backends.join(" ")),
                &json!({ "subject": subject, "backends": backends }),
            )
        }
        BackendVerb::List { subject } => {
            let backends = connect().await?.backends_list(parse(&subject)?).await?;
            let lines: Vec<String> = backends.iter().map(|backend| printable(backend)).collect();
            out.print(
                &lines.join("\n"),
                &json!({ "subject": subject, "backends": backends }),
            )
        }
        BackendVerb::Clear { subject } => {
            connect().await?.backends_clear(parse(&subject)?).await?;
            out.print(
                &format!("backends of {subject} removed"),
                &json!({ "subject": subject, "backends": [] }),
            )
        }
    }
}

/// The command line has checked it already; the type is made here.
fn parse(subject: &str) -> Result<Subject<'_>, Error> {
    Subject::parse(subject).map_err(|_| Error::Usage("not a subject"))
}
