//! What the tests of the crates start and wait for: a real redis-server, certificates for it, a free port, a
//! condition.
//!
//! Only tests depend on this crate. Each server has a port and a folder of its own, and ends with its handle.
//! No test measures tightly: bounds are there to tell 'answers' from 'hangs' on a busy machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod certificates;

pub use certificates::Certificates;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything takes that does not hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A port on which nobody listens, below those that the system gives to clients: it stays free while a server
/// is started on it again.
pub fn free_port() -> u16 {
    loop {
        let port = 12_000 + u16::try_from(RandomState::new().hash_one(()) % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Asks again and again until there is a value, which it returns; panics with `what` when that takes too
/// long.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ask() {
            return value;
        }
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running redis-server, which saves nothing by itself.
pub struct RedisServer {
    child: Child,
    /// Its working directory, which outlives the server for one that is started again.
    pub dir: Arc<TempDir>,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    password: Option<String>,
}

impl RedisServer {
    /// A server on a free port.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With further options of redis-server, e.g. `["--requirepass", "x"]`; `PORT` is the server's port.
    pub fn with(options: &[&str]) -> Self {
        Self::on_a_free_port(|port, dir| Self::spawn(port, dir, None, options))
    }

    /// A node that knows no other one yet.
    pub fn cluster_node(options: &[&str]) -> Self {
        Self::on_a_free_port(|port, dir| {
            let bus = free_port().to_string();
            let node = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            Self::spawn(port, dir, None, &[&node, options].concat())
        })
    }

    /// A sentinel, with these lines of its configuration.
    pub fn sentinel(settings: &str) -> Self {
        Self::on_a_free_port(|port, dir| {
            // redis-server writes into the file.
            fs::write(dir.path().join("sentinel.conf"), settings).unwrap();
            Self::spawn(port, dir, Some("sentinel.conf"), &["--sentinel"])
        })
    }

    fn on_a_free_port(mut spawn: impl FnMut(u16, &Arc<TempDir>) -> Option<Self>) -> Self {
        let dir = Arc::new(TempDir::new().unwrap());
        for _ in 0..5 {
            if let Some(server) = spawn(free_port(), &dir) {
                server.wait_until_ready();
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// On a port known beforehand. It may still be loading its data when this returns.
    pub fn on(port: u16, dir: &Arc<TempDir>, options: &[&str]) -> Self {
        Self::spawn(port, dir, None, options).expect("redis-server starts")
    }

    fn spawn(port: u16, dir: &Arc<TempDir>, file: Option<&str>, options: &[&str]) -> Option<Self> {
        let number = port.to_string();
        let mut child = Command::new("redis-server")
            .args(file)
            .args(["--port", &number, "--bind", "127.0.0.1"])
            .args(["--save", "", "--daemonize", "no"])
            .args(["--unixsocket", &dir.path().join("sock").display().to_string()])
            .args(
                options
                    .iter()
                    .map(|option| if *option == "PORT" { &number } else { *option }),
            )
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let until = Instant::now() + PATIENCE;
        // Behind the port there may be another test's server; the socket in the folder is this one's, and
        // made after the port.
        while UnixStream::connect(dir.path().join("sock")).is_err() {
            if child.try_wait().unwrap().is_some() || Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let password = options.iter().position(|option| *option == "--requirepass");
        let password = password.map(|at| options[at + 1].to_owned());
        Some(Self {
            child,
            dir: Arc::clone(dir),
            port,
            password,
        })
    }

    /// Its address for the module and the tool, without a password.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A new connection, logged in where the server has a password.
    pub fn connection(&self) -> redis::Connection {
        self.try_connection().unwrap()
    }

    /// By its socket, whatever it asks for at its port.
    fn try_connection(&self) -> redis::RedisResult<redis::Connection> {
        let login = self.password.as_ref().map(|password| format!("?pass={password}"));
        let socket = self.dir.path().join("sock");
        let url = format!("redis+unix://{}{}", socket.display(), login.unwrap_or_default());
        redis::Client::open(url)?.get_connection()
    }

    /// One command in words, e.g. `run("HSET P:passwords a b")`.
    pub fn run(&self, command: &str) -> redis::Value {
        self.run_args(&command.split(' ').collect::<Vec<_>>())
    }

    /// One command whose words may hold blanks.
    pub fn run_args(&self, command: &[&str]) -> redis::Value {
        self.query(command)
    }

    /// One command; its reply as a `T`.
    pub fn query<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut cmd = redis::Cmd::new();
        for arg in command {
            cmd.arg(*arg);
        }
        cmd.query(&mut self.connection()).unwrap()
    }

    /// How many commands of this name the server has carried out, e.g. `calls("hgetall")`.
    pub fn calls(&self, command: &str) -> u64 {
        let stats: String = self.query(&["INFO", "commandstats"]);
        let start = format!("cmdstat_{command}:calls=");
        let calls = stats.lines().find_map(|line| line.strip_prefix(&start));
        calls.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }

    /// Returns once the server has loaded its data.
    pub fn wait_until_ready(&self) {
        eventually("redis-server is ready", || {
            let mut connection = self.try_connection().ok()?;
            match redis::cmd("PING").query::<String>(&mut connection) {
                // The options may have taken the right to it.
                Err(error) if error.code() != Some("NOPERM") => None,
                _ => Some(()),
            }
        });
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// The server answers nothing until `thaw`.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Ends what `freeze` began.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Ends the server as kill -9 does; what `on` needs to start it again.
    pub fn kill(&mut self) -> (u16, Arc<TempDir>) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        (self.port, Arc::clone(&self.dir))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
