//! Whether a server is still there: each answer that it sends counts, and one that is silent is asked.
//!
//! `open` has each stream counted, the supervisor measures. Invariants: only what is whole counts, as a
//! server that never comes to the end of an answer says nothing; only time in which this process runs counts
//! as silence, so that a machine that is too busy to let us read is no outage of Redis; and an answer that is
//! too large, or many of them, take neither memory nor time from all the rest.

use super::frames::{Frames, TooLarge};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What has come on a connection.
pub(crate) type Heard = Arc<Ear>;

/// What is behind [`Heard`].
#[derive(Default)]
pub(crate) struct Ear {
    /// Counts the answers, and what the server tells unasked.
    whole: AtomicU64,
    has_too_large: AtomicBool,
}

impl Ear {
    fn count(&self) -> u64 {
        self.whole.load(Ordering::Relaxed)
    }

    /// Why the connection has come to its end, where that is known here.
    pub(crate) fn why_ended(&self) -> Option<TooLarge> {
        self.has_too_large.load(Ordering::Relaxed).then_some(TooLarge)
    }
}

/// How often silence is measured.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Bytes that are read until other tasks, and timers, have their turn. Whoever reads a stream goes on as long
/// as there is something to be read, and each byte costs time there.
const TURN: usize = 64 << 10;

/// A stream whose answers are counted.
pub(crate) struct Counted<S> {
    stream: S,
    frames: Frames,
    heard: Heard,
    /// Bytes read in this turn.
    read: usize,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S, heard: Heard) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            heard,
            read: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read >= TURN {
            this.read = 0;
            // Wakes this task when others have had their turn.
            if pin!(tokio::task::yield_now()).poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        let before = buffer.filled().len();
        let result = if buffer.remaining() > TURN {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(TURN));
            let result = Pin::new(&mut this.stream).poll_read(context, &mut part);
            let read = part.filled().len();
            buffer.advance(read);
            result
        } else {
            Pin::new(&mut this.stream).poll_read(context, buffer)
        };
        let read = buffer.filled().get(before..).unwrap_or_default();
        match result {
            Poll::Pending => this.read = 0,
            Poll::Ready(_) => this.read += read.len(),
        }
        match this.frames.read(read) {
            Ok(whole) => {
                this.heard.whole.fetch_add(whole, Ordering::Relaxed);
                result
            }
            Err(too_large) => {
                this.heard.has_too_large.store(true, Ordering::Relaxed);
                Poll::Ready(Err(io::Error::other(too_large)))
            }
        }
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
        let seen = heard.count();
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
        self.seen = self.heard.count();
        self.lasted
    }

    /// What it is the silence of.
    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Whether something has come since it was measured.
    pub(crate) fn is_broken(&self) -> bool {
        self.heard.count() != self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, Heard, Silence, TICK, TURN};
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
    use tokio::time;

    /// Short answers, as many as are wanted.
    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let answers = b"+OK\r\n".repeat(buffer.remaining() / 5);
            buffer.put_slice(&answers);
            Poll::Ready(Ok(()))
        }
    }

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
        theirs.write_all(b"+PONG\r\n").await.unwrap();
        assert!(!silence.is_broken());
        let mut answer = [0; 7];
        ours.read_exact(&mut answer).await.unwrap();
        assert!(silence.is_broken());
        assert_eq!(silence.measure(), Duration::ZERO);
        assert!(!silence.is_broken());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_end_is_none() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let heard = Heard::default();
        let mut ours = Counted::new(ours, Heard::clone(&heard));
        let silence = Silence::new(heard);
        theirs.write_all(b"*1000\r\n").await.unwrap();
        for _ in 0..1000 {
            assert!(!silence.is_broken());
            theirs.write_all(b"+PONG\r\n").await.unwrap();
            let mut answer = [0; 7];
            ours.read_exact(&mut answer).await.unwrap();
        }
        let mut last = [0; 7];
        ours.read_exact(&mut last).await.unwrap();
        assert!(silence.is_broken());
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_an_error() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Counted::new(ours, Heard::default());
        theirs.write_all(b"$1000000000000\r\n").await.unwrap();
        let failed = ours.read(&mut [0; 64]).await.unwrap_err();
        assert!(failed.to_string().contains("larger than 32 MiB"), "{failed}");
    }

    #[tokio::test]
    async fn a_stream_without_end_lets_others_have_their_turn() {
        let mut ours = Counted::new(Endless, Heard::default());
        let reading = async {
            let mut buffer = vec![0; 1 << 20];
            while ours.read(&mut buffer).await.unwrap() <= TURN {}
        };
        tokio::select! {
            biased;
            () = reading => {}
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_measured_does_not_count() {
        let mut silence = Silence::new(Heard::default());
        time::advance(Duration::from_secs(60)).await;
        assert_eq!(silence.measure(), 2 * TICK);
    }
}
