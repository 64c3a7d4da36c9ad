//! Random changes, questions, losses, reconnects and failovers against a real Redis and its replica, with a
//! cache that follows the queue as nginx's does (put on a cacheable completion, delete on changes): no answer
//! that may be kept, fresh or cached, is older than the last change that the queue has delivered, and no
//! other is older than the last one that had been delivered when the request came; and when all is quiet the
//! cache is what Redis holds.
//!
//! A failure prints its seed; `REGISTRY_AUTH_SEED=n` repeats one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Gate, PATIENCE, Server, options};
use registry_auth::{Record, RecordRef};
use registry_auth_lookup::{Changed, Changes, Completion, Event, LookupOptions, Outcome, Rung};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const USERS: usize = 6;
const STEPS: usize = 2000;
/// A slow form, so that answers come late; its cost is small.
const BCRYPT4: &str = "$2y$04$Mo48JQKGRfxFnUWs7/UG5.7sWoAaxykOwteCStsC8fJDO9fjAaHte";

/// The keys of the model: `P:user:u<n>`, one for each user, then these.
const PASSWORDS: usize = USERS;
const BACKENDS: usize = USERS + 1;
const PUBLIC: usize = USERS + 2;
const TEAM: usize = USERS + 3;
const KEYS: usize = USERS + 4;

/// What is in a key: field (or nothing) to a text that occurs once in the key's history.
type Content = HashMap<String, String>;

struct Key {
    /// Every content there was; the last is there now.
    history: Vec<Content>,
    /// The last of `history` that the queue is known to have told: what is older must not be seen any more.
    told: usize,
}

/// What an answer shows of one key: the field that was looked at, and what was there.
struct Seen {
    key: usize,
    field: String,
    value: Option<String>,
}

struct Random(u64);

impl Random {
    /// Splitmix64.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

struct Model {
    random: Random,
    /// The master, and its replica.
    redis: Option<Server>,
    replica: Option<Server>,
    admin: redis::Connection,
    gate: Gate,
    keys: Vec<Key>,
    /// User to what is cached.
    cache: HashMap<usize, Vec<Seen>>,
    /// Tickets: who was asked for, and what had been told of each key by then.
    waiting: HashMap<u64, (usize, Vec<usize>)>,
    version: u64,
    /// Numbers the last barrier that came back.
    barrier: u64,
    /// Whether the servers have changed places since: events may be of the one or the other, and are no
    /// number of changes.
    is_uncertain: bool,
    failovers: usize,
    /// Answers checked: from the cache, from Redis. And completions that may not be kept.
    served: (usize, usize, usize),
    armed: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        let redis = Server::with(&AT_ONCE);
        let replica = Server::with(&[&AT_ONCE[..], &replica_of(&redis.port.to_string())].concat());
        let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", redis.port, replica.port);
        let gate = Gate::with(LookupOptions {
            changes: Some(Changes::Auto),
            timeout: Duration::from_millis(300),
            connect_timeout: Duration::from_millis(300),
            ..options(&url)
        });
        let empty = || Key {
            history: vec![Content::new()],
            told: 0,
        };
        Self {
            random: Random(seed),
            admin: redis.connection(),
            redis: Some(redis),
            replica: Some(replica),
            gate,
            keys: (0..KEYS).map(|_| empty()).collect(),
            cache: HashMap::new(),
            waiting: HashMap::new(),
            version: 0,
            barrier: 0,
            is_uncertain: false,
            failovers: 0,
            served: (0, 0, 0),
            armed: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(400) {
            0 => self.restart(),
            1 => self.fail_over(),
            2..=3 => self.freeze(),
            4..=9 => self.kill_connection(),
            10..=11 => self.flush(),
            12..=19 => self.settle(),
            20..=119 => self.change_user(),
            120..=134 => self.change_password(),
            135..=144 => self.change_backends(),
            145..=164 => self.change_group("public", PUBLIC),
            165..=184 => self.change_group("team", TEAM),
            185..=299 => self.request(),
            _ => self.drain(),
        }
    }

    fn run(&mut self, command: &[&str]) {
        let mut cmd = redis::Cmd::new();
        command.iter().for_each(|arg| {
            cmd.arg(*arg);
        });
        cmd.exec(&mut self.admin).unwrap();
    }

    fn new_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// `change` is what has just been done to the key.
    fn changed(&mut self, key: usize, change: impl FnOnce(&mut Content)) {
        let key = &mut self.keys[key];
        let mut content = key.history.last().unwrap().clone();
        change(&mut content);
        key.history.push(content);
    }

    fn change_user(&mut self) {
        let user = self.random.below(USERS);
        let key = format!("P:user:u{user}");
        if self.random.below(8) == 0 {
            if !self.keys[user].history.last().unwrap().is_empty() {
                self.run(&["DEL", &key]);
                self.changed(user, Content::clear);
            }
            return;
        }
        let version = self.new_version();
        let groups = format!("{version} team");
        let mut command = vec!["HSET", &key, "groups", &groups];
        // The others have their passwords in P:passwords.
        if user.is_multiple_of(2) {
            command.extend(["password", BCRYPT4]);
        }
        self.run(&command);
        self.changed(user, |content| {
            content.insert("groups".into(), version.clone());
        });
    }

    fn change_password(&mut self) {
        let user = format!("u{}", self.random.below(USERS));
        self.version += 1;
        let hash = format!("{:040x}", self.version);
        self.run(&["HSET", "P:passwords", &user, &hash]);
        self.changed(PASSWORDS, |content| {
            content.insert(user, hash);
        });
    }

    fn change_backends(&mut self) {
        self.version += 1;
        let name = format!("127.0.0.1:{}", self.version);
        redis::pipe()
            .atomic()
            .cmd("DEL")
            .arg("P:backends")
            .cmd("RPUSH")
            .arg("P:backends")
            .arg(&name)
            .exec(&mut self.admin)
            .unwrap();
        self.changed(BACKENDS, |content| {
            content.insert(String::new(), name);
        });
    }

    fn change_group(&mut self, name: &str, group: usize) {
        let key = format!("P:group:{name}");
        if self.random.below(4) == 0 {
            if !self.keys[group].history.last().unwrap().is_empty() {
                self.run(&["DEL", &key]);
                self.changed(group, Content::clear);
            }
            return;
        }
        let backend = format!("127.0.0.1:{}", self.new_version());
        self.run(&["HSET", &key, "backends", &backend]);
        self.changed(group, |content| {
            content.insert("backends".into(), backend.clone());
        });
    }

    fn emptied(&mut self) {
        for key in 0..KEYS {
            self.changed(key, Content::clear);
        }
    }

    fn flush(&mut self) {
        self.run(&["FLUSHALL"]);
        self.emptied();
    }

    fn kill_connection(&mut self) {
        self.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }

    fn restart(&mut self) {
        let (port, dir): (u16, Arc<TempDir>) = self.redis.take().unwrap().kill();
        self.emptied();
        let redis = Server::on(port, &dir, &AT_ONCE);
        redis.wait_until_ready();
        self.admin = redis.connection();
        self.redis = Some(redis);
    }

    /// The replica becomes the master, with all that was written; the master becomes its replica, or dies and
    /// comes back as one.
    fn fail_over(&mut self) {
        let has_all: usize = redis::cmd("WAIT")
            .arg(1)
            .arg(1000)
            .query(&mut self.admin)
            .unwrap();
        if has_all == 0 {
            // It is not there again since the last time.
            return;
        }
        let (old, new) = (self.redis.take().unwrap(), self.replica.take().unwrap());
        let old = if self.random.below(2) == 0 {
            let mut old = old;
            let (port, dir) = old.kill();
            self.request();
            new.run("REPLICAOF NO ONE");
            let of = new.port.to_string();
            Server::on(port, &dir, &[&AT_ONCE[..], &replica_of(&of)].concat())
        } else {
            new.run("REPLICAOF NO ONE");
            old.run(&format!("REPLICAOF 127.0.0.1 {}", new.port));
            old
        };
        self.admin = new.connection();
        (self.redis, self.replica) = (Some(new), Some(old));
        self.is_uncertain = true;
        self.failovers += 1;
    }

    /// Shorter or longer than the store's patience.
    fn freeze(&mut self) {
        self.redis.as_ref().unwrap().freeze();
        self.request();
        let longest = if self.random.below(4) == 0 { 2000 } else { 200 };
        let pause = self.random.below(longest);
        std::thread::sleep(Duration::from_millis(pause.try_into().unwrap()));
        self.request();
        self.redis.as_ref().unwrap().thaw();
    }

    /// As nginx does it: from the cache, or by a job.
    fn request(&mut self) {
        let user = self.random.below(USERS);
        if let Some(seen) = self.cache.get(&user) {
            seen.iter().for_each(|seen| self.check(seen, "cached", None));
            self.served.0 += 1;
            return;
        }
        let ticket = self.gate.submit(&format!("u{user}"), "secret");
        self.waiting.insert(ticket, (user, self.all_told()));
    }

    /// What has been told of each key.
    fn all_told(&self) -> Vec<usize> {
        self.keys.iter().map(|key| key.told).collect()
    }

    /// Nothing is older than what has been told or, for an answer that is for one request only, what had been
    /// `told` when that came.
    fn check(&self, seen: &Seen, whence: &str, told: Option<&[usize]>) {
        let history = &self.keys[seen.key].history;
        let told = &told.map_or(self.keys[seen.key].told, |told| told[seen.key]);
        let is_there = |content: &Content| content.get(&seen.field) == seen.value.as_ref();
        assert!(
            history[*told..].iter().any(is_there),
            "{whence}: key {} field {:?} is {:?}, told is {told} of {}: {:?}",
            seen.key,
            seen.field,
            seen.value,
            history.len(),
            &history[told.saturating_sub(3)..],
        );
    }

    fn drain(&mut self) {
        let mut events = Vec::new();
        self.gate.store.drain(&mut events);
        for event in events {
            match event {
                Event::Completion(done) => self.completed(done),
                Event::Changed(keys) => keys.iter().for_each(|key| self.told(key)),
                Event::AllChanged => {
                    for key in 0..KEYS {
                        self.told_once(key);
                    }
                    self.cache.clear();
                }
                Event::ConnectionLost => {
                    assert_eq!(self.armed, 1, "lost what was not armed");
                    self.armed = 0;
                    self.cache.clear();
                }
                Event::Connected { rung, .. } => {
                    assert_eq!(rung, Rung::Broadcast);
                    assert_eq!(self.armed, 0, "armed twice");
                    self.armed = 1;
                    self.cache.clear();
                }
                Event::Proved(_) | Event::FailedOver => {}
            }
        }
    }

    fn told_once(&mut self, key: usize) {
        if self.is_uncertain {
            return;
        }
        let key = &mut self.keys[key];
        key.told += 1;
        assert!(
            key.told < key.history.len(),
            "told of more changes than there were"
        );
    }

    fn told(&mut self, changed: &Changed) {
        match changed {
            Changed::User { name, .. } => {
                if let Some(barrier) = name.strip_prefix("barrier") {
                    self.barrier = barrier.parse().unwrap();
                    return;
                }
                let user: usize = name.strip_prefix('u').unwrap().parse().unwrap();
                self.told_once(user);
                self.cache.remove(&user);
            }
            Changed::Passwords { .. } => {
                self.told_once(PASSWORDS);
                let concerns = |seen: &Vec<Seen>| seen.iter().any(|seen| seen.key == PASSWORDS);
                self.cache.retain(|_, seen| !concerns(seen));
            }
            Changed::Backends { .. } => {
                self.told_once(BACKENDS);
                self.cache.clear();
            }
            Changed::Group { name, .. } => {
                let group = match &**name {
                    "public" => PUBLIC,
                    "team" => TEAM,
                    other => panic!("group {other} is never written"),
                };
                self.told_once(group);
                let concerns = |seen: &Vec<Seen>| seen.iter().any(|seen| seen.key == group);
                self.cache.retain(|_, seen| !concerns(seen));
            }
        }
    }

    fn completed(&mut self, done: Completion) {
        let (user, told) = self.waiting.remove(&done.ticket).expect("answered once");
        let Some(seen) = seen(user, &done.outcome) else {
            assert!(!done.cacheable, "{done:?}");
            return;
        };
        let told = (!done.cacheable).then_some(&*told);
        seen.iter().for_each(|seen| self.check(seen, "answered", told));
        self.served.1 += 1;
        if done.cacheable {
            assert_eq!(self.armed, 1, "cacheable without a connection");
            self.cache.insert(user, seen);
        } else {
            self.served.2 += 1;
        }
    }

    /// Waits until everything done so far has been told: from here on only the present is right.
    fn settle(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let barrier = self.barrier + 1;
            self.run(&["SET", &format!("P:user:barrier{barrier}"), "x"]);
            let patience = Instant::now() + Duration::from_millis(100);
            while self.barrier != barrier && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(1));
                self.drain();
            }
            if self.barrier == barrier {
                break;
            }
            assert!(Instant::now() < until, "changes are not told any more");
        }
        self.is_uncertain = false;
        for key in &mut self.keys {
            key.told = key.history.len() - 1;
        }
        for seen in self.cache.values().flatten() {
            self.check(seen, "cached, all told", None);
        }
    }

    /// In the end every user can be cached, and what is cached is what is there.
    fn finish(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.cache.len() < USERS || !self.waiting.is_empty() {
            assert!(Instant::now() < until, "{:?} never answered", self.waiting);
            self.settle();
            for user in 0..USERS {
                if !self.cache.contains_key(&user) && self.waiting.len() < USERS {
                    let ticket = self.gate.submit(&format!("u{user}"), "secret");
                    self.waiting.insert(ticket, (user, self.all_told()));
                }
            }
        }
        self.settle();
        let (cached, asked, uncacheable) = self.served;
        assert!(cached > 10 && asked > 50, "{:?}", self.served);
        assert!(uncacheable < asked, "{:?}", self.served);
    }
}

/// A replica is brought up to date without a pause, and leaves no file with which it would begin next time.
const AT_ONCE: [&str; 4] = ["--repl-diskless-sync-delay", "0", "--rdb-del-sync-files", "yes"];

/// The options of a replica of the server at this port.
fn replica_of(port: &str) -> [&str; 3] {
    ["--replicaof", "127.0.0.1", port]
}

/// What an outcome shows of the keys it was made of; `None` when it shows nothing.
fn seen(user: usize, outcome: &Outcome) -> Option<Vec<Seen>> {
    let decode = |bytes: &[u8]| RecordRef::decode(bytes).unwrap().to_record().unwrap();
    let first = |record: &[u8]| decode(record).backends.first().map(|peer| peer.name.clone());
    let one = |key: usize, field: &str, value: Option<String>| Seen {
        key,
        field: field.to_owned(),
        value,
    };
    let (record, from_passwords) = match outcome {
        Outcome::Known {
            user, from_passwords, ..
        } => (decode(user), *from_passwords),
        Outcome::Unknown => (Record::default(), true),
        Outcome::Busy | Outcome::Unavailable => return None,
        Outcome::BadRecord => panic!("no record is bad"),
        Outcome::NoToken | Outcome::Owner(_) => panic!("nobody sends an access token"),
        Outcome::Anonymous { .. } => panic!("no job is without a user"),
    };
    let mut seen = vec![one(user, "groups", record.groups.first().cloned())];
    if let Outcome::Known {
        groups,
        public,
        defaults,
        ..
    } = outcome
    {
        seen.push(one(BACKENDS, "", first(defaults.as_ref().unwrap())));
        seen.push(one(PUBLIC, "backends", first(public)));
        assert_eq!(groups.len(), record.groups.len());
        if let Some(team) = groups.get(1) {
            seen.push(one(TEAM, "backends", first(team)));
        }
    }
    if from_passwords {
        seen.push(one(PASSWORDS, &format!("u{user}"), record.password));
    }
    Some(seen)
}

fn play(seed: u64) {
    println!("REGISTRY_AUTH_SEED={seed}");
    let mut model = Model::new(seed);
    model.settle();
    for _ in 0..STEPS {
        model.step();
    }
    model.finish();
    println!(
        "from the cache, from Redis, not to be kept: {:?}, {} failovers",
        model.served, model.failovers
    );
}

#[test]
fn no_answer_is_older_than_the_last_change_told() {
    if let Ok(seed) = std::env::var("REGISTRY_AUTH_SEED") {
        return play(seed.parse().unwrap());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for seed in [1, 2, 3, now.as_secs()] {
        play(seed);
    }
}
