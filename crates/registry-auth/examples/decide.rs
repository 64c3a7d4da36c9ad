//! May alice do this? `cargo run -p registry-auth --example decide -- push team/app 'team/*=pull,push'
//! '!team/secret=*'`
//!
//! The arguments are an action, a repository and alice's grants: `pattern=actions`, with `!` in front where
//! the grant denies. Prints the decision and its reason, as `registry-authctl explain` does for accounts in
//! Redis.

use registry_auth::codec::{Record, RecordRef, encode};
use registry_auth::grant::Grant;
use registry_auth::policy::{Rules, decide};
use registry_auth::route::{self, Method, Request, RouteOptions};
use registry_auth::{Limits, Subject, UserName};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let action = arguments.next().unwrap_or_else(|| "pull".to_owned());
    let repository = arguments.next().unwrap_or_else(|| "team/app".to_owned());
    let grants = arguments
        .map(|grant| {
            let (pattern, actions) = grant.split_once('=').ok_or("a grant is pattern=actions")?;
            Ok(Grant::from_parts(pattern, actions)?)
        })
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;

    // The store makes such a record out of a Redis hash, and the cache keeps it.
    let mut record = Vec::new();
    encode(
        &Record {
            grants,
            ..Record::default()
        },
        &mut record,
    )?;
    // The caller has verified alice's password by now.
    let subject = Subject {
        user: Some(UserName::parse(b"alice")?),
        record: RecordRef::decode(&record)?,
        groups: &[],
        limits: Limits::default(),
    };

    let (method, path) = match action.as_str() {
        "pull" => (Method::Get, format!("/v2/{repository}/manifests/latest")),
        "push" => (Method::Put, format!("/v2/{repository}/manifests/latest")),
        "delete" => (Method::Delete, format!("/v2/{repository}/manifests/latest")),
        _ => return Err("the action is pull, push or delete".into()),
    };
    let request = Request::from_target(method, path.as_bytes(), path.as_bytes(), None);
    let route = route::parse(&request, &RouteOptions { v1_images: true })?;
    let rules = Rules {
        own_namespace: true,
        catalog: true,
        public_images: false,
    };
    match decide(&subject, &route, &rules) {
        Ok(permit) => println!("allowed: {:?}", permit.rule()),
        Err(denial) => {
            println!("{} {}: {denial}", denial.status(), denial.code());
            println!("reason: {}", denial.rule().unwrap_or_default());
        }
    }
    Ok(())
}
