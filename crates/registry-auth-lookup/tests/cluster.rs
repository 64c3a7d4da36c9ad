//! Redis Cluster: what is read of a slot that is on its way to another node is answered, and not kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Gate, Server, space, tracked};
use registry_auth_lookup::Outcome;
use registry_auth_redis::Endpoint;
use registry_auth_redis::schema::keys::slot;
use testkit::eventually;

const PREFIX: &str = "{P}";

/// Two nodes; the first has the slot.
fn nodes() -> (Server, Server) {
    let (first, second) = (Server::cluster_node(&[]), Server::cluster_node(&[]));
    first.run("CLUSTER ADDSLOTSRANGE 0 16382");
    second.run("CLUSTER ADDSLOTSRANGE 16383 16383");
    second.run("CLUSTER SET-CONFIG-EPOCH 2");
    let bus: Vec<String> = first.query(&["CONFIG", "GET", "cluster-port"]);
    second.run(&format!("CLUSTER MEET 127.0.0.1 {} {}", first.port, bus[1]));
    for node in [&first, &second] {
        eventually("the Cluster is there", || {
            let said: String = node.query(&["CLUSTER", "INFO"]);
            let is_there = said.contains("cluster_state:ok") && said.contains("cluster_known_nodes:2");
            is_there.then_some(())
        });
    }
    (first, second)
}

/// "secret", as the 2014 gate stored it.
const SECRET: &str = "e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4";

fn is_kept(gate: &mut Gate, user: &str) -> (bool, bool) {
    let ticket = gate.submit(user, "secret");
    let done = gate.completion(ticket);
    (matches!(done.outcome, Outcome::Unavailable), done.cacheable)
}

#[test]
fn an_answer_of_the_node_that_a_slot_is_on_its_way_to_is_not_kept() {
    let (old, new) = nodes();
    for user in ["alice", "bob"] {
        old.run(&format!("HSET {PREFIX}:user:{user} password {SECRET}"));
    }
    // All that a lookup asks for, so that only the keys that have gone are asked elsewhere.
    old.run(&format!("RPUSH {PREFIX}:backends 127.0.0.1:5000"));
    old.run(&format!("HSET {PREFIX}:group:public name public"));
    old.run(&format!("HSET {PREFIX}:passwords x {SECRET}"));
    let url = format!("redis+cluster://127.0.0.1:{}", new.port);
    let mut options = tracked("redis://127.0.0.1");
    options.endpoint = Endpoint::parse(&url).unwrap().with_prefix(PREFIX).unwrap();
    options.prefixes = vec![PREFIX.into()];
    let mut gate = Gate::with(options);
    gate.space = space(PREFIX, "");
    assert!(gate.armed());
    assert_eq!(is_kept(&mut gate, "alice"), (false, true), "before");
    let slot = slot(PREFIX).unwrap();
    let id = |node: &Server| node.query::<String>(&["CLUSTER", "MYID"]);
    new.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(&old)));
    old.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(&new)));
    old.run(&format!(
        "MIGRATE 127.0.0.1 {} {PREFIX}:user:alice 0 1000",
        new.port
    ));
    assert_eq!(is_kept(&mut gate, "alice"), (false, false), "of the new node");
    assert_eq!(
        is_kept(&mut gate, "nobody"),
        (false, false),
        "there may be one there"
    );
    assert_eq!(is_kept(&mut gate, "bob"), (false, true), "of the old node");
    // Where the URL is none of a Cluster, nobody else is shown the password.
    let asked = new.calls("asking");
    let mut options = tracked(&old.url());
    options.prefixes = vec![PREFIX.into()];
    let mut alone = Gate::with(options);
    alone.space = space(PREFIX, "");
    assert!(alone.armed());
    assert_eq!(is_kept(&mut alone, "alice"), (true, false), "one server alone");
    assert_eq!(new.calls("asking"), asked);
    for key in ["user:bob", "backends", "group:public", "passwords"] {
        old.run(&format!("MIGRATE 127.0.0.1 {} {PREFIX}:{key} 0 1000", new.port));
    }
    for node in [&new, &old] {
        node.run(&format!("CLUSTER SETSLOT {slot} NODE {}", id(&new)));
    }
    eventually("the new node is asked", || {
        (is_kept(&mut gate, "alice") == (false, true)).then_some(())
    });
    new.run(&format!("HSET {PREFIX}:user:alice password x"));
    gate.told(|event| matches!(event, registry_auth_lookup::Event::Changed(_)));
}
