//! A bar on the terminal for what takes long, and nothing elsewhere or for what does not.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// What is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// Steps of a bar that shows a share.
const STEPS: u64 = 1000;

pub(crate) struct Bar {
    bar: ProgressBar,
    started: Instant,
    shown: std::cell::Cell<bool>,
}

impl Bar {
    /// Of `total` things.
    pub(crate) fn of(what: &'static str, total: u64) -> Self {
        Self::new(what, total, "{msg} {wide_bar} {human_pos}/{human_len} ({eta})")
    }

    /// Of a share.
    pub(crate) fn share(what: &'static str) -> Self {
        Self::new(what, STEPS, "{msg} {wide_bar} {percent}%")
    }

    fn new(what: &'static str, total: u64, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar: bar.with_message(what),
            started: Instant::now(),
            shown: std::cell::Cell::new(false),
        }
    }

    pub(crate) fn set(&self, done: u64) {
        if !self.shown.get() && self.started.elapsed() > PATIENCE {
            self.shown.set(true);
            // Shows nothing where standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done);
    }

    pub(crate) fn set_share(&self, share: f64) {
        // At most STEPS, and never negative.
        self.set((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    }
}

impl Drop for Bar {
    /// Messages must not be written behind a bar.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
