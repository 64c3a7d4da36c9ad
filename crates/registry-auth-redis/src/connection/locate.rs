//! Which server is to be asked, and whether it still is that one.
//!
//! Used by the supervisor for the connection that it keeps, and by `open` for a single one. Where a URL names
//! several servers, only a master is asked: a replica whose master is dead goes on answering without a sign,
//! and one that begins anew knows nobody.

use super::cluster::{self, Detour, Nodes, Slot};
use super::endpoint::{Endpoint, Place, Topology};
use super::fault;
use super::open::{Ending, Failure, Greeting, Listener, Opened, is_no_resp3, within};
use super::panel::in_order;
use super::pulse::Heard;
use super::sentinel::Sentinels;
use crate::schema::keys::{self, KeyNames};
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Cmd, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

/// How often a server that may cease to be the master is asked whether it is.
const POLL: Duration = Duration::from_millis(500);
/// How often those who know the master are asked: where the old one hangs, nobody else tells of the new one.
/// With the time that a busy sentinel may take (300 ms) it was up to 800 ms with twice the pause.
const POLL_GUIDE: Duration = Duration::from_millis(250);
/// For that to be answered in, at least.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Between attempts to find a master, while one is being made.
const PAUSE: Duration = Duration::from_millis(50);
/// What is left of a connection attempt for what is said of it.
const MARGIN: Duration = Duration::from_millis(10);

/// Finds the server of an endpoint.
pub(crate) struct Locator {
    endpoint: Endpoint,
    /// Who is asked where it is, and what they said.
    guide: Option<(Guide, Option<Place>)>,
    detour: Arc<Detour>,
    /// Who hears what the connection says unasked.
    listener: Option<Listener>,
}

/// Those who know which server is the master.
enum Guide {
    Sentinels(Sentinels),
    Nodes(Nodes),
}

impl Guide {
    fn of(endpoint: &Endpoint) -> Option<Self> {
        match endpoint.topology() {
            Topology::Sentinel { sentinels, master } => {
                Some(Self::Sentinels(Sentinels::new(sentinels, master)))
            }
            Topology::Cluster(nodes) => {
                let slot = keys::slot(endpoint.prefix()?)?;
                Some(Self::Nodes(Nodes::new(nodes, slot)))
            }
            _ => None,
        }
    }

    async fn master(&mut self, endpoint: &Endpoint) -> Result<Place, Failure> {
        match self {
            Self::Sentinels(sentinels) => sentinels.master(endpoint).await,
            Self::Nodes(nodes) => nodes.owner(endpoint).await,
        }
    }

    /// Returns when another master than this is named.
    async fn other_than(&mut self, place: &Place, endpoint: &Endpoint, pause: Duration) -> Place {
        loop {
            time::sleep(pause).await;
            match self.master(endpoint).await {
                Ok(master) if master != *place => return master,
                _ => {}
            }
        }
    }

    fn names_another(&self, other: &Place) -> Failure {
        Failure::Unfit(match self {
            Self::Sentinels(_) => format!("the sentinels name another master, {other}"),
            Self::Nodes(_) => format!("the nodes of the Cluster name another that has the slot, {other}"),
        })
    }
}

impl Locator {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        let detour = Arc::new(Detour::new(endpoint.clone()));
        Self::with(endpoint, detour)
    }

    /// With this way to a node that a reply sends to.
    pub(crate) fn with(endpoint: Endpoint, detour: Arc<Detour>) -> Self {
        Self {
            guide: Guide::of(&endpoint).map(|guide| (guide, None)),
            endpoint,
            detour,
            listener: None,
        }
    }

    /// A connection to the server that is to be asked, logged in. The caller gives up at `deadline`; until
    /// then a master that is being made is waited for.
    pub(crate) async fn greet(
        &mut self,
        listener: Option<Listener>,
        deadline: Instant,
    ) -> Result<Opened, Failure> {
        self.listener.clone_from(&listener);
        let logins = self.endpoint.logins();
        let greeting = Greeting {
            names: self.endpoint.names(),
            tls: self.endpoint.tls(),
            logins: &logins,
            listener,
            deadline,
        };
        let mut before = None;
        loop {
            let opened = match (self.endpoint.topology(), &mut self.guide) {
                (Topology::Unix(path), _) => greeting.unix(path).await,
                (Topology::Single(place), _) => greeting.place(place).await,
                (Topology::Several(places), _) => several(&greeting, &self.endpoint, places).await,
                (Topology::Sentinel { .. } | Topology::Cluster(_), Some((guide, current))) => {
                    let opened = guided(&greeting, &self.endpoint, guide, current);
                    // A little earlier than the caller, who is to learn what was wrong before.
                    let opened = time::timeout_at(deadline - MARGIN, opened).await;
                    let opened = opened.unwrap_or(Err(Failure::TimedOut));
                    current.iter().for_each(|place| self.detour.from(place));
                    opened
                }
                (Topology::Sentinel { .. } | Topology::Cluster(_), None) => {
                    let why = "it is not known what the keys in the Cluster begin with";
                    Err(Failure::Refused(why.to_owned()))
                }
            };
            match opened {
                Ok(opened) => {
                    opened.choose();
                    return Ok(opened);
                }
                Err(failure) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    // One that was cut short says less than the one before.
                    let telling = match before {
                        Some(before) if left <= 2 * MARGIN => before,
                        _ => failure,
                    };
                    if !self.may_move() || !may_pass(&telling) || left <= PAUSE + MARGIN {
                        return Err(telling);
                    }
                    before = Some(telling);
                    time::sleep(PAUSE).await;
                }
            }
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns when the server of this connection is not the one to be asked any more, or does not answer for
    /// long; `limit` is that of a lookup. Where there is one server only, that is never found.
    pub(crate) async fn moved(&mut self, connection: &MultiplexedConnection, limit: Duration) -> Failure {
        if !self.may_move() {
            return std::future::pending().await;
        }
        let limit = PATIENCE.max(2 * limit);
        let (endpoint, listener) = (&self.endpoint, &self.listener);
        let demoted = async {
            let mut was_leaving = false;
            loop {
                time::sleep(POLL).await;
                let is_leaving = match time::timeout(limit, is_fit(connection, endpoint)).await {
                    Ok(Ok(slot)) => matches!(slot, Slot::Leaving),
                    Ok(Err(failure)) => return failure,
                    // The supervisor sees whether it says anything at all.
                    Err(_) => continue,
                };
                // New keys are written at the other node from now on, of which this one says nothing: that
                // there was none must not be believed any more.
                if let Some((tracking, epoch)) = listener.as_ref().filter(|_| is_leaving && !was_leaving) {
                    tracking.all_changed(*epoch);
                }
                was_leaving = is_leaving;
            }
        };
        let replaced = async {
            match &mut self.guide {
                Some((guide, Some(current))) => {
                    let other = guide.other_than(current, endpoint, POLL_GUIDE).await;
                    guide.names_another(&other)
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            failure = demoted => failure,
            failure = replaced => failure,
        }
    }

    /// Whether another server may be the master after a loss.
    pub(crate) fn may_move(&self) -> bool {
        matches!(
            self.endpoint.topology(),
            Topology::Several(_) | Topology::Sentinel { .. } | Topology::Cluster(_)
        )
    }
}

/// Connects, logs in, and waits for a first answer, all within `limit`. In RESP2, in which Redis pushes
/// nothing.
///
/// # Errors
/// [`Failure`].
pub async fn open(
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<(MultiplexedConnection, JoinHandle<()>), Failure> {
    let (connection, driver, ..) = open_with_detour(endpoint, limit).await?;
    Ok((connection, driver))
}

/// The same, with what follows replies that send elsewhere, and what says why the connection has ended.
///
/// # Errors
/// [`Failure`].
pub async fn open_with_detour(
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<(MultiplexedConnection, JoinHandle<()>, Arc<Detour>, Ending), Failure> {
    let deadline = Instant::now() + limit;
    let mut locator = Locator::new(endpoint.clone());
    let opened = within(limit, async {
        let opened = locator.greet(None, deadline).await?;
        opened.is_alive().await?;
        Ok(opened)
    });
    let Opened {
        connection,
        driver,
        heard,
        ..
    } = opened.await?;
    driver
        .release()
        .map(|driver| (connection, driver, locator.detour, Ending(heard)))
        .ok_or(Failure::Closed)
}

/// A second connection to the same server, for what is published there.
pub(crate) async fn subscribe(
    endpoint: &Endpoint,
    opened: &Opened,
    deadline: Instant,
) -> Result<(PubSub, Heard), Failure> {
    let logins = endpoint.logins();
    let greeting = Greeting {
        names: endpoint.names(),
        tls: endpoint.tls(),
        logins: &logins,
        listener: None,
        deadline,
    };
    greeting.again(&opened.target).await
}

/// Whether a failure may be over in a moment, as it is while another master is made.
fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Unfit(_) | Failure::Closed => true,
        Failure::Io(error) => fault::of(error).is_none(),
        Failure::Redis(error) => error.is_connection_dropped(),
        Failure::TimedOut | Failure::NoTls | Failure::Refused(_) => false,
    }
}

/// The master that the guide names; also where it comes to name another meanwhile.
async fn guided(
    greeting: &Greeting<'_>,
    endpoint: &Endpoint,
    guide: &mut Guide,
    current: &mut Option<Place>,
) -> Result<Opened, Failure> {
    let mut place = guide.master(endpoint).await?;
    loop {
        tokio::select! {
            opened = master(greeting, &place, endpoint) => {
                let opened = opened.map_err(|failure| at(&place, failure));
                *current = Some(place);
                return opened;
            }
            other = guide.other_than(&place, endpoint, 2 * PAUSE) => place = other,
        }
    }
}

/// Says at which server it was, where the caller has no use for more than that.
fn at(place: &Place, failure: Failure) -> Failure {
    match failure {
        Failure::Redis(_) if !may_pass(&failure) => failure,
        failure if may_pass(&failure) => Failure::Unfit(format!("{place}: {failure}")),
        failure => Failure::Refused(format!("{place}: {failure}")),
    }
}

/// The first of these that greets and is a master, all tried at once.
async fn several(greeting: &Greeting<'_>, endpoint: &Endpoint, places: &[Place]) -> Result<Opened, Failure> {
    let mut attempts: FuturesUnordered<_> = places
        .iter()
        .map(|place| async move { (place, master(greeting, place, endpoint).await) })
        .collect();
    let (mut why, mut may_some_pass, mut no_resp3) = (Vec::new(), false, None);
    while let Some((place, answer)) = attempts.next().await {
        match answer {
            Ok(opened) => return Ok(opened),
            // Which the caller can do something about.
            Err(failure) if is_no_resp3(&failure) => no_resp3 = Some(failure),
            Err(failure) => {
                may_some_pass |= may_pass(&failure);
                why.push((place, failure.to_string()));
            }
        }
    }
    let why = format!(
        "none of them is a master that answers ({})",
        in_order(places, why)
    );
    Err(match no_resp3 {
        Some(failure) => failure,
        None if may_some_pass => Failure::Unfit(why),
        None => Failure::Refused(why),
    })
}

/// A connection to a place, if there is a master.
async fn master(greeting: &Greeting<'_>, place: &Place, endpoint: &Endpoint) -> Result<Opened, Failure> {
    // A little earlier than the caller, who is to learn what the others said.
    let opened = time::timeout_at(greeting.deadline - MARGIN, async {
        let opened = greeting.place(place).await?;
        is_fit(&opened.connection, endpoint).await?;
        Ok(opened)
    });
    opened.await.unwrap_or(Err(Failure::TimedOut))
}

/// Whether it is a master by its own words, and, in a Cluster, has the slot.
async fn is_fit(connection: &MultiplexedConnection, endpoint: &Endpoint) -> Result<Slot, Failure> {
    is_master(connection).await?;
    match endpoint.prefix() {
        Some(prefix) => {
            let mut question = redis::cmd("HMGET");
            question.arg(KeyNames::new(prefix).nothing()).arg("field");
            cluster::slot_here(&ask(connection, &question).await?)
        }
        None => Ok(Slot::Here),
    }
}

/// Whether it is a master by its own words.
async fn is_master(connection: &MultiplexedConnection) -> Result<(), Failure> {
    // The answer of HELLO has the role, and a user who may be told of changes may say it; ROLE is of older
    // servers, which have no users with rights of their own.
    let mut said = ask(connection, &redis::cmd("HELLO")).await?;
    if matches!(said, Value::ServerError(_)) {
        said = ask(connection, &redis::cmd("ROLE")).await?;
    }
    match role(&said) {
        Some("master") => Ok(()),
        Some(role) => Err(Failure::Unfit(format!("it is a {role}"))),
        None => Err(Failure::Unfit(
            "it says neither to HELLO nor to ROLE whether it is a master".to_owned(),
        )),
    }
}

async fn ask(connection: &MultiplexedConnection, command: &Cmd) -> Result<Value, Failure> {
    connection
        .clone()
        .send_packed_command(command)
        .await
        .map_err(Failure::Redis)
}

/// The role in an answer to HELLO or ROLE.
fn role(said: &Value) -> Option<&'static str> {
    let word = match said {
        Value::Map(fields) => fields
            .iter()
            .find_map(|(name, value)| is_role(name).then_some(value)),
        Value::Array(fields) => match fields.iter().position(is_role) {
            Some(at) => fields.get(at + 1),
            None => fields.first(),
        },
        _ => None,
    };
    match text(word?)? {
        b"master" => Some("master"),
        b"slave" | b"replica" => Some("replica"),
        b"sentinel" => Some("sentinel"),
        _ => None,
    }
}

fn is_role(name: &Value) -> bool {
    text(name) == Some(b"role")
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::role;
    use redis::Value;

    fn word(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn the_role_is_found_in_all_forms() {
        let fields = || {
            vec![
                word("server"),
                word("redis"),
                word("role"),
                word("replica"),
                word("modules"),
            ]
        };
        assert_eq!(role(&Value::Array(fields())), Some("replica"));
        let map = Value::Map(vec![(word("mode"), word("x")), (word("role"), word("master"))]);
        assert_eq!(role(&map), Some("master"));
        assert_eq!(
            role(&Value::Array(vec![word("slave"), word("10.0.0.1")])),
            Some("replica")
        );
        assert_eq!(role(&Value::Array(vec![word("sentinel")])), Some("sentinel"));
        for odd in [
            Value::Nil,
            Value::Array(Vec::new()),
            word("master"),
            Value::Array(vec![word("role")]),
        ] {
            assert_eq!(role(&odd), None, "{odd:?}");
        }
    }
}
