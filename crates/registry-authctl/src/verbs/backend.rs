//! The verbs of `registry-authctl backend`.

use crate::cli::BackendVerb;
use crate::connector::Connector;
use crate::error::Error;
use crate::terminal::output::{Output, note, printable};
use registry_auth_admin::{BackendName, Subject};
use serde_json::json;

/// What several backends must share.
pub(crate) const SEVERAL: &str = "with balance=repository (the default) each repository has one of them, \
     and each may have a storage of its own; with balance=turn all must have the same storage and the same \
     http.secret, or pushes fail";

pub(crate) async fn run(verb: BackendVerb, connector: &Connector, out: &Output) -> Result<(), Error> {
    match verb {
        BackendVerb::Set { subject, backends } => {
            connector
                .connect()
                .await?
                .backends_set(&subject, &backends)
                .await?;
            let backends: Vec<&str> = backends.iter().map(BackendName::as_str).collect();
            if let Subject::Group(group) = &subject {
                let whose = match group.is_public() {
                    true => "everybody without backends of their own or of a group".to_owned(),
                    false => {
                        format!("members of {group} without backends of their own or of an earlier group")
                    }
                };
                note(&format!(
                    "every pull and push of {whose} goes there from now on, their own repositories \
                     included: what lies at their backends of before is not found there"
                ));
            }
            if backends.len() > 1 {
                note(&format!("several backends: {SEVERAL}"));
            }
            out.print(
                &format!("backends of {subject}: {}", backends.join(" ")),
                &json!({ "subject": subject.to_string(), "backends": backends }),
            )
        }
        BackendVerb::List { subject } => {
            let backends = connector.connect().await?.backends_list(&subject).await?;
            let lines: Vec<String> = backends.iter().map(|backend| printable(backend)).collect();
            out.print(
                &lines.join("\n"),
                &json!({ "subject": subject.to_string(), "backends": backends }),
            )
        }
        BackendVerb::Clear { subject } => {
            connector.connect().await?.backends_clear(&subject).await?;
            out.print(
                &format!("backends of {subject} removed"),
                &json!({ "subject": subject.to_string(), "backends": [] }),
            )
        }
    }
}
