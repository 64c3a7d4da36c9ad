//! Lines for nginx's error log. The helper must not call nginx, so it queues them; the worker drains them.
//!
//! Invariant: no line holds a password or a hash, and no flood of bad records can fill the memory or the log.

use crate::wake::Wake;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// How often the same subject (a key, an error code) may appear.
const SILENCE: Duration = Duration::from_secs(60);
/// Characters of a line: as many as nginx writes of one, about.
const LINE: usize = 1900;
/// Lines kept for a thread that does not drain them; more are dropped.
const LINES: usize = 256;
/// Distinct subjects remembered; beyond that new ones are silent until old ones expire.
const SUBJECTS: usize = 256;
/// Lines of one kind in that time, whatever their subjects.
const OF_KIND: u64 = 8;

thread_local! {
    /// Where a panic of this thread is reported.
    static PANICS: OnceCell<Log> = const { OnceCell::new() };
}

/// nginx's log levels that the store uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Users are refused: Redis unreachable, a bad record.
    Error,
    /// Something to look at soon.
    Warn,
    /// Back to normal after an error.
    Notice,
    /// Ordinary life: the first connection.
    Info,
}

/// One line, without newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Severity.
    pub level: Level,
    /// Text; control characters are escaped.
    pub message: String,
}

/// Lines for a thread that drains them.
pub struct LogQueue {
    lines: Mutex<Vec<LogLine>>,
    wake: Arc<Wake>,
}

impl LogQueue {
    /// An empty one, which wakes its thread by `wake`.
    #[must_use]
    pub fn new(wake: Arc<Wake>) -> Self {
        Self {
            lines: Mutex::default(),
            wake,
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<LogLine>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line, and wakes the thread that drains them when it is the first.
    fn push(&self, line: LogLine) {
        let was_empty = {
            let mut lines = self.lines();
            let was_empty = lines.is_empty();
            if lines.len() < LINES {
                lines.push(line);
            }
            was_empty
        };
        if was_empty {
            self.wake.wake();
        }
    }

    /// Appends the lines that are there.
    pub fn drain(&self, out: &mut Vec<LogLine>) {
        out.append(&mut self.lines());
    }
}

/// The helper's end: queues lines, some of them rate limited by subject.
#[derive(Clone)]
pub struct Log {
    queue: Arc<LogQueue>,
    /// By their hashes: two of one hash share their silence.
    spoken: Arc<Mutex<HashMap<u64, Instant>>>,
    hasher: RandomState,
}

impl Log {
    /// Writes to `queue`.
    #[must_use]
    pub fn new(queue: Arc<LogQueue>) -> Self {
        Self {
            queue,
            spoken: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    /// Writes a line, in which control characters are escaped.
    pub fn write(&self, level: Level, message: &str) {
        self.queue.push(LogLine {
            level,
            message: printable(message),
        });
    }

    /// Writes unless `subject` was written about within [`SILENCE`].
    pub fn write_once(&self, subject: &str, level: Level, message: &str) {
        if self.may_speak(subject) {
            self.write(level, message);
        }
    }

    /// As [`Log::write_once`], of one of many subjects of a kind: [`OF_KIND`] lines of the kind are written
    /// in that time at most, so that they leave room for others.
    pub fn write_of_kind(&self, kind: &str, subject: &str, level: Level, message: &str) {
        let place = self.hasher.hash_one(subject) % OF_KIND;
        self.write_once(&format!("{kind} {place}"), level, message);
    }

    /// Has panics of this thread written here: where they happened, and not what they say, which may be a
    /// part of what was worked on. Those of other threads are reported as before.
    pub fn tell_panics(&self) {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let others = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                let told = PANICS.try_with(|log| match (log.get(), info.location()) {
                    (Some(log), Some(place)) => {
                        log.write(
                            Level::Error,
                            &format!("a thread of this module panicked at {place}: please report this line"),
                        );
                        true
                    }
                    _ => false,
                });
                if !told.unwrap_or(false) {
                    others(info);
                }
            }));
        });
        PANICS.with(|log| drop(log.set(self.clone())));
    }

    fn may_speak(&self, subject: &str) -> bool {
        let subject = self.hasher.hash_one(subject);
        let mut spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        if spoken.get(&subject).is_some_and(|at| at.elapsed() < SILENCE) {
            return false;
        }
        if spoken.len() >= SUBJECTS {
            spoken.retain(|_, at| at.elapsed() < SILENCE);
        }
        if spoken.len() >= SUBJECTS {
            return false;
        }
        spoken.insert(subject, Instant::now());
        true
    }
}

/// Key names come from clients and error texts from a server: neither may break or forge a line, nor fill the
/// memory.
fn printable(text: &str) -> String {
    text.chars()
        .take(LINE)
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LINE, Level, Log, LogQueue, OF_KIND, SUBJECTS};
    use crate::wake::Wake;
    use std::sync::Arc;

    fn queue() -> Arc<LogQueue> {
        Arc::new(LogQueue::new(Arc::new(Wake::new(Box::new(|| ())))))
    }

    fn lines(queue: &LogQueue) -> Vec<String> {
        let mut out = Vec::new();
        queue.drain(&mut out);
        out.into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn one_line_per_subject() {
        let queue = queue();
        let log = Log::new(Arc::clone(&queue));
        log.write_once("P:user:a", Level::Error, "bad a");
        log.write_once("P:user:a", Level::Error, "bad a");
        log.write_once("P:user:b", Level::Error, "bad\r\nb");
        assert_eq!(lines(&queue), ["bad a", "bad\\r\\nb"]);
    }

    #[test]
    fn many_subjects_of_a_kind_leave_room_for_others() {
        let queue = queue();
        let log = Log::new(Arc::clone(&queue));
        for n in 0..10 * SUBJECTS {
            log.write_of_kind("group", &n.to_string(), Level::Warn, "none");
        }
        assert_eq!(lines(&queue).len(), OF_KIND as usize);
        log.write_once("P:user:a", Level::Error, "bad a");
        assert_eq!(lines(&queue), ["bad a"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let queue = queue();
        let log = Log::new(Arc::clone(&queue));
        log.write(Level::Error, &"x".repeat(100_000));
        assert_eq!(lines(&queue), ["x".repeat(LINE)]);
    }

    #[test]
    fn a_panic_is_told_by_its_place_without_its_words() {
        let queue = queue();
        let log = Log::new(Arc::clone(&queue));
        let panicked = std::thread::spawn(move || {
            log.tell_panics();
            panic!("a secret");
        });
        assert!(panicked.join().is_err());
        let lines = lines(&queue);
        let [line] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert!(
            line.starts_with("a thread of this module panicked at ") && line.contains("log.rs:"),
            "{line}"
        );
        assert!(!line.contains("secret"), "{line}");
    }

    #[test]
    fn many_subjects_are_bounded() {
        let queue = queue();
        let log = Log::new(Arc::clone(&queue));
        for n in 0..10 * SUBJECTS {
            log.write_once(&n.to_string(), Level::Error, "bad");
        }
        assert!(lines(&queue).len() <= SUBJECTS);
    }
}
