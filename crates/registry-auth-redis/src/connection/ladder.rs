//! How a server tells what changes: the rungs of a ladder, of which the highest that holds is used.
//!
//! The supervisor climbs it with each connection, and the check of `registry-auth-admin` with one to see how
//! far it leads. Invariants: nothing is asked on a connection before it stands on a rung; no rung is left for
//! a lower one without a new connection; and a rung that needs a second connection ends with it.

use crate::connection::endpoint::Endpoint;
use crate::connection::locate::{Locator, subscribe};
use crate::connection::open::{Failure, Listener, Opened, describe, is_closed, is_no_resp3, within};
use crate::connection::pulse::{Heard, Silence};
use crate::connection::tracking::{Changed, Changes, Rung, Tracking, Watcher};
use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSub, PubSubSink};
use redis::{Cmd, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

/// The rung of a connection.
pub(crate) struct Standing {
    pub(crate) rung: Rung,
    /// Why the better ones do not hold.
    pub(crate) why: Vec<String>,
    is_resp3: bool,
    pub(crate) subscriber: Option<Subscriber>,
}

impl Standing {
    /// Of a connection of which nobody wants to hear.
    pub(crate) fn unwanted() -> Self {
        Self {
            rung: Rung::Ttl,
            why: Vec::new(),
            is_resp3: false,
            subscriber: None,
        }
    }

    /// Whether a better one may hold later: an ACL may be changed, while another server comes with another
    /// connection.
    pub(crate) fn may_rise(&self) -> bool {
        self.rung > Rung::Tracking && !self.why.is_empty()
    }
}

/// A second connection, on which Redis publishes what changes.
pub(crate) struct Subscriber {
    /// Passes it on; ends with the connection.
    task: JoinHandle<()>,
    sink: PubSubSink,
    pub(crate) silence: Silence,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscriber {
    /// Has what is published go to the listener from here on.
    async fn new(mut published: PubSub, heard: Heard, listener: &Listener) -> Result<Self, Failure> {
        let (tracking, epoch) = listener;
        let channels = tracking.channels();
        published.subscribe(channels).await.map_err(Failure::Redis)?;
        let (sink, mut messages) = published.split();
        let (tracking, epoch) = (Arc::clone(tracking), *epoch);
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                tracking.on_message(epoch, message.get_payload_bytes());
            }
        });
        let silence = Silence::new(heard);
        Ok(Self { task, sink, silence })
    }

    /// Returns when its connection is gone.
    pub(crate) async fn ended(&mut self) {
        // The end of a task that panicked is one, too.
        let _ = (&mut self.task).await;
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let mut sink = self.sink.clone();
        async move { sink.ping::<Value>().await.map(drop).map_err(Failure::Redis) }
    }
}

/// Connections closed during RESP3's greeting in a row until RESP2 is tried: some proxies close on what they
/// do not know, but so does a server that is being restarted.
const CLOSED_GREETINGS: u32 = 2;

/// Connects and climbs as high as it goes; the caller gives up at `deadline`.
pub(crate) async fn connect(
    locator: &mut Locator,
    listener: &Listener,
    deadline: Instant,
) -> Result<(Opened, Standing), Failure> {
    let mut why = Vec::new();
    let mut closed = 0;
    while listener.0.changes() != Changes::Channel {
        let failure = match locator.greet(Some(listener.clone()), deadline).await {
            Ok(opened) => {
                let standing = climb(locator.endpoint(), &opened, listener, true, why, deadline).await?;
                return Ok((opened, standing));
            }
            Err(failure) => failure,
        };
        if is_closed(&failure) {
            closed += 1;
            if closed < CLOSED_GREETINGS {
                continue;
            }
        } else if !is_no_resp3(&failure) {
            return Err(failure);
        }
        why.push(format!("no RESP3: {failure}"));
        break;
    }
    let opened = locator.greet(None, deadline).await?;
    let standing = climb(locator.endpoint(), &opened, listener, false, why, deadline).await?;
    Ok((opened, standing))
}

/// Finds the highest rung that holds on a connection. `why`: what is known of those that do not.
pub(crate) async fn climb(
    endpoint: &Endpoint,
    opened: &Opened,
    listener: &Listener,
    is_resp3: bool,
    mut why: Vec<String>,
    deadline: Instant,
) -> Result<Standing, Failure> {
    let tracking = &listener.0;
    let standing = |rung, why, subscriber| Standing {
        rung,
        why,
        is_resp3,
        subscriber,
    };
    if is_resp3 {
        for (rung, command) in [
            (Rung::Broadcast, tracking.broadcast()),
            (Rung::Tracking, tracking.plain()),
        ] {
            match start(&opened.connection, &command).await? {
                Ok(()) => return Ok(standing(rung, why, None)),
                // Who may not, or has no such command, gets the same answer again.
                Err(said) if said == *why.last().unwrap_or(&String::new()) => {}
                Err(said) => why.push(said),
            }
        }
    }
    if tracking.changes() != Changes::Tracking {
        // One that does not answer costs the half of what is left, and no more.
        let left = deadline.saturating_duration_since(Instant::now());
        let subscribed = async {
            let (published, heard) = subscribe(endpoint, opened, deadline).await?;
            Subscriber::new(published, heard, listener).await
        };
        match within(left / 2, subscribed).await {
            Ok(subscriber) => return Ok(standing(Rung::Channel, why, Some(subscriber))),
            Err(failure) => why.push(format!("SUBSCRIBE: {failure}")),
        }
    }
    Ok(standing(Rung::Ttl, why, None))
}

/// The same on a connection that is in use: the better rung that it has by now.
pub(crate) async fn climb_on(
    endpoint: &Endpoint,
    opened: &Opened,
    listener: &Listener,
    present: &Standing,
    limit: Duration,
) -> Result<Option<Standing>, Failure> {
    let deadline = Instant::now() + limit;
    let why = match present.is_resp3 {
        true => Vec::new(),
        false => present.why.first().cloned().into_iter().collect(),
    };
    let climbed = climb(endpoint, opened, listener, present.is_resp3, why, deadline);
    match time::timeout_at(deadline, climbed).await {
        Ok(climbed) => Ok(Some(climbed?).filter(|climbed| climbed.rung < present.rung)),
        // That the server is silent is for others to see.
        Err(_) => Ok(None),
    }
}

/// Whether the server does as told, or what it says instead.
async fn start(connection: &MultiplexedConnection, command: &Cmd) -> Result<Result<(), String>, Failure> {
    match connection.clone().send_packed_command(command).await {
        Ok(Value::Okay) => Ok(Ok(())),
        Ok(Value::ServerError(error)) => Ok(Err(describe(&error.into()))),
        Ok(_) => Ok(Err("the answer to CLIENT TRACKING is not OK".to_owned())),
        Err(error) => Err(Failure::Redis(error)),
    }
}

/// The rung that an endpoint allows for these prefixes, and why no better one.
///
/// # Errors
/// There is no connection to be had within `limit`.
pub async fn probe(
    endpoint: &Endpoint,
    prefixes: &[Box<str>],
    changes: Changes,
    limit: Duration,
) -> Result<(Rung, Vec<String>), Failure> {
    struct Nobody;
    impl Watcher for Nobody {
        fn connected(&self, _: u64, _: Rung, _: &str) {}
        fn connection_lost(&self, _: u64) {}
        fn changed(&self, _: u64, _: Vec<Changed>) {}
        fn all_changed(&self, _: u64) {}
    }
    let tracking = Tracking::new(Arc::new(Nobody), prefixes, changes);
    let (mut locator, listener) = (Locator::new(endpoint.clone()), (Arc::new(tracking), 1));
    let deadline = Instant::now() + limit;
    let connected = within(limit, connect(&mut locator, &listener, deadline)).await;
    connected.map(|(_, standing)| (standing.rung, standing.why))
}
