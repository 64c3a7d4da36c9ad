//! From an address to a connection that is logged in, and on which Redis says what changes where that is
//! wanted.
//!
//! Used by the supervisor and, for a single connection, by `registry-auth-admin`. Invariant: an attempt that
//! is given up leaves no socket and no task behind.

use crate::connection::endpoint::{Address, Endpoint};
use crate::connection::tracking::Tracking;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, ServerErrorKind,
    Value,
};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time;

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
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Redis(error) => f.write_str(&describe(error)),
            Self::Closed => f.write_str("the server closed the connection"),
        }
    }
}

impl std::error::Error for Failure {}

/// A Redis error without what it may quote: a parse error repeats the reply, which may be a record.
pub fn describe(error: &RedisError) -> String {
    match (error.kind(), error.code(), error.detail()) {
        (ErrorKind::Parse, ..) => "the answer is not Redis' protocol".to_owned(),
        (_, Some(code), Some(detail)) => format!("{code} {detail}"),
        (ErrorKind::AuthenticationFailed, _, detail) => {
            format!(
                "the log-in was refused: {}",
                detail.unwrap_or("wrong user or password")
            )
        }
        _ => error.to_string(),
    }
}

/// A connection and the task that drives its socket.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Connects, logs in, and waits for a first answer, all within `limit`. In RESP2, in which Redis pushes
/// nothing.
pub async fn open(
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<(MultiplexedConnection, JoinHandle<()>), Failure> {
    let opened = within(limit, async {
        let opened = greet(endpoint, None).await?;
        opened.is_alive().await?;
        Ok(opened)
    });
    let Opened { connection, driver } = opened.await?;
    driver
        .release()
        .map(|driver| (connection, driver))
        .ok_or(Failure::Closed)
}

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

/// A connection that is logged in.
pub(crate) struct Opened {
    pub(crate) connection: MultiplexedConnection,
    /// Aborted when it drops: an attempt that is timed out must not leave its socket behind.
    pub(crate) driver: AbortOnDrop,
}

impl Opened {
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

/// Connects and logs in: in RESP3 with a listener, else in RESP2.
pub(crate) async fn greet(endpoint: &Endpoint, listener: Option<Listener>) -> Result<Opened, Failure> {
    let mut login = endpoint.login();
    // No time limits of the crate's own: each caller sets one around everything it waits for.
    let mut config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(BUFFER);
    if let Some((tracking, epoch)) = listener {
        login = login.set_protocol(ProtocolVersion::RESP3);
        config = config.set_push_sender(move |push| {
            tracking.on_push(epoch, push);
            Ok::<(), Infallible>(())
        });
    }
    let (connection, driver) = handshake(endpoint, &login, config).await?;
    let driver = AbortOnDrop(Some(tokio::spawn(driver)));
    Ok(Opened { connection, driver })
}

async fn handshake(
    endpoint: &Endpoint,
    login: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, Driver), Failure> {
    match endpoint.address() {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((&**host, *port)).await.map_err(Failure::Io)?;
            stream.set_nodelay(true).map_err(Failure::Io)?;
            let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config)
                .await
                .map_err(Failure::Redis)?;
            Ok((connection, Box::pin(driver)))
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(Failure::Io)?;
            let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config)
                .await
                .map_err(Failure::Redis)?;
            Ok((connection, Box::pin(driver)))
        }
    }
}

/// Whether Redis says on a connection what changes.
pub(crate) enum TrackingState {
    /// It does.
    On,
    /// It does not, and why.
    Refused(String),
    /// Nobody wants to know.
    Off,
}

/// Has Redis say what changes from here on. Before anything is asked; or later: then nothing read before
/// counts.
pub(crate) async fn start_tracking(
    connection: &MultiplexedConnection,
    tracking: &Tracking,
) -> Result<TrackingState, Failure> {
    let mut connection = connection.clone();
    match connection.send_packed_command(&tracking.command()).await {
        Ok(Value::Okay) => Ok(TrackingState::On),
        Ok(Value::ServerError(error)) => Ok(TrackingState::Refused(describe(&error.into()))),
        Ok(_) => Ok(TrackingState::Refused(
            "the answer to CLIENT TRACKING is not OK".to_owned(),
        )),
        Err(error) => Err(Failure::Redis(error)),
    }
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
pub(crate) fn is_alive(error: &redis::ServerError) -> bool {
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
    fn release(mut self) -> Option<JoinHandle<()>> {
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
