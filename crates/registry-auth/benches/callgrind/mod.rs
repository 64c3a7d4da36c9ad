//! Counts the instructions of single functions of a benchmark, by running the benchmark again under
//! valgrind's callgrind.
//!
//! Used by the benchmarks in `benches/` of several crates. Instructions are counted rather than time, because
//! on a busy machine two runs differ by half in time, but hardly in instructions.

use std::process::Command;

/// Set for the run under valgrind.
const COUNTED: &str = "COUNTED_BY_CALLGRIND";

/// Whether this is the run that is counted: it does the work. The other one calls [`report`].
pub fn is_counted() -> bool {
    std::env::var_os(COUNTED).is_some()
}

/// Prints how many instructions each of these functions takes in a call, if the counted run calls it so
/// often.
///
/// # Errors
/// A sentence for people: valgrind is not installed, or its output has no count.
pub fn report(functions: &[&str], calls: u64) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    for function in functions {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--toggle-collect=*::{function}"))
            .arg(&program)
            .args(std::env::args().skip(1))
            .env(COUNTED, "1")
            .output()
            .map_err(|error| format!("valgrind: {error}"))?;
        let text = String::from_utf8_lossy(&output.stderr);
        let collected = text
            .lines()
            .find_map(|line| line.split_once("Collected : "))
            .and_then(|(_, number)| number.trim().parse::<u64>().ok());
        match collected {
            Some(collected) if output.status.success() && collected > 0 => {
                println!("{function:30} {:8} instructions", collected / calls);
            }
            _ => return Err(format!("{function} was not counted: {text}")),
        }
    }
    Ok(())
}
