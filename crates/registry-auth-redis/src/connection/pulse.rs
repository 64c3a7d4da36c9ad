//! Whether a server is still there: whatever it sends counts, and one that is silent is asked.
//!
//! `open` has each stream counted, the supervisor measures. Invariant: only time in which this process runs
//! counts as silence, so that a machine that is too busy to let us read is no outage of Redis.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Counts the reads in which something came.
pub(crate) type Heard = Arc<AtomicU64>;

/// How often silence is measured.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// A stream whose reads are counted.
pub(crate) struct Counted<S> {
    stream: S,
    heard: Heard,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S, heard: Heard) -> Self {
        Self { stream, heard }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How long nothing has come.
pub(crate) struct Silence {
    heard: Heard,
    seen: u64,
    lasted: Duration,
    measured: Instant,
}

impl Silence {
    pub(crate) fn new(heard: Heard) -> Self {
        let seen = heard.load(Ordering::Relaxed);
        Self {
            heard,
            seen,
            lasted: Duration::ZERO,
            measured: Instant::now(),
        }
    }

    /// The silence by now. To be called each [`TICK`]: what is missed of these calls does not count, as
    /// this process did not run then, and may not have read what is there.
    pub(crate) fn measure(&mut self) -> Duration {
        let now = Instant::now();
        let passed = now.duration_since(self.measured).min(2 * TICK);
        self.measured = now;
        self.lasted = match self.is_broken() {
            true => Duration::ZERO,
            false => self.lasted + passed,
        };
        self.seen = self.heard.load(Ordering::Relaxed);
        self.lasted
    }

    /// Whether something has come since it was measured.
    pub(crate) fn is_broken(&self) -> bool {
        self.heard.load(Ordering::Relaxed) != self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, Heard, Silence, TICK};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time;

    #[tokio::test(start_paused = true)]
    async fn what_comes_ends_the_silence_and_what_goes_does_not() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let heard = Heard::default();
        let mut ours = Counted::new(ours, Heard::clone(&heard));
        let mut silence = Silence::new(heard);
        for ticks in 1..4 {
            time::advance(TICK).await;
            ours.write_all(b"PING").await.unwrap();
            assert_eq!(silence.measure(), ticks * TICK);
        }
        theirs.write_all(b"x").await.unwrap();
        assert!(!silence.is_broken());
        let mut byte = [0];
        ours.read_exact(&mut byte).await.unwrap();
        assert!(silence.is_broken());
        assert_eq!(silence.measure(), Duration::ZERO);
        assert!(!silence.is_broken());
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_measured_does_not_count() {
        let mut silence = Silence::new(Heard::default());
        time::advance(Duration::from_secs(60)).await;
        assert_eq!(silence.measure(), 2 * TICK);
    }
}
