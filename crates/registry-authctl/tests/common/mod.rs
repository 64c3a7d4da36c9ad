//! The real binary, on a real redis-server of testkit.
#![allow(dead_code)] // each test binary uses its own part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

pub mod terminal;

use registry_auth::{TokenDigest, UserName};
use registry_auth_lookup::{Event, Hashing, Job, Keyspace, LookupOptions, Outcome, Proof, Store};
use registry_auth_redis::{Endpoint, Secret};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use testkit::RedisServer;
#[allow(unused_imports)] // each test binary uses its own part
pub use testkit::{PATIENCE, free_port};

/// "one", at bcrypt's lowest cost.
const BCRYPT4_ONE: &str = "$2y$04$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";

/// A redis-server, with the tool to use on it.
pub struct Redis(RedisServer);

impl std::ops::Deref for Redis {
    type Target = RedisServer;

    fn deref(&self) -> &RedisServer {
        &self.0
    }
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further options of redis-server.
    pub fn start_with(options: &[&str]) -> Self {
        Self(RedisServer::with(options))
    }

    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.query(command)
    }

    /// The tool on this Redis, with prefix P.
    pub fn tool(&self, args: &[&str]) -> Ran {
        self.tool_with(args, None)
    }

    /// With `--password-stdin` and this input, which may be short.
    pub fn tool_stdin(&self, args: &[&str], password: &str) -> Ran {
        let more = ["--password-stdin", "--allow-weak"];
        let args: Vec<&str> = args.iter().copied().chain(more).collect();
        self.tool_with(&args, Some(password))
    }

    pub fn tool_with(&self, args: &[&str], input: Option<&str>) -> Ran {
        run(
            &[&["--redis", &self.url(), "--prefix", "P"], args].concat(),
            input,
        )
    }

    /// The tool, logged in as this Redis user (password `pw`).
    pub fn tool_as(&self, redis_user: &str, args: &[&str], input: Option<&str>) -> Ran {
        let url = format!("redis://{redis_user}:pw@127.0.0.1:{}", self.port);
        run(&[&["--redis", &url, "--prefix", "P"], args].concat(), input)
    }

    /// Ends the server as kill -9 does.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// All there is: the keys and their content, in the order of the keys.
    pub fn dump(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.run(&["KEYS", "*"]);
        keys.sort_unstable();
        let mut contents = redis::pipe();
        for key in &keys {
            contents.cmd("HGETALL").arg(key);
        }
        let contents: Vec<Vec<String>> = contents.query(&mut self.connection()).unwrap();
        let show = |(key, mut fields): (&String, Vec<String>)| {
            let mut pairs: Vec<String> = fields.chunks_mut(2).map(|pair| pair.join("=")).collect();
            pairs.sort_unstable();
            format!("{key}: {}", pairs.join(" "))
        };
        keys.iter().zip(contents).map(show).collect()
    }

    /// A user whose password is "one". Not through the tool: its hashes are meant to be slow, in a debug
    /// build more so.
    pub fn add(&self, user: &str) {
        self.run::<()>(&["HSET", &format!("P:user:{user}"), "password", BCRYPT4_ONE]);
    }

    /// What the module would be told about this login; what has the form of an access token is taken for one.
    pub fn login(&self, user: &str, password: &str) -> Option<bool> {
        let (woken, wakes) = std::sync::mpsc::channel();
        let store = Store::start(LookupOptions {
            endpoint: Endpoint::parse(&self.url()).unwrap(),
            timeout: PATIENCE,
            connect_timeout: PATIENCE,
            hashing: Hashing::default(),
            prefixes: vec!["P".into()],
            changes: None,
            last_use: false,
            rehash: false,
            token_keys: None,
            wake: Box::new(move || {
                let _ = woken.send(());
            }),
            spawn: registry_auth_lookup::own_thread(),
        })
        .unwrap();
        let space = Arc::new(Keyspace {
            prefix: "P".into(),
            salt: Box::default(),
        });
        let proof = TokenDigest::of(password.as_bytes())
            .map_or(Proof::Password, |digest| Proof::AccessToken(Box::new(digest)));
        let password = Secret::new(password.as_bytes());
        store.submit(vec![Job {
            ticket: 1,
            space,
            user: Some(UserName::parse(user.as_bytes()).unwrap().to_owned()),
            password,
            proof,
            from: registry_auth::Network::Local,
            verified: None,
        }]);
        let mut done = Vec::new();
        while done.is_empty() {
            wakes.recv_timeout(PATIENCE).expect("answered in time");
            store.drain(&mut done);
        }
        let Event::Completion(done) = done.remove(0) else {
            panic!("without tracking there are only completions");
        };
        match done.outcome {
            Outcome::Known { verified, .. } => Some(verified),
            Outcome::Unknown => None,
            Outcome::NoToken => Some(false),
            other => panic!("{other:?}"),
        }
    }
}

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry-authctl"));
    command
        .env_remove("REGISTRY_AUTH_REDIS")
        .env_remove("REGISTRY_AUTH_PREFIX");
    command
}

pub fn run(args: &[&str], input: Option<&str>) -> Ran {
    let mut command = binary();
    let mut child = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The tool may refuse before it reads.
    let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
    drop(stdin);
    Ran::of(&child.wait_with_output().unwrap())
}

/// In a folder, with these variables of the environment.
pub fn run_in(folder: &Path, variables: &[(String, String)], args: &[&str]) -> Ran {
    let mut command = binary();
    command
        .current_dir(folder)
        .envs(variables.iter().cloned())
        .args(args);
    Ran::of(&command.output().unwrap())
}

#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().expect("not killed"),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// The output of a success.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// The message of a failure with this status and nothing on standard output.
    #[track_caller]
    pub fn fails(self, status: i32) -> String {
        assert_eq!((self.status, self.out.as_str()), (status, ""), "{self:?}");
        self.err
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }
}
