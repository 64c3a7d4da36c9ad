//! A real terminal: what a program shows there, and what somebody types.

use super::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A program on a terminal of its own.
pub struct Terminal {
    master: File,
    /// Held open: the last that closes it resets nothing we look at.
    slave: File,
    child: Child,
    output: Receiver<Vec<u8>>,
    pub shown: String,
}

impl Terminal {
    pub fn run(command: &[&str], environment: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        // Not ours to be controlled by: setsid(1) makes it the program's.
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let shared = || Stdio::from(slave.try_clone().unwrap());
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(command)
            .envs(environment.iter().copied())
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

    pub fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for this text, and then until the terminal no longer echoes.
    #[track_caller]
    pub fn asked(&mut self, prompt: &str) {
        self.sees(prompt);
        let until = Instant::now() + PATIENCE;
        while self.echoes() {
            assert!(Instant::now() < until, "{prompt}: it still echoes");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub fn sees(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let read = self.output.recv_timeout(PATIENCE);
            let read = read.unwrap_or_else(|_| panic!("{text:?} is not in {:?}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&read));
        }
    }

    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn ends(&mut self) -> ExitStatus {
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

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
