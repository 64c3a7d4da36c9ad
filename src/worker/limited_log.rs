//! Lines of the error log that a client, or a backend, could have written without end: refusals, and what a
//! registry should not have sent. Ten a second of the same, then how many.
//!
//! Called by `refusal` and by whatever judges a backend's answers; the rule is [`Repeats`]'s. Each worker
//! counts by itself.

use std::fmt;

use registry_auth::repeats::{Repeats, SECOND, Summary};

use crate::ffi::event::{self, Deferred, NginxThread};
use crate::ffi::log::{self, Level};
use crate::ffi::request::Request;
use crate::worker::state::{LimitedLog, WORKER};

/// Begins to count.
pub fn start(thread: NginxThread) {
    let log = LimitedLog {
        repeats: Repeats::default(),
        later: Deferred::new(thread, |_| sum_up(event::now())),
        thread,
    };
    WORKER.with(|worker| worker.log.replace(Some(log)));
}

/// Says what has not been said.
pub fn stop() {
    sum_up(u64::MAX);
    WORKER.with(|worker| worker.log.take());
}

/// Writes a line about a request, unless the same client has had it written too often.
pub fn write(request: &Request, level: Level, message: fmt::Arguments<'_>) {
    if request.logs(level) {
        let line = message.to_string();
        write_of_kind(request, level, &line, message);
    }
}

/// As [`write`], for lines that quote what a backend may choose anew each time: they count as one line, the
/// `kind`.
pub fn write_of_kind(request: &Request, level: Level, kind: &str, message: fmt::Arguments<'_>) {
    if !request.logs(level) {
        return;
    }
    let may_write = WORKER.with(|worker| {
        let mut log = worker.log.borrow_mut();
        let Some(log) = log.as_mut() else { return true };
        log.later.post_in(SECOND as usize);
        log.repeats
            .may_write(event::now(), request.network(), kind, level)
    });
    if may_write {
        request.log(level, message);
    }
}

/// Says how often each line was not written whose second is over.
fn sum_up(now: u64) {
    WORKER.with(|worker| {
        let mut log = worker.log.borrow_mut();
        let Some(log) = log.as_mut() else { return };
        for Summary {
            client,
            line,
            level,
            times,
        } in log.repeats.ended(now)
        {
            let times = format_args!("{line}: {times} times more in a second, client: {client}");
            log::write(log.thread, level, times);
        }
        if !log.repeats.is_empty() {
            log.later.post_in(SECOND as usize);
        }
    });
}
