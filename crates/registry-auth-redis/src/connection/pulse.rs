//! Whether a server is still there: each answer that it sends counts, and one that is silent is asked.
//!
//! `open` has each stream counted, the supervisor measures. Invariants: only what is whole counts, or what
//! comes at a rate at which a large answer ends, as a server that never comes to the end of an answer says
//! nothing; only time in which this process runs counts as silence, so that a machine that is too busy to let
//! us read is no outage of Redis; and an answer that is too large, or many of them, take neither memory nor
//! time from all the rest.

use super::frames::{Abandoned, Frames};
use crate::secret::Secret;
use std::borrow::Cow;
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
    bytes: AtomicU64,
    is_abandoned: AtomicBool,
}

impl Ear {
    fn count(&self) -> u64 {
        self.whole.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why the connection has come to its end, where that is known here.
    pub(crate) fn why_ended(&self) -> Option<Abandoned> {
        self.is_abandoned.load(Ordering::Relaxed).then_some(Abandoned)
    }
}

/// How often silence is measured.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Bytes of an answer that come within that time at least where it is not silence that it has no end yet.
const COMING: u64 = 16 << 10;

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
    /// What is to be passed on in the place of what was read, and how much of it has been.
    instead: (Vec<u8>, usize),
}

impl<S> Counted<S> {
    /// No error that comes from it repeats one of the passwords.
    pub(crate) fn new(stream: S, heard: Heard, passwords: Vec<Secret>) -> Self {
        Self {
            stream,
            frames: Frames::new(passwords),
            heard,
            read: 0,
            instead: (Vec::new(), 0),
        }
    }

    /// Passes on what is there; whether there was something.
    fn pass_on(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let (bytes, passed) = &mut self.instead;
        let rest = bytes.get(*passed..).unwrap_or_default();
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..length).unwrap_or_default());
        *passed += length;
        if *passed == bytes.len() {
            self.instead = (Vec::new(), 0);
        }
        length > 0
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.pass_on(buffer) {
                return Poll::Ready(Ok(()));
            }
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
            this.heard.bytes.fetch_add(read.len() as u64, Ordering::Relaxed);
            match this.frames.read(read) {
                Ok((whole, passed)) => {
                    this.heard.whole.fetch_add(whole, Ordering::Relaxed);
                    if let Cow::Owned(instead) = passed {
                        this.instead = (instead, 0);
                        buffer.set_filled(before);
                    } else {
                        return result;
                    }
                }
                Err(abandoned) => {
                    this.heard.is_abandoned.store(true, Ordering::Relaxed);
                    return Poll::Ready(Err(io::Error::other(abandoned)));
                }
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

/// How long nothing has come that counts.
pub(crate) struct Silence {
    heard: Heard,
    /// The answers, and the bytes, that had come when it was measured.
    seen: (u64, u64),
    /// The bytes that had come when it began.
    began: u64,
    lasted: Duration,
    measured: Instant,
    is_coming: bool,
}

impl Silence {
    pub(crate) fn new(heard: Heard) -> Self {
        let seen = (heard.count(), heard.bytes());
        Self {
            heard,
            seen,
            began: seen.1,
            lasted: Duration::ZERO,
            measured: Instant::now(),
            is_coming: false,
        }
    }

    /// The silence by now. To be called each [`TICK`]: what is missed of these calls does not count, as
    /// this process did not run then, and may not have read what is there.
    pub(crate) fn measure(&mut self) -> Duration {
        let now = Instant::now();
        let passed = now.duration_since(self.measured).min(2 * TICK);
        self.measured = now;
        self.is_coming = !self.has_whole() && self.is_broken();
        self.lasted = match self.is_broken() {
            true => Duration::ZERO,
            false => self.lasted + passed,
        };
        self.seen = (self.heard.count(), self.heard.bytes());
        if self.lasted.is_zero() {
            self.began = self.seen.1;
        }
        self.lasted
    }

    /// What it is the silence of.
    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Whether something has come since it was measured.
    pub(crate) fn is_broken(&self) -> bool {
        self.has_whole() || self.heard.bytes() - self.seen.1 >= COMING
    }

    fn has_whole(&self) -> bool {
        self.heard.count() != self.seen.0
    }

    /// Whether a part of a large answer has come between the last two times it was measured, and no whole
    /// one.
    pub(crate) fn is_coming(&self) -> bool {
        self.is_coming
    }

    /// What it is like, for people, with how long it has lasted.
    pub(crate) fn words(&self, lasted: Duration) -> String {
        match self.heard.bytes() == self.began {
            true => format!("silent for {lasted:?}"),
            false => format!("for {lasted:?} its answer came with less than 64 KiB a second"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{COMING, Counted, Heard, Silence, TICK, TURN};
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
        let mut ours = Counted::new(ours, Heard::clone(&heard), Vec::new());
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
        let mut ours = Counted::new(ours, Heard::clone(&heard), Vec::new());
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

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_slowly_is_no_silence() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let heard = Heard::default();
        let mut ours = Counted::new(ours, Heard::clone(&heard), Vec::new());
        let mut silence = Silence::new(heard);
        theirs.write_all(b"$1000000\r\n").await.unwrap();
        for (bytes, lasted, is_coming) in [
            (COMING, 0, true),
            (COMING - 1, 1, false),
            (1, 2, false),
            (COMING, 0, true),
        ] {
            theirs.write_all(&vec![b'x'; bytes as usize]).await.unwrap();
            time::advance(TICK).await;
            assert!(ours.read(&mut vec![0; 1 << 20]).await.unwrap() > 0);
            assert_eq!(
                (silence.measure(), silence.is_coming()),
                (lasted * TICK, is_coming)
            );
        }
        time::advance(TICK).await;
        assert_eq!(silence.words(silence.measured.elapsed()), "silent for 250ms");
        theirs.write_all(b"xx").await.unwrap();
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 2);
        assert!(
            silence
                .words(silence.measured.elapsed())
                .contains("less than 64 KiB")
        );
    }

    /// A part of it has been passed on, and what comes behind it is read.
    #[tokio::test]
    async fn an_answer_that_is_too_large_is_read_to_its_end() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let heard = Heard::default();
        let mut ours = Counted::new(ours, Heard::clone(&heard), Vec::new());
        let size = 40 << 20;
        let writing = async move {
            theirs
                .write_all(format!("*2\r\n+a\r\n${size}\r\n").as_bytes())
                .await
                .unwrap();
            theirs.write_all(&vec![b'x'; size]).await.unwrap();
            theirs.write_all(b"\r\n+OK\r\n").await.unwrap();
        };
        let mut all = Vec::new();
        let (_, read) = tokio::join!(writing, ours.read_to_end(&mut all));
        read.unwrap();
        let all = String::from_utf8(all).unwrap();
        assert!(
            all.starts_with("*2\r\n+a\r\n-TOOLARGE ") && all.ends_with(" values\r\n+OK\r\n"),
            "{all:.200}"
        );
        assert_eq!(heard.count(), 2);
    }

    #[tokio::test]
    async fn an_answer_that_is_far_too_large_is_an_error() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Counted::new(ours, Heard::default(), Vec::new());
        theirs.write_all(b"$1000000000000\r\n").await.unwrap();
        let failed = ours.read(&mut [0; 64]).await.unwrap_err();
        assert!(failed.to_string().contains("larger than 512 MiB"), "{failed}");
    }

    #[tokio::test]
    async fn a_stream_without_end_lets_others_have_their_turn() {
        let mut ours = Counted::new(Endless, Heard::default(), Vec::new());
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
