//! The question for a password, on real terminals: what is typed is not shown, and whatever ends the tool, the terminal echoes
//! again.

mod common;

use common::{Redis, PATIENCE};
use rustix::process::{kill_process, Pid, Signal};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use rustix::termios::{tcgetattr, LocalModes};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

/// The tool on a terminal of its own.
struct Terminal {
    master: File,
    /// Held open: the last that closes it resets nothing we look at.
    slave: File,
    child: Child,
    output: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    fn run(redis: &Redis, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        // Not ours to be controlled by: setsid(1) makes it the tool's.
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let shared = || Stdio::from(slave.try_clone().unwrap());
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_registry-authctl")])
            .args(["--redis", &redis.url(), "--prefix", "P"])
            .args(args)
            .stdin(shared())
            .stdout(shared())
            .stderr(shared())
            .spawn()
            .expect("setsid(1) is installed");
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            master,
            slave,
            child,
            output,
            shown: String::new(),
        }
    }

    fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for this text, and then until the terminal no longer echoes.
    #[track_caller]
    fn asked(&mut self, prompt: &str) {
        self.sees(prompt);
        let until = Instant::now() + PATIENCE;
        while self.echoes() {
            assert!(Instant::now() < until, "{prompt}: it still echoes");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn sees(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let read = self.output.recv_timeout(PATIENCE);
            let read = read.unwrap_or_else(|_| panic!("{text:?} is not in {:?}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&read));
        }
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ends(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                panic!("the tool goes on: {:?}", self.shown);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn signals_end_the_question_and_the_terminal_echoes_again() {
    let redis = Redis::start();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        for question in [1, 2] {
            let mut terminal = Terminal::run(&redis, &["user", "add", "alice"]);
            terminal.asked("Password of alice: ");
            if question == 2 {
                terminal.types("correct horse\n");
                terminal.asked("Again: ");
            }
            terminal.signal(signal);
            let status = terminal.ends();
            // The shell sees that it was a signal.
            assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
            assert!(terminal.echoes(), "{signal:?} at question {question}");
            assert!(!terminal.shown.contains("correct horse"), "{}", terminal.shown);
        }
    }
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn ctrl_c_interrupts_and_the_terminal_echoes_again() {
    let redis = Redis::start();
    let mut terminal = Terminal::run(&redis, &["user", "add", "alice"]);
    terminal.asked("Password of alice: ");
    terminal.types("secr\x03");
    assert_eq!(terminal.ends().signal(), Some(Signal::INT.as_raw()));
    assert!(terminal.echoes());
}

#[test]
fn ctrl_d_says_that_nothing_was_typed() {
    let redis = Redis::start();
    let mut terminal = Terminal::run(&redis, &["user", "add", "alice"]);
    terminal.asked("Password of alice: ");
    terminal.types("\x04");
    terminal.sees("no password was typed; nothing was changed");
    assert_eq!(terminal.ends().code(), Some(1));
    assert!(terminal.echoes());
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn what_is_typed_is_asked_twice_and_not_shown() {
    let redis = Redis::start();
    let mut terminal = Terminal::run(&redis, &["user", "add", "alice", "--hash", "bcrypt"]);
    terminal.asked("Password of alice: ");
    terminal.types("open sesame\n");
    terminal.asked("Again: ");
    terminal.types("open sesame\n");
    terminal.sees("user alice added");
    assert!(terminal.ends().success());
    assert!(!terminal.shown.contains("sesame"), "{}", terminal.shown);
    assert_eq!(redis.login("alice", "open sesame"), Some(true));
    let mut terminal = Terminal::run(&redis, &["user", "passwd", "alice"]);
    terminal.asked("Password of alice: ");
    terminal.types("open sesame 1\n");
    terminal.asked("Again: ");
    terminal.types("open sesame 2\n");
    terminal.sees("the passwords differ");
    assert_eq!(terminal.ends().code(), Some(1));
    assert_eq!(redis.login("alice", "open sesame"), Some(true));
}
