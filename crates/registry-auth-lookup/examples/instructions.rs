//! Lookups for counting instructions, in batches as nginx's worker makes them at so many connections.
//!
//! ```text
//! redis-server --port 7000 --save "" &
//! redis-cli -p 7000 HSET P:user:alice password e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4
//! cargo build --release -p registry-auth-lookup --example instructions
//! valgrind --tool=callgrind --separate-threads=yes target/release/examples/instructions \
//!     redis://127.0.0.1:7000 10000 16
//! ```
//! Run it with two numbers of lookups: the difference is free of start-up. Users are alice, and u0, u1... if
//! a fourth argument says how many.

use registry_auth::{Network, UserName};
use registry_auth_lookup::{Event, Hashing, Job, Keyspace, LookupOptions, Outcome, Proof, Store};
use registry_auth_redis::{Endpoint, Secret};
use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .ok_or("usage: instructions URL LOOKUPS BATCH [USERS]")?;
    let mut number = |otherwise| arguments.next().map_or(Ok(otherwise), |text| text.parse::<u64>());
    let (lookups, batch, users) = (number(10_000)?, number(16)?, number(0)?);
    let (bell, rung) = sync_channel(1);
    let store = Store::start(LookupOptions {
        endpoint: Endpoint::parse(&url)?,
        timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(60),
        hashing: Hashing::default(),
        prefixes: vec!["P".into()],
        changes: Some(registry_auth_lookup::Changes::Auto),
        last_use: false,
        rehash: false,
        token_keys: None,
        wake: Box::new(move || {
            let _ = bell.try_send(());
        }),
        spawn: registry_auth_lookup::own_thread(),
    })?;
    let space = Arc::new(Keyspace {
        prefix: "P".into(),
        salt: Box::default(),
    });
    let (mut asked, mut answered, mut verified) = (0, 0, 0);
    while answered < lookups {
        if asked == answered {
            let until = lookups.min(asked + batch);
            let user = |ticket: u64| match users {
                0 => "alice".to_owned(),
                users => format!("u{}", ticket % users),
            };
            let job = |ticket| Job {
                ticket,
                space: Arc::clone(&space),
                user: UserName::parse(user(ticket).as_bytes())
                    .ok()
                    .map(|name| name.to_owned()),
                password: Secret::new(b"secret"),
                proof: Proof::Password,
                verified: None,
                from: Network::Local,
            };
            store.submit((asked..until).map(job).collect());
            asked = until;
        }
        rung.recv()?;
        let mut events = Vec::new();
        store.drain(&mut events);
        for event in events {
            if let Event::Completion(done) = event {
                answered += 1;
                verified += u64::from(matches!(done.outcome, Outcome::Known { verified: true, .. }));
            }
        }
    }
    println!("{verified} of {lookups} verified");
    Ok(())
}
