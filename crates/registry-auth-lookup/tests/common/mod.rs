//! A store around a real redis-server, for the tests of this crate; the server itself is testkit's.
#![allow(dead_code)] // each test binary uses its own part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

use registry_auth::{Network, Record, RecordRef, UserName, codec};
use registry_auth_lookup::{
    Changes, Completion, Event, Hashing, Job, Keyspace, LookupOptions, Outcome, Proof, Rung, Store,
};
use registry_auth_redis::log::LogLine;
use registry_auth_redis::{Endpoint, Secret};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
#[allow(unused_imports)] // each test binary uses its own part
pub use testkit::{PATIENCE, RedisServer as Server, free_port};

/// A store with an nginx-like owner: drains when woken.
pub struct Gate {
    pub store: Store,
    wakes: Receiver<()>,
    pub wake_count: usize,
    pub space: Arc<Keyspace>,
    ticket: u64,
    answers: HashMap<u64, Completion>,
    /// All events that are no completion.
    pub events: Vec<Event>,
    pub log: Vec<LogLine>,
}

pub fn options(url: &str) -> LookupOptions {
    LookupOptions {
        endpoint: Endpoint::parse(url).unwrap(),
        timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(2),
        hashing: Hashing::default(),
        prefixes: vec!["P".into()],
        changes: None,
        last_use: false,
        rehash: false,
        token_keys: None,
        wake: Box::new(|| ()),
        spawn: registry_auth_lookup::own_thread(),
    }
}

/// With changes told, for the prefix `P`.
pub fn tracked(url: &str) -> LookupOptions {
    LookupOptions {
        changes: Some(Changes::Auto),
        ..options(url)
    }
}

pub fn space(prefix: &str, salt: &str) -> Arc<Keyspace> {
    Arc::new(Keyspace {
        prefix: prefix.into(),
        salt: salt.as_bytes().into(),
    })
}

impl Gate {
    pub fn new(url: &str) -> Self {
        Self::with(options(url))
    }

    pub fn with(mut options: LookupOptions) -> Self {
        let (sender, wakes) = channel();
        options.wake = Box::new(move || {
            let _ = sender.send(());
        });
        Self {
            store: Store::start(options).unwrap(),
            wakes,
            wake_count: 0,
            space: space("P", ""),
            ticket: 0,
            answers: HashMap::new(),
            events: Vec::new(),
            log: Vec::new(),
        }
    }

    pub fn job(&mut self, user: Option<&str>, password: &str) -> Job {
        self.ticket += 1;
        Job {
            ticket: self.ticket,
            space: Arc::clone(&self.space),
            user: user.map(|user| UserName::parse(user.as_bytes()).unwrap().to_owned()),
            password: Secret::new(password.as_bytes()),
            proof: Proof::Password,
            verified: None,
            from: Network::Local,
        }
    }

    pub fn submit(&mut self, user: &str, password: &str) -> u64 {
        let job = self.job(Some(user), password);
        let ticket = job.ticket;
        self.store.submit(vec![job]);
        ticket
    }

    pub fn collect(&mut self) {
        let mut done: Vec<Event> = Vec::new();
        self.store.drain(&mut done);
        for event in done {
            let Event::Completion(done) = event else {
                self.events.push(event);
                continue;
            };
            let ticket = done.ticket;
            assert!(
                self.answers.insert(ticket, done).is_none(),
                "ticket {ticket} answered twice"
            );
        }
        self.store.drain_log(&mut self.log);
    }

    /// Takes what is there, until nobody is woken any more.
    pub fn settle(&mut self) {
        while self.wakes.recv_timeout(Duration::from_millis(300)).is_ok() {
            self.collect();
        }
    }

    pub fn wait(&mut self, ticket: u64) -> Outcome {
        self.completion(ticket).outcome
    }

    /// The next event that is no completion and that is `wanted`; those before it are forgotten.
    pub fn told(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.events.iter().position(&wanted) {
                return self.events.drain(..=at).next_back().unwrap();
            }
            let left = until.saturating_duration_since(Instant::now());
            self.wakes.recv_timeout(left).expect("woken in time");
            self.collect();
        }
    }

    /// Whether the next connection tells all changes.
    pub fn armed(&mut self) -> bool {
        self.rung() == Rung::Broadcast
    }

    /// How the next connection tells changes.
    pub fn rung(&mut self) -> Rung {
        match self.told(|event| matches!(event, Event::Connected { .. })) {
            Event::Connected { rung, .. } => rung,
            _ => unreachable!(),
        }
    }

    /// Waits for wake-ups only: an answer that nobody is woken for does not arrive here.
    pub fn completion(&mut self, ticket: u64) -> Completion {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(done) = self.answers.remove(&ticket) {
                return done;
            }
            let left = until.saturating_duration_since(Instant::now());
            self.wakes.recv_timeout(left).expect("woken in time");
            self.wake_count += 1;
            self.collect();
        }
    }

    pub fn ask(&mut self, user: &str, password: &str) -> Outcome {
        let ticket = self.submit(user, password);
        self.wait(ticket)
    }

    /// Asks for the defaults only.
    pub fn ask_nobody(&mut self) -> Outcome {
        let job = self.job(None, "");
        let ticket = job.ticket;
        self.store.submit(vec![job]);
        self.wait(ticket)
    }

    /// Asks until the answer is of this kind, as a client does that gets 503 with Retry-After.
    pub fn ask_until(
        &mut self,
        user: &str,
        password: &str,
        mut wanted: impl FnMut(&Outcome) -> bool,
    ) -> Outcome {
        let until = Instant::now() + PATIENCE;
        loop {
            let outcome = self.ask(user, password);
            if wanted(&outcome) {
                return outcome;
            }
            assert!(Instant::now() < until, "still {outcome:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The log, once it has a line with `text` in it.
    pub fn logged(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            self.collect();
            let log = self
                .log
                .iter()
                .map(|line| format!("{:?}: {}\n", line.level, line.message))
                .collect::<String>();
            if log.contains(text) {
                return log;
            }
            assert!(Instant::now() < until, "no {text:?} in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// `Known { verified }`, or a failed test.
pub fn verified(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Known { verified, .. } => *verified,
        other => panic!("not known: {other:?}"),
    }
}

pub fn is_known(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Known { .. })
}

pub fn user_record(outcome: &Outcome) -> Record {
    match outcome {
        Outcome::Known { user, .. } => decode(user),
        other => panic!("not known: {other:?}"),
    }
}

pub fn defaults_record(outcome: &Outcome) -> Record {
    match outcome {
        Outcome::Known { defaults, .. } | Outcome::Anonymous { defaults, .. } => {
            decode(defaults.as_ref().unwrap())
        }
        other => panic!("without defaults: {other:?}"),
    }
}

fn decode(bytes: &[u8]) -> Record {
    let record = RecordRef::decode(bytes).unwrap().to_record().unwrap();
    let mut again = Vec::new();
    codec::encode(&record, &mut again).unwrap();
    assert_eq!(again, bytes);
    record
}

/// SHA-1 of "secret" as the 2014 gate stores it, without salt.
pub const SHA1_SECRET: &str = "e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4";

/// What the groups and `public` of an outcome say.
pub fn groups_of(outcome: &Outcome) -> (Vec<String>, String) {
    let shown = |record: &[u8]| {
        let record = RecordRef::decode(record).unwrap().to_record().unwrap();
        let grants = record.grants.iter().map(|grant| match grant.deny {
            true => format!("!{}", grant.pattern),
            false => grant.pattern.to_string(),
        });
        let backends = record.backends.iter().map(|peer| peer.name.clone());
        grants.chain(backends).collect::<Vec<_>>().join(" ")
    };
    match outcome {
        Outcome::Known { groups, public, .. } => {
            (groups.iter().map(|group| shown(group)).collect(), shown(public))
        }
        Outcome::Anonymous { public, .. } => (Vec::new(), shown(public)),
        other => panic!("{other:?}"),
    }
}

/// Passes bytes on, until the connections that there are by then are to pass nothing more, without an end.
pub struct Valve {
    pub port: u16,
    /// How many connections are dead.
    dead: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
}

impl Valve {
    pub fn new(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let valve = Self {
            port: listener.local_addr().unwrap().port(),
            dead: Arc::default(),
            made: Arc::default(),
        };
        let (dead, made) = (Arc::clone(&valve.dead), Arc::clone(&valve.made));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, number) = (client.unwrap(), made.fetch_add(1, Ordering::SeqCst));
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let ends = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ];
                for (mut from, mut to) in ends {
                    let dead = Arc::clone(&dead);
                    std::thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(read @ 1..) = from.read(&mut buffer) {
                            if number < dead.load(Ordering::SeqCst) {
                                continue;
                            }
                            if to.write_all(&buffer[..read]).is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        valve
    }

    pub fn close_present(&self) {
        self.dead
            .store(self.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// The system's resolver gets no answers: the test of this name runs once more in namespaces of its own,
/// where the resolver's server is a socket that nobody reads. `None` where that has been done. Where the
/// system gives no namespaces, the test goes on with its own resolver, and names that do not exist.
pub fn silent_resolver(test: &str) -> Option<std::io::Result<UdpSocket>> {
    const INSIDE: &str = "REGISTRY_AUTH_TEST_IS_INSIDE";
    const SETTING: &str = "ip link set lo up && mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let namespaces = |program: &[&str], conf: &Path| {
        let mut command = Command::new("unshare");
        let setting = ["-r", "-m", "-n", "sh", "-c", SETTING];
        command.args(setting).arg(conf).args(program).env(INSIDE, "1");
        command.output()
    };
    if std::env::var_os(INSIDE).is_none() {
        let dir = tempfile::TempDir::new().unwrap();
        let conf = dir.path().join("resolv.conf");
        std::fs::write(&conf, "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n").unwrap();
        if namespaces(&["true"], &conf).is_ok_and(|output| output.status.success()) {
            let itself = std::env::current_exe().unwrap();
            let program = [itself.to_str().unwrap(), "--exact", test, "--nocapture"];
            let output = namespaces(&program, &conf).unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            println!("{printed}");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            return None;
        }
    }
    Some(UdpSocket::bind("127.0.0.1:53"))
}
