//! From an address to a connection that is logged in, and on which Redis says what changes where that is
//! wanted.
//!
//! Used by the supervisor and, for a single connection, by `registry-auth-admin`. Invariant: an attempt that
//! is given up leaves no socket and no task behind.

use crate::connection::endpoint::{Endpoint, Place};
use crate::connection::fault;
use crate::connection::frames::{Abandoned, REPEATS};
pub use crate::connection::frames::{CODE as TOO_LARGE, cut};
use crate::connection::names::Names;
use crate::connection::pulse::{Counted, Heard};
use crate::connection::tls::Tls;
use crate::connection::tracking::Tracking;
use crate::secret::Secret;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, ServerError,
    ServerErrorKind, Value,
};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

/// Commands queued in front of the connection's own task (pipelines, so many jobs each).
const BUFFER: usize = 256;

/// Why there is no answer from Redis. `Display` is fit for a log: no secret, no bytes of a reply.
#[derive(Debug)]
pub enum Failure {
    /// Not within the limit.
    TimedOut,
    /// The socket failed.
    Io(std::io::Error),
    /// Redis refused, or what it said is not its protocol.
    Redis(RedisError),
    /// The server hung up.
    Closed,
    /// It does not greet in TLS.
    NoTls,
    /// It is not to be asked for now, for this reason.
    Unfit(String),
    /// It is not to be asked, for a reason that somebody has to do something about.
    Refused(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::Io(error) => match fault::of(error) {
                Some(fault) => f.write_str(&fault::words(fault)),
                None => write!(f, "{error}"),
            },
            Self::Redis(error) => f.write_str(&describe(error)),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::NoTls => f.write_str("no answer to the greeting in TLS: is this port TLS?"),
            Self::Unfit(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Abandoned> for Failure {
    fn from(abandoned: Abandoned) -> Self {
        Self::Unfit(abandoned.to_string())
    }
}

/// A Redis error without what it may quote: a parse error repeats the reply, which may be a record.
pub fn describe(error: &RedisError) -> String {
    if let Some(fault) = fault::of(error) {
        return fault::words(fault);
    }
    match (error.kind(), error.code(), error.detail()) {
        (ErrorKind::Parse, ..) => "the answer is not Redis' protocol".to_owned(),
        (_, Some(code), Some(detail)) => format!("{code} {}", unrepeated(detail)),
        (ErrorKind::AuthenticationFailed, _, detail) => {
            format!(
                "the log-in was refused: {}",
                detail.unwrap_or("wrong user or password")
            )
        }
        _ => error.to_string(),
    }
}

/// What a server says instead of an answer, without the words of ours that it may repeat.
#[must_use]
pub fn said(error: &ServerError) -> String {
    let details = error.details().map(unrepeated).unwrap_or_default();
    format!("{} {details}", error.code()).trim_end().to_owned()
}

/// An error of Redis without the command that it repeats.
fn unrepeated(details: &str) -> &str {
    details.split_once(REPEATS).map_or(details, |(words, _)| words)
}

/// Whether a server was there and answered, so that what failed is the greeting: TLS, or its protocol.
#[must_use]
pub fn has_answered(failure: &Failure) -> bool {
    match failure {
        Failure::TimedOut => false,
        Failure::Io(error) => fault::of(error).is_some(),
        Failure::Redis(error) => {
            fault::of(error).is_some() || error.is_connection_dropped() || !error.is_io_error()
        }
        Failure::Closed | Failure::NoTls | Failure::Unfit(_) | Failure::Refused(_) => true,
    }
}

/// Why `endpoint` could not be greeted, with what may be the reason of it.
#[must_use]
pub fn explain(endpoint: &Endpoint, failure: &Failure) -> String {
    let Failure::Redis(error) = failure else {
        return failure.to_string();
    };
    let is_cut = error.is_connection_dropped() && fault::of(error).is_none();
    let hint = match endpoint.tls() {
        None if is_cut || error.kind() == ErrorKind::Parse => "; is this port TLS (rediss://)?",
        // In TLS 1.3 a server may be gone before what it says of it is read.
        Some(tls) if is_cut && !tls.has_certificate() => "; does the server want a client's certificate?",
        _ => "",
    };
    format!("{failure}{hint}")
}

/// A connection and the task that drives its socket.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An attempt, and [`Failure::TimedOut`] after `limit`.
///
/// # Errors
/// Those of the attempt.
pub async fn within<T>(
    limit: Duration,
    attempt: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    time::timeout(limit, attempt)
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

/// Says of a connection why it has come to its end.
pub struct Ending(pub(crate) Heard);

impl Ending {
    /// What is known of that, other than that it has.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        self.0.why_ended().map(|why| why.to_string())
    }
}

/// A connection that is logged in.
pub(crate) struct Opened {
    pub(crate) connection: MultiplexedConnection,
    /// Aborted when it drops: an attempt that is timed out must not leave its socket behind.
    pub(crate) driver: AbortOnDrop,
    /// What it leads to.
    pub(crate) target: Target,
    /// Counts what has come from it.
    pub(crate) heard: Heard,
    /// Whether what it says unasked counts.
    is_chosen: Arc<AtomicBool>,
}

impl Opened {
    /// Of several that were tried at once this one is used: its end is the end of all that was told, and the
    /// others' is not.
    pub(crate) fn choose(&self) {
        self.is_chosen.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn is_alive(&self) -> Result<(), Failure> {
        let mut connection = self.connection.clone();
        match connection.send_packed_command(&redis::cmd("PING")).await {
            Ok(Value::ServerError(error)) if !is_alive(&error) => Err(Failure::Redis(error.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::Redis(error)),
        }
    }
}

/// Who hears what Redis pushes, and the number of the connection.
pub(crate) type Listener = (Arc<Tracking>, u64);

/// How a server is greeted: in RESP3 with a listener, else in RESP2.
#[derive(Clone)]
pub(crate) struct Greeting<'g> {
    pub(crate) names: &'g Names,
    pub(crate) tls: Option<&'g Tls>,
    /// Tried one after the other, while the server says that the password is wrong.
    pub(crate) logins: &'g [RedisConnectionInfo],
    pub(crate) listener: Option<Listener>,
    /// After which a server that says nothing is given up; who greets gives up by then, too.
    pub(crate) deadline: Instant,
}

/// Between the attempts to connect to one address and to the next one of the same name (RFC 8305).
const STAGGER: Duration = Duration::from_millis(100);

/// What a connection leads to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// One address of the host of this name.
    Tcp(SocketAddr, Box<str>),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, _) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A connection, in TLS or not.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

type Wire = Counted<Box<dyn Duplex>>;

impl Greeting<'_> {
    /// Connects to a place and logs in. Of the addresses of a name the first that greets is taken.
    pub(crate) async fn place(&self, place: &Place) -> Result<Opened, Failure> {
        let addresses = self.names.addresses(&place.host, place.port).await?;
        let targets = addresses
            .into_iter()
            .map(|address| Target::Tcp(address, place.host.clone()));
        first(targets.map(|target| self.open(target)), STAGGER).await
    }

    /// The same at a socket of this machine.
    pub(crate) async fn unix(&self, path: &Path) -> Result<Opened, Failure> {
        self.open(Target::Unix(path.to_owned())).await
    }

    /// Logs in, with one password after the other.
    async fn open(&self, target: Target) -> Result<Opened, Failure> {
        let mut refused = Failure::Closed;
        for login in self.logins {
            let heard = Heard::default();
            let wire = self.wire(&target, &heard).await?;
            let ear = Heard::clone(&heard);
            let opened = self.resp(login, wire, heard, target.clone()).await;
            // The redis crate says that it was closed.
            match opened.map_err(|failure| ear.why_ended().map_or(failure, Failure::from)) {
                Err(failure) if is_wrong_password(&failure) => refused = failure,
                opened => return opened,
            }
        }
        Err(refused)
    }

    /// Logs in at the same server again, in RESP2, to hear what is published there.
    pub(crate) async fn again(&self, target: &Target) -> Result<(PubSub, Heard), Failure> {
        let mut refused = Failure::Closed;
        for login in self.logins {
            let heard = Heard::default();
            let wire = self.wire(target, &heard).await?;
            // Channels are those of all databases, and some proxies hang up on CLIENT.
            let login = login.clone().set_skip_set_lib_name().set_db(0);
            let published = PubSub::new(&login, wire).await.map_err(Failure::Redis);
            match published {
                Ok(published) => return Ok((published, heard)),
                Err(failure) if is_wrong_password(&failure) => refused = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(refused)
    }

    /// Connects, in TLS where that is wanted.
    async fn wire(&self, target: &Target, heard: &Heard) -> Result<Wire, Failure> {
        let (host, stream): (&str, Box<dyn Duplex>) = match target {
            Target::Tcp(address, host) => {
                let stream = TcpStream::connect(address).await.map_err(Failure::Io)?;
                stream.set_nodelay(true).map_err(Failure::Io)?;
                (host, Box::new(stream))
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(Failure::Io)?;
                ("", Box::new(stream))
            }
        };
        let stream = match self.tls {
            Some(tls) => {
                let greeted = time::timeout_at(self.deadline, tls.greet(host, stream)).await;
                Box::new(greeted.map_err(|_| Failure::NoTls)?.map_err(Failure::Io)?)
            }
            None => stream,
        };
        // Also those that it has refused.
        let passwords = self.logins.iter().filter_map(RedisConnectionInfo::password);
        let passwords = passwords
            .map(|password| Secret::new(password.as_bytes()))
            .collect();
        Ok(Counted::new(stream, Heard::clone(heard), passwords))
    }

    async fn resp(
        &self,
        login: &RedisConnectionInfo,
        wire: Wire,
        heard: Heard,
        target: Target,
    ) -> Result<Opened, Failure> {
        // No time limits of the crate's own: each caller sets one around everything it waits for.
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(BUFFER);
        let mut login = login.clone();
        let is_chosen = Arc::new(AtomicBool::new(false));
        if let Some((tracking, epoch)) = self.listener.clone() {
            login = login.set_protocol(ProtocolVersion::RESP3);
            let is_chosen = Arc::clone(&is_chosen);
            config = config.set_push_sender(move |push| {
                if is_chosen.load(Ordering::Relaxed) {
                    tracking.on_push(epoch, push);
                }
                Ok::<(), Infallible>(())
            });
        } else {
            // Some proxies that know RESP2 only hang up on CLIENT.
            login = login.set_skip_set_lib_name();
        }
        let (connection, driver) = MultiplexedConnection::new_with_config(&login, wire, config)
            .await
            .map_err(Failure::Redis)?;
        let driver: Driver = Box::pin(driver);
        let driver = AbortOnDrop(Some(tokio::spawn(driver)));
        Ok(Opened {
            connection,
            driver,
            target,
            heard,
            is_chosen,
        })
    }
}

/// The first attempt that succeeds. Each is begun when the one before has failed, or has taken `stagger`; if
/// all fail, this fails as the first one did that was connected, or else as the first one.
pub(crate) async fn first<T, A>(attempts: impl Iterator<Item = A>, stagger: Duration) -> Result<T, Failure>
where
    A: Future<Output = Result<T, Failure>>,
{
    let mut attempts = attempts.fuse();
    let mut begun: FuturesUnordered<A> = attempts.next().into_iter().collect();
    let mut failure = None;
    loop {
        let answer = match time::timeout(stagger, begun.next()).await {
            Ok(Some(Ok(done))) => return Ok(done),
            Ok(Some(Err(error))) => {
                // Where nobody listens at one address, what is wrong at the other one tells more.
                if failure
                    .as_ref()
                    .is_none_or(|before| is_unreachable(before) && !is_unreachable(&error))
                {
                    failure = Some(error);
                }
                attempts.next()
            }
            Ok(None) => return Err(failure.unwrap_or(Failure::Unfit("the name has no address".to_owned()))),
            Err(_) => attempts.next(),
        };
        begun.extend(answer);
    }
}

/// Whether the system could not connect; what is wrong in TLS has no number of the system's.
fn is_unreachable(failure: &Failure) -> bool {
    matches!(failure, Failure::Io(error) if error.raw_os_error().is_some())
}

/// Whether another password may be the right one.
fn is_wrong_password(failure: &Failure) -> bool {
    let Failure::Redis(error) = failure else {
        return false;
    };
    error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS")
}

/// Whether a greeting failed because of RESP3: Redis before 6, a proxy, or an ACL without HELLO.
pub(crate) fn is_no_resp3(failure: &Failure) -> bool {
    let Failure::Redis(error) = failure else {
        return false;
    };
    match error.kind() {
        ErrorKind::RESP3NotSupported => true,
        ErrorKind::Server(kind) => matches!(kind, ServerErrorKind::ResponseError | ServerErrorKind::NoPerm),
        ErrorKind::Extension => error.code() == Some("NOPROTO"),
        _ => false,
    }
}

/// Whether the server hung up on a greeting (it did accept the connection).
pub(crate) fn is_closed(failure: &Failure) -> bool {
    matches!(failure, Failure::Redis(error) if error.is_connection_dropped())
}

/// Whether this answer to PING leaves the connection usable. A restricted ACL user may not PING, and a server
/// that loads its data or lost its master says so to each command: lookups then fail one by one and recover
/// at once.
pub(crate) fn is_alive(error: &ServerError) -> bool {
    match error.kind() {
        Some(
            ServerErrorKind::NoPerm
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown,
        ) => true,
        _ => matches!(error.code(), "MISCONF" | "BUSY" | "UNKILLABLE"),
    }
}

/// A task that ends with it.
pub struct AbortOnDrop(pub Option<JoinHandle<()>>);

impl AbortOnDrop {
    /// Returns when the task has ended; to be called no more then.
    pub(crate) async fn ended(&mut self) {
        if let Some(task) = &mut self.0 {
            // A task that panicked has ended, too.
            let _ = task.await;
        }
    }

    pub(crate) fn release(mut self) -> Option<JoinHandle<()>> {
        self.0.take()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, STAGGER, describe, first, said};
    use futures_util::FutureExt;
    use std::future::{pending, ready};
    use std::time::{Duration, Instant};

    fn run<T>(future: impl std::future::Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(future)
    }

    /// What Redis says of a HELLO that it does not know.
    const REPEATED: &str =
        "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'gate' 'secret' \r\n";

    fn error(answer: &str) -> redis::ServerError {
        match redis::parse_redis_value(answer.as_bytes()).unwrap() {
            redis::Value::ServerError(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_server_repeats_of_ours_is_left_out() {
        let unknown = error(REPEATED);
        assert_eq!(said(&unknown), "ERR unknown command 'HELLO'");
        assert_eq!(describe(&unknown.into()), "ERR unknown command 'HELLO'");
        assert_eq!(said(&error("-NOPERM no\r\n")), "NOPERM no");
        assert_eq!(said(&error("-BUSY\r\n")), "BUSY");
    }

    #[test]
    fn an_address_that_says_nothing_costs_a_moment() {
        let attempts = [pending().boxed(), pending().boxed(), ready(Ok(3)).boxed()];
        let begun = Instant::now();
        assert_eq!(run(first(attempts.into_iter(), STAGGER)).unwrap(), 3);
        assert!(begun.elapsed() >= 2 * STAGGER);
    }

    #[test]
    fn one_that_fails_costs_nothing() {
        let attempts = [ready(Err(Failure::Closed)), ready(Ok(2))];
        assert_eq!(run(first(attempts.into_iter(), Duration::MAX)).unwrap(), 2);
    }

    #[test]
    fn where_all_fail_the_first_failure_is_told() {
        let attempts = [
            ready(Err::<(), _>(Failure::Closed)),
            ready(Err(Failure::TimedOut)),
        ];
        let failed = run(first(attempts.into_iter(), STAGGER));
        assert!(matches!(failed, Err(Failure::Closed)));
        let none = run(first(
            std::iter::empty::<std::future::Ready<Result<(), _>>>(),
            STAGGER,
        ));
        assert!(matches!(none, Err(Failure::Unfit(_))));
    }

    #[test]
    fn where_all_fail_a_refused_connection_says_less_than_what_a_server_said() {
        // ECONNREFUSED.
        let refused = || Failure::Io(std::io::Error::from_raw_os_error(111));
        let attempts = [
            ready(Err::<(), _>(refused())),
            ready(Err(Failure::NoTls)),
            ready(Err(refused())),
        ];
        let failed = run(first(attempts.into_iter(), STAGGER));
        assert!(matches!(failed, Err(Failure::NoTls)));
    }
}
