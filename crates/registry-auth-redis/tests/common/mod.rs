//! A connection that is kept, as a worker keeps it; the servers and their certificates are testkit's.
#![allow(dead_code)] // each test binary uses its own part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

use registry_auth_redis::connection::cluster::Redirected;
use registry_auth_redis::connection::locate::open;
use registry_auth_redis::connection::open::explain;
use registry_auth_redis::connection::supervisor::{Link, Supervisor};
use registry_auth_redis::connection::tracking::{Changed, Tracking, Watcher};
use registry_auth_redis::log::{Log, LogQueue};
use registry_auth_redis::wake::Wake;
use registry_auth_redis::{Chain, Changes, Endpoint, Key, Rung, TlsOptions, Trusted};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
#[allow(unused_imports)] // each test binary uses its own part
pub use testkit::{Certificates, PATIENCE, RedisServer as Server, eventually, free_port};
use tokio::runtime::Runtime;

/// Options of redis-server: the user `gate`, with the rights that the module needs for lookups.
pub const GATE: [&str; 12] = [
    "--user",
    "gate",
    "on",
    ">pw",
    "~P:*",
    "+hgetall",
    "+hmget",
    "+lrange",
    "+ping",
    "+select",
    "+hello",
    "+client|tracking",
];

pub fn trusting(certificates: &Certificates, ca: &str) -> TlsOptions {
    TlsOptions {
        trusted: Some(Trusted::in_file(&certificates.path(ca)).unwrap()),
        ..TlsOptions::default()
    }
}

/// Trusting its CA `ca`.
pub fn showing(certificates: &Certificates, name: &str) -> TlsOptions {
    let file = |end: &str| certificates.path(&format!("{name}.{end}"));
    TlsOptions {
        certificate: Some(Chain::in_file(&file("pem")).unwrap()),
        key: Some(Key::in_file(&file("key")).unwrap()),
        ..trusting(certificates, "ca.pem")
    }
}

/// Logs in and asks for a sign of life; what is said where that fails.
pub fn greet(endpoint: &Endpoint, limit: Duration) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match open(endpoint, limit).await {
            Ok((_, driver)) => {
                driver.abort();
                Ok(())
            }
            Err(failure) => Err(explain(endpoint, &failure)),
        }
    })
}

pub fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A connection that is kept, as a worker keeps it.
pub struct Kept {
    runtime: Runtime,
    pub link: Link,
    lines: Arc<LogQueue>,
    told: Arc<Told>,
}

impl Kept {
    pub fn new(endpoint: Endpoint) -> Self {
        Self::of(endpoint, "P")
    }

    /// The same for the keys of this prefix.
    pub fn of(endpoint: Endpoint, prefix: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let lines = Arc::new(LogQueue::new(Arc::new(Wake::new(Box::new(|| ())))));
        let log = Log::new(Arc::clone(&lines));
        let limit = Duration::from_secs(2);
        let told = Arc::new(Told::default());
        let watcher = Tracking::new(Arc::<Told>::clone(&told), &[prefix.into()], Changes::Auto);
        let (supervisor, link) = Supervisor::new(endpoint, limit, limit, Some(Arc::new(watcher)), log);
        runtime.spawn(supervisor.run());
        Self {
            runtime,
            link,
            lines,
            told,
        }
    }

    /// When a change was told that came after `since`.
    pub fn told(&self, since: Instant) -> Option<Instant> {
        let told = self.told.0.lock().unwrap();
        told.iter().copied().find(|told| *told >= since)
    }

    /// Asks 200 times in a second what a lookup does, each for `limit`, while something happens, and a second
    /// longer.
    pub fn load(&self, users: &[&str], limit: Duration, happens: impl FnOnce()) -> Load {
        let load = Arc::new(Mutex::new(Load::default()));
        let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
        let (link, users) = (self.link.clone(), users.iter().map(|user| (*user).to_owned()));
        let (users, ours) = (users.collect::<Vec<_>>(), Arc::clone(&load));
        let asking = self.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            let mut asked = tokio::task::JoinSet::new();
            for user in users.iter().cycle() {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = &mut ended => break,
                }
                let mut question = redis::Pipeline::new();
                question.cmd("HGETALL").arg(user);
                let (link, load) = (link.clone(), Arc::clone(&ours));
                asked.spawn(async move {
                    let answer = ask(&link, &question, limit).await;
                    load.lock().unwrap().count(answer);
                });
            }
            while asked.join_next().await.is_some() {}
        });
        std::thread::sleep(Duration::from_millis(300));
        happens();
        std::thread::sleep(Duration::from_secs(1));
        drop(end);
        self.runtime.block_on(asking).unwrap();
        Arc::into_inner(load).unwrap().into_inner().unwrap()
    }

    /// An answer to this command, from whatever server, and the number of the connection.
    pub fn ask(&self, command: &str) -> Option<(redis::Value, u64)> {
        let mut cmd = redis::Cmd::new();
        for word in command.split(' ') {
            cmd.arg(word);
        }
        self.runtime.block_on(async {
            let live = self
                .link
                .live(tokio::time::Instant::now() + Duration::from_millis(200))
                .await?;
            let mut connection = live.connection.clone();
            let answer =
                tokio::time::timeout(Duration::from_millis(200), connection.send_packed_command(&cmd)).await;
            if answer.is_err() {
                // As a lookup does.
                self.link.broken(live.epoch);
            }
            Some((answer.ok()?.ok()?, live.epoch))
        })
    }

    /// An answer within this time, asked for again on the next connection when one is gone.
    pub fn lookup(&self, limit: Duration) -> Option<redis::Value> {
        let deadline = tokio::time::Instant::now() + limit;
        self.runtime.block_on(async {
            loop {
                let live = self.link.live(deadline).await?;
                let mut connection = live.connection.clone();
                let question = redis::cmd("PING");
                let answer = tokio::time::timeout_at(deadline, connection.send_packed_command(&question))
                    .await
                    .ok()?;
                if let Ok(answer) = answer {
                    return Some(answer);
                }
                if !self.link.replaced(live.epoch, deadline).await {
                    return None;
                }
            }
        })
    }

    /// The port of the server that answers, which has to come to be this one.
    pub fn comes_to(&self, port: u16) -> Duration {
        let begun = Instant::now();
        let line = format!("tcp_port:{port}\r\n");
        loop {
            let said = self.ask("INFO server").map(|(said, _)| format!("{said:?}"));
            if said.is_some_and(|said| said.replace("\\r\\n", "\r\n").contains(&line)) {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "another server is asked, or none: {:?}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.lines.drain(&mut lines);
        lines.into_iter().map(|line| line.message).collect()
    }

    /// Waits for a line of the log with these words.
    pub fn says(&self, words: &[&str]) {
        let until = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while !said
            .iter()
            .any(|line: &String| words.iter().all(|word| line.contains(word)))
        {
            assert!(Instant::now() < until, "{words:?} is not said: {said:?}");
            std::thread::sleep(Duration::from_millis(10));
            said.extend(self.log());
        }
    }
}

/// What became of many lookups.
#[derive(Default)]
pub struct Load {
    pub asked: usize,
    /// Answered by a node that the slot is on its way to.
    pub followed: usize,
    /// When each failed, and why.
    pub failed: Vec<(Instant, String)>,
}

impl Load {
    fn count(&mut self, answer: Result<Redirected, String>) {
        self.asked += 1;
        match answer {
            Ok(Redirected::Followed) => self.followed += 1,
            Ok(_) => {}
            Err(why) => self.failed.push((Instant::now(), why)),
        }
    }
}

/// As a lookup does.
async fn ask(link: &Link, question: &redis::Pipeline, limit: Duration) -> Result<Redirected, String> {
    let deadline = tokio::time::Instant::now() + limit;
    for _ in 0..3 {
        let mut live = link.live(deadline).await.ok_or("there is no connection")?;
        let replies = live.connection.send_packed_commands(question, 0, question.len());
        match tokio::time::timeout_at(deadline, replies).await {
            Ok(Ok(mut replies)) => match link.follow(live.epoch, question, &mut replies, deadline).await {
                Redirected::Moved | Redirected::Moving => {}
                answered => {
                    link.answered();
                    return match &replies[..] {
                        [redis::Value::ServerError(error)] => Err(format!("{error:?}")),
                        _ => Ok(answered),
                    };
                }
            },
            Ok(Err(_)) => {}
            Err(_) => {
                link.broken(live.epoch);
                return Err("there is no answer".to_owned());
            }
        }
        if !link.replaced(live.epoch, deadline).await {
            return Err("the connection is not replaced".to_owned());
        }
    }
    Err("it was asked too often".to_owned())
}

/// When changes were told.
#[derive(Default)]
struct Told(Mutex<Vec<Instant>>);

impl Told {
    fn told(&self) {
        self.0.lock().unwrap().push(Instant::now());
    }
}

impl Watcher for Told {
    fn connected(&self, _: u64, _: Rung, _: &str) {}
    fn connection_lost(&self, _: u64) {}
    fn changed(&self, _: u64, _: Vec<Changed>) {
        self.told();
    }
    fn all_changed(&self, _: u64) {
        self.told();
    }
}
