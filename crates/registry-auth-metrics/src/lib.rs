//! What the gate counts, and how the numbers are shown: as a page for people, as JSON, and as text that
//! Prometheus reads.
//!
//! The nginx module is the only caller: it counts by the numbers of [`counters`], keeps them in its shared
//! memory, and hands all that is to be shown to [`Snapshot`]. No I/O, no clock, no unsafe code.
//!
//! Files, lowest first; each uses only those before it:
//!
//! | file | contents |
//! |---|---|
//! | [`accept`] | which form a client wants, by its `Accept` |
//! | [`counters`] | the number of each counter, and their names |
//! | [`snapshot`] | all that is shown |
//! | `family` | the same as families of samples |
//! | `exposition`, `json`, `page` | the forms |
//! | [`usage`] | what is counted by user and by repository, in all forms |
//! | this one | which of them is which |
#![forbid(unsafe_code)]

pub mod accept;
pub mod counters;
pub mod snapshot;
pub mod usage;

mod exposition;
mod family;
mod json;
mod page;

pub use accept::Format;
pub use snapshot::{Changes, Gauges, Redis, Snapshot, Zone};

impl Snapshot<'_> {
    /// The text of a form.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Html => page::page(self),
            Format::Json => json::json(self),
            Format::Prometheus => exposition::prometheus(self),
            Format::OpenMetrics => exposition::open_metrics(self),
        }
    }
}
