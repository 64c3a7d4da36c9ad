//! Redis Cluster: an administrator's connection follows the keys to whatever node they are at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

use redis::Value;
use registry_auth::{UserName, UserNameBuf};
use registry_auth_admin::{Admin, AdminError, GroupName, UNSEEN};
use registry_auth_redis::schema::keys::slot;
use registry_auth_redis::{Endpoint, InvalidPrefix};
use std::time::{Duration, Instant};
use testkit::{RedisServer, eventually};
use tokio::time;

const PREFIX: &str = "{P}";
const LIMIT: Duration = Duration::from_secs(5);
const HASH: &str = "$2y$04$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";

/// Two nodes, of which the first has the slot.
struct Cluster {
    nodes: [RedisServer; 2],
}

impl Cluster {
    fn start() -> Self {
        let nodes = [(); 2].map(|()| RedisServer::cluster_node(&[]));
        // The second keeps one when it has given the other back, or it would become a replica.
        nodes[0].run("CLUSTER ADDSLOTSRANGE 0 16382");
        nodes[1].run("CLUSTER ADDSLOTSRANGE 16383 16383");
        nodes[1].run("CLUSTER SET-CONFIG-EPOCH 2");
        let bus: Vec<String> = nodes[0].query(&["CONFIG", "GET", "cluster-port"]);
        nodes[1].run(&format!("CLUSTER MEET 127.0.0.1 {} {}", nodes[0].port, bus[1]));
        for node in &nodes {
            eventually("the Cluster is there", || {
                let said: String = node.query(&["CLUSTER", "INFO"]);
                let is_there = |word: &&str| said.contains(*word);
                ["cluster_state:ok", "cluster_known_nodes:2"]
                    .iter()
                    .all(is_there)
                    .then_some(())
            });
        }
        Self { nodes }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("redis+cluster://127.0.0.1:{}", self.nodes[1].port)).unwrap()
    }

    async fn admin(&self) -> Admin {
        Admin::connect(&self.endpoint(), PREFIX, LIMIT).await.unwrap()
    }

    fn id(&self, at: usize) -> String {
        self.nodes[at].query(&["CLUSTER", "MYID"])
    }

    /// The slot is on its way from the one to the other.
    fn begin(&self, from: usize, to: usize) {
        let slot = slot(PREFIX).unwrap();
        self.nodes[to].run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.id(from)));
        self.nodes[from].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.id(to)));
    }

    /// It has got there, with all keys.
    fn end(&self, from: usize, to: usize) {
        let (slot, port) = (slot(PREFIX).unwrap(), self.nodes[to].port);
        let keys: Vec<String> =
            self.nodes[from].query(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "100"]);
        for key in keys {
            self.nodes[from].run(&format!("MIGRATE 127.0.0.1 {port} {key} 0 1000"));
        }
        for at in [to, from] {
            self.nodes[at].run(&format!("CLUSTER SETSLOT {slot} NODE {}", self.id(to)));
        }
    }

    fn passwords(&self, at: usize, user: &str) -> Value {
        self.nodes[at].run(&format!("HGET {PREFIX}:user:{user} password"))
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

fn user(name: &str) -> UserNameBuf {
    UserName::parse(name.as_bytes()).unwrap().to_owned()
}

async fn names(admin: &Admin) -> Vec<String> {
    let users = admin.user_list(UNSEEN).await.unwrap();
    users.iter().map(|user| user.name.to_string()).collect()
}

#[test]
fn the_keys_are_followed_to_another_node() {
    let cluster = Cluster::start();
    run(async {
        let admin = cluster.admin().await;
        admin.user_add(user("alice").as_name(), HASH).await.unwrap();
        assert_eq!(names(&admin).await, ["alice"]);
        // SCAN is never sent elsewhere by a node, and would find nobody.
        cluster.begin(0, 1);
        cluster.end(0, 1);
        assert_eq!(names(&admin).await, ["alice"]);
        cluster.begin(1, 0);
        cluster.end(1, 0);
        admin.user_add(user("bob").as_name(), HASH).await.unwrap();
        assert_eq!(names(&admin).await, ["alice", "bob"]);
        // Nobody watches anything for this one.
        cluster.begin(0, 1);
        cluster.end(0, 1);
        admin.user_remove(user("alice").as_name()).await.unwrap();
        assert_eq!(names(&admin).await, ["bob"]);
        assert_eq!(cluster.passwords(1, "alice"), Value::Nil);
    });
}

#[test]
fn a_change_waits_for_keys_that_are_on_their_way_and_a_question_does_not() {
    let cluster = Cluster::start();
    run(async {
        let admin = cluster.admin().await;
        admin.user_add(user("alice").as_name(), HASH).await.unwrap();
        cluster.begin(0, 1);
        let begun = Instant::now();
        assert!(admin.user_find(user("nobody").as_name()).await.unwrap().is_none());
        admin.user_show(user("alice").as_name()).await.unwrap();
        assert!(begun.elapsed() < LIMIT / 5, "{:?}", begun.elapsed());
        let cluster = &cluster;
        let later = async {
            time::sleep(Duration::from_millis(700)).await;
            cluster.end(0, 1);
        };
        let changes = async {
            let team = GroupName::parse("team").unwrap();
            admin.user_add(user("bob").as_name(), HASH).await.unwrap();
            admin.group_add(&team, UNSEEN).await.unwrap();
            admin.group_join(&team, user("bob").as_name()).await.unwrap();
            assert_eq!(names(&admin).await, ["alice", "bob"]);
        };
        tokio::join!(later, changes);
    });
}

#[test]
fn keys_that_do_not_arrive_are_told() {
    let cluster = Cluster::start();
    run(async {
        let admin = Admin::connect(&cluster.endpoint(), PREFIX, Duration::from_secs(1))
            .await
            .unwrap();
        cluster.begin(0, 1);
        let refused = admin.user_add(user("bob").as_name(), HASH).await.unwrap_err();
        assert!(
            refused.to_string().contains("on their way to another node"),
            "{refused}"
        );
    });
}

#[test]
fn a_prefix_without_a_tag_is_refused() {
    let endpoint = Endpoint::parse("redis+cluster://127.0.0.1:1").unwrap();
    let refused = run(Admin::connect(&endpoint, "P", LIMIT)).unwrap_err();
    let tagged = "{P}".to_owned();
    assert!(matches!(refused, AdminError::Prefix(why) if why == InvalidPrefix::NoTag { tagged }));
}
