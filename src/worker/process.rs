//! Which process this is, and whether another one lives: by id and start time, since ids are used again.
//!
//! Called when Redis begins to tell a worker of changes, not for each request; it reads /proc, which no disk
//! is behind.

use std::fs;

use registry_auth_cache::Process;

/// This worker.
pub fn me() -> Process {
    let id = std::process::id();
    Process {
        id,
        started_at: started_at(id).unwrap_or(0),
    }
}

/// Whether a worker that was written down still lives. What cannot be read is dead: then facts go, which is
/// the safe side.
pub fn is_alive(process: Process) -> bool {
    started_at(process.id) == Some(process.started_at)
}

/// When a process began, in clock ticks since boot: the 22nd field of /proc/<id>/stat (proc(5)); the second
/// one, the name in parentheses, may hold anything. A zombie is dead.
fn started_at(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
