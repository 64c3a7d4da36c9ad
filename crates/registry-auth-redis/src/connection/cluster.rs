//! Redis Cluster, as far as it is needed where all keys lie in one slot: which node has the slot, and what is
//! done with replies that send elsewhere.
//!
//! All keys of a prefix with a hash tag are in one slot, so that one connection is enough, and transactions
//! are possible. Who has the slot is what most masters of the Cluster say: they are asked all at once, on
//! connections that are kept, and fewer are not believed, as they may be cut off together with a master that
//! was replaced.
//!
//! Used by `locate` (where to connect), by the supervisor's `Link` and by the tool (redirections).

use super::endpoint::{Endpoint, Place, Topology};
use super::open::{Failure, Greeting, Opened};
use super::panel::{Greet, Panel, in_order};
use redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, ServerError, ServerErrorKind, Value};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use tokio::time::{self, Instant};

/// Masters that are asked beside the slot's own. More would cost more than they say.
const OTHERS: usize = 14;
/// Replicas of the slot's master that are asked: one of them is the next master.
const REPLICAS: usize = 8;
/// How often further nodes are asked that those asked before have named.
const ROUNDS: usize = 3;
/// Nodes that are asked at a time: all that one of them may name, and as many more as others name.
const AT_A_TIME: usize = 64;

/// The slots of a Cluster's nodes, as one of them says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    /// Who has the slot.
    owner: Place,
    replicas: Vec<Place>,
    /// The other masters, in order; not more than [`OTHERS`].
    others: Vec<Place>,
}

impl Table {
    /// The reply of CLUSTER SLOTS from the node at `asked`.
    fn read(reply: &Value, asked: &Place, slot: u16) -> Result<Self, Failure> {
        let odd = || Failure::Unfit("its answer to CLUSTER SLOTS is none".to_owned());
        let ranges = match reply {
            Value::Array(ranges) => ranges,
            Value::ServerError(error) => return Err(Failure::Redis(error.clone().into())),
            _ => return Err(odd()),
        };
        let (mut found, mut others) = (None, Vec::new());
        for range in ranges {
            let Value::Array(range) = range else {
                return Err(odd());
            };
            let [Value::Int(first), Value::Int(last), nodes @ ..] = &**range else {
                return Err(odd());
            };
            let mut nodes = nodes.iter().filter_map(|node| place(node, asked));
            let master = nodes.next();
            if (*first..=*last).contains(&i64::from(slot)) {
                found = master.map(|owner| (owner, nodes.take(REPLICAS).collect()));
            } else {
                others.extend(master);
            }
        }
        let (owner, replicas) =
            found.ok_or_else(|| Failure::Unfit(format!("it knows no node that has slot {slot}")))?;
        others.sort_unstable();
        others.dedup();
        others.retain(|place| *place != owner);
        others.truncate(OTHERS);
        Ok(Self {
            owner,
            replicas,
            others,
        })
    }

    fn masters(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.owner).chain(&self.others)
    }

    fn nodes(&self) -> impl Iterator<Item = &Place> {
        self.masters().chain(&self.replicas)
    }
}

/// A node in a reply of CLUSTER SLOTS. One that does not know its own name is where it was asked.
fn place(node: &Value, asked: &Place) -> Option<Place> {
    let Value::Array(fields) = node else { return None };
    let [host, Value::Int(port), ..] = &**fields else {
        return None;
    };
    let port = u16::try_from(*port).ok().filter(|port| *port != 0)?;
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => "",
        _ => return None,
    };
    Some(Place {
        host: match host {
            "" => asked.host.clone(),
            // Of a node that has no name where names are preferred: nobody can connect to it.
            "?" => return None,
            host => host.into(),
        },
        port,
    })
}

/// What each node has said, and why others have not.
#[derive(Default)]
struct Votes {
    /// The nodes of the URL, or those that were found by them before.
    known: Vec<Place>,
    tables: Vec<(Place, Table)>,
    why: Vec<(Place, String)>,
}

impl Votes {
    /// The table of the owner that most masters name, and how many do.
    fn leading(&self) -> Option<(&Table, usize)> {
        self.tables
            .iter()
            .map(|(_, table)| (table, self.count(table)))
            .max_by_key(|(_, count)| *count)
    }

    /// How many of the masters of this table name the same owner.
    fn count(&self, table: &Table) -> usize {
        let says_so = |(place, said): &&(Place, Table)| {
            said.owner == table.owner && table.masters().any(|master| master == place)
        };
        self.tables.iter().filter(says_so).count()
    }

    /// A table whose owner a majority of its masters names, and most nodes that were known before: a node
    /// alone can name itself as the one master of all, and any others with it.
    fn elected(&self) -> Option<&Table> {
        let mut named = self.tables.iter().map(|(_, table)| table);
        named.find(|table| 2 * self.count(table) > table.masters().count() && self.is_agreed(table))
    }

    /// Whether most of the known nodes name this owner. Of two it is enough that one does where the other
    /// says nothing.
    fn is_agreed(&self, table: &Table) -> bool {
        let is_known = |place: &Place| self.known.contains(place);
        let said = self.tables.iter().filter(|(place, _)| is_known(place));
        let (agree, differ): (Vec<_>, Vec<_>) = said.partition(|(_, said)| said.owner == table.owner);
        let failed = self.why.iter().filter(|(place, _)| is_known(place)).count();
        let is_half = 2 * agree.len() == self.known.len() && differ.is_empty();
        2 * agree.len() > self.known.len() || is_half && agree.len() + failed >= self.known.len()
    }

    fn refused(&self, slot: u16) -> Failure {
        let why = self.why.iter().map(|(place, why)| (place, why.to_string()));
        let why = in_order(&self.known, why.collect());
        Failure::Unfit(match self.leading() {
            Some((table, count)) if 2 * count > table.masters().count() => format!(
                "most of the {} nodes that are known do not name {} as the one that has slot {slot} ({why})",
                self.known.len(),
                table.owner
            ),
            Some((table, count)) => {
                let masters = table.masters().count();
                format!(
                    "{count} of {masters} masters name a node that has slot {slot}, and {} are needed \
                     ({why})",
                    masters / 2 + 1
                )
            }
            None => format!("no node of the Cluster says who has slot {slot} ({why})"),
        })
    }
}

/// The nodes of a Cluster.
pub(crate) struct Nodes {
    of_url: Vec<Place>,
    /// As the Cluster itself names them.
    learned: Vec<Place>,
    slot: u16,
    panel: Panel,
}

impl Nodes {
    pub(crate) fn new(of_url: &[Place], slot: u16) -> Self {
        Self {
            of_url: of_url.to_vec(),
            learned: Vec::new(),
            slot,
            panel: Panel::default(),
        }
    }

    /// Who has the slot, by the word of most masters. The URL need not name them all, nor any that still is
    /// there once others are known.
    pub(crate) async fn owner(&mut self, endpoint: &Endpoint) -> Result<Place, Failure> {
        let logins = endpoint.logins();
        let mut votes = Votes::default();
        let mut asked = HashSet::new();
        let mut next = match self.learned.is_empty() {
            true => self.of_url.clone(),
            false => self.learned.clone(),
        };
        votes.known.clone_from(&next);
        for _ in 0..ROUNDS {
            let greet = Greet {
                names: endpoint.names(),
                tls: endpoint.tls(),
                logins: &logins,
            };
            let mut question = Pipeline::new();
            question.cmd("CLUSTER").arg("SLOTS");
            let slot = self.slot;
            let heard = |place: &Place, replies: Result<(_, Vec<Value>), Failure>| {
                let reply = replies.map(|(_, replies)| replies.into_iter().next().unwrap_or_default());
                match reply.and_then(|reply| Table::read(&reply, place, slot)) {
                    Ok(table) => votes.tables.push((place.clone(), table)),
                    Err(failure) => votes.why.push((place.clone(), failure.to_string())),
                }
                votes.elected().is_some()
            };
            self.panel.ask(&next, greet, &question, heard).await;
            if let Some(table) = votes.elected() {
                self.learned = table.nodes().cloned().collect();
                self.panel.retain(|place| self.learned.contains(place));
                return Ok(table.owner.clone());
            }
            asked.extend(next);
            let named = votes.tables.iter().flat_map(|(_, table)| table.nodes());
            let further: HashSet<&Place> = named.chain(&self.of_url).collect();
            next = further
                .difference(&asked.iter().collect())
                .map(|place| (*place).clone())
                .take(AT_A_TIME)
                .collect();
            if next.is_empty() {
                break;
            }
        }
        // Those that only a liar knows are not kept.
        let known = &votes.known;
        self.panel.retain(|place| known.contains(place));
        Err(votes.refused(self.slot))
    }
}

/// Where a reply sends.
enum Elsewhere<'e> {
    /// The slot is at another node, for good.
    Moved,
    /// The key is not here any more, or not yet there: this node is to be asked.
    Ask(&'e str),
    /// The keys of one command are at two nodes for now.
    TryAgain,
}

fn elsewhere(error: &ServerError) -> Option<Elsewhere<'_>> {
    match error.kind()? {
        ServerErrorKind::Moved => Some(Elsewhere::Moved),
        ServerErrorKind::TryAgain => Some(Elsewhere::TryAgain),
        // "<slot> <host>:<port>"
        ServerErrorKind::Ask => Some(Elsewhere::Ask(error.details()?.split_once(' ')?.1)),
        _ => None,
    }
}

/// Whether a reply is none, as the key is at another node, or on its way there.
#[must_use]
pub fn is_elsewhere(error: &ServerError) -> bool {
    elsewhere(error).is_some()
}

/// The same of an error that a reply came to.
#[must_use]
pub fn is_redirection(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved, TryAgain};
    matches!(error.kind(), ErrorKind::Server(Ask | Moved | TryAgain))
}

/// What a node says of a slot when it is asked for a key that does not exist.
pub(crate) enum Slot {
    /// It has it, or does not say.
    Here,
    /// It is on its way to another node.
    Leaving,
}

/// Whether the node has the slot, by its reply to a question about a key that does not exist.
pub(crate) fn slot_here(reply: &Value) -> Result<Slot, Failure> {
    let Value::ServerError(error) = reply else {
        return Ok(Slot::Here);
    };
    match elsewhere(error) {
        Some(Elsewhere::Moved) => Err(Failure::Unfit(format!(
            "another node has the slot ({})",
            RedisError::from(error.clone()).detail().unwrap_or_default()
        ))),
        Some(_) => Ok(Slot::Leaving),
        // A part of the Cluster that most masters are not in: others may write elsewhere.
        None if error.kind() == Some(ServerErrorKind::ClusterDown) => {
            Err(Failure::Unfit(super::open::describe(&error.clone().into())))
        }
        None => Ok(Slot::Here),
    }
}

/// What became of replies that sent elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirected {
    /// None did.
    No,
    /// The commands were asked where they sent. Of what was read there nobody tells a change: it must not be
    /// kept.
    Followed,
    /// The slot is at another node: a new connection has to be asked.
    Moved,
    /// The slot is on its way to another node, and the commands cannot be carried out until it is there.
    Moving,
}

/// Follows replies that send elsewhere for once (ASK), on a connection of its own.
pub struct Detour {
    endpoint: Endpoint,
    /// The node that is asked.
    at: Mutex<Option<Place>>,
    kept: tokio::sync::Mutex<Option<(Place, Opened)>>,
}

impl Detour {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            at: Mutex::default(),
            kept: tokio::sync::Mutex::default(),
        }
    }

    /// This node is asked from here on.
    pub(crate) fn from(&self, place: &Place) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(place.clone());
    }

    /// Asks elsewhere what the replies say is elsewhere. Each command is one of those that have one key, or
    /// several of one slot.
    pub async fn follow(&self, commands: &Pipeline, replies: &mut [Value], deadline: Instant) -> Redirected {
        let is_cluster = matches!(self.endpoint.topology(), Topology::Cluster(_));
        let mut asked: Vec<(&Cmd, &mut Value, Place)> = Vec::new();
        for (command, reply) in commands.cmd_iter().zip(replies) {
            let Value::ServerError(error) = &*reply else {
                continue;
            };
            let node = match elsewhere(error) {
                None => continue,
                Some(Elsewhere::Moved) => return Redirected::Moved,
                Some(Elsewhere::TryAgain) => return Redirected::Moving,
                // A server by itself has nobody to whom our password is to be shown.
                Some(Elsewhere::Ask(_)) if !is_cluster => continue,
                Some(Elsewhere::Ask(node)) => self.place(node),
            };
            // A WATCH belongs to a connection.
            let is_bound = command
                .args_iter()
                .next()
                .is_some_and(|name| name == Arg::Simple(b"WATCH"));
            let Some(node) = node.filter(|_| !is_bound) else {
                return Redirected::Moving;
            };
            asked.push((command, reply, node));
        }
        let Some((_, _, node)) = asked.first() else {
            return Redirected::No;
        };
        // A slot goes to one node.
        let node = node.clone();
        let commands: Vec<&Cmd> = asked.iter().map(|(command, ..)| *command).collect();
        let Ok(Ok(answers)) = time::timeout_at(deadline, self.ask(node, &commands, deadline)).await else {
            return Redirected::Moving;
        };
        for ((_, reply, _), answer) in asked.into_iter().zip(answers) {
            if matches!(&answer, Value::ServerError(error) if is_elsewhere(error)) {
                return Redirected::Moved;
            }
            *reply = answer;
        }
        Redirected::Followed
    }

    async fn ask(&self, node: Place, commands: &[&Cmd], deadline: Instant) -> Result<Vec<Value>, Failure> {
        let mut pipeline = Pipeline::with_capacity(2 * commands.len());
        for command in commands {
            pipeline.cmd("ASKING");
            pipeline.add_command((*command).clone());
        }
        let mut kept = self.kept.lock().await;
        let opened = match kept.take() {
            Some((place, opened)) if place == node => opened,
            _ => {
                let logins = self.endpoint.logins();
                let greeting = Greeting {
                    names: self.endpoint.names(),
                    tls: self.endpoint.tls(),
                    logins: &logins,
                    listener: None,
                    deadline,
                };
                greeting.place(&node).await?
            }
        };
        let mut connection = opened.connection.clone();
        *kept = Some((node, opened));
        drop(kept);
        let replies = connection.send_packed_commands(&pipeline, 0, pipeline.len());
        let replies = match replies.await {
            Ok(replies) => replies,
            Err(error) => {
                *self.kept.lock().await = None;
                return Err(Failure::Redis(error));
            }
        };
        Ok(replies.into_iter().skip(1).step_by(2).collect())
    }

    /// `host:port`, or `:port` of the same host.
    fn place(&self, node: &str) -> Option<Place> {
        let (host, port) = node.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.trim_matches(['[', ']']) {
            "" => {
                let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
                at.as_ref()?.host.clone()
            }
            host => host.into(),
        };
        Some(Place { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, Votes};
    use crate::connection::endpoint::Place;
    use crate::schema::keys::{KeyNames, slot};
    use redis::Value;
    use std::slice;

    fn at(port: u16) -> Place {
        Place {
            host: "h".into(),
            port,
        }
    }

    /// Ranges of slots, each with its master and its replicas.
    fn reply(ranges: &[(i64, i64, &[i64])]) -> Value {
        let node = |port: &i64| {
            let id = Value::BulkString(b"id".to_vec());
            Value::Array(vec![Value::BulkString(b"h".to_vec()), Value::Int(*port), id])
        };
        let range = |(first, last, nodes): &(i64, i64, &[i64])| {
            let ends = [Value::Int(*first), Value::Int(*last)];
            Value::Array(ends.into_iter().chain(nodes.iter().map(node)).collect())
        };
        Value::Array(ranges.iter().map(range).collect())
    }

    fn table(owner: u16, others: &[u16]) -> Table {
        Table {
            owner: at(owner),
            replicas: Vec::new(),
            others: others.iter().map(|port| at(*port)).collect(),
        }
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT says.
        assert_eq!(slot("{docker-registry}"), Some(1047));
        assert_eq!(slot("a{user1000}b{c}"), Some(3443));
        for none in ["docker-registry", "", "{", "}{", "{}", "a{}b{c}", "{a"] {
            assert_eq!(slot(none), None, "{none}");
        }
    }

    #[test]
    fn all_keys_of_the_schema_have_the_prefixs_slot() {
        let prefix = "{docker-registry}";
        let keys = KeyNames::new(prefix);
        let mut user = String::new();
        keys.write_user("a}b", &mut user);
        let mut group = String::new();
        keys.write_group("{a}", &mut group);
        for key in [
            keys.user("{a}b"),
            user,
            keys.group("team"),
            group,
            keys.passwords(),
            keys.backends(),
            keys.token_use(),
            keys.token_owners(),
            keys.nothing(),
            keys.common(),
        ] {
            assert_eq!(slot(&key), slot(prefix), "{key}");
        }
    }

    #[test]
    fn the_owner_and_the_other_nodes_are_read() {
        let said = reply(&[
            (0, 5, &[3, 4]),
            (10, 10, &[2]),
            (6, 9, &[1, 5]),
            (11, 99, &[3, 4]),
        ]);
        let read = Table::read(&said, &at(9), 7).unwrap();
        assert_eq!(read.owner, at(1));
        assert_eq!(read.replicas, [at(5)]);
        assert_eq!(read.others, [at(2), at(3)]);
        assert!(Table::read(&said, &at(9), 100).is_err());
        for odd in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![Value::Array(vec![Value::Int(0)])]),
        ] {
            assert!(Table::read(&odd, &at(9), 7).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_node_without_a_name_is_where_it_was_asked() {
        for host in [Value::Nil, Value::BulkString(Vec::new())] {
            let node = Value::Array(vec![host, Value::Int(7)]);
            let said = Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(9), node])]);
            assert_eq!(Table::read(&said, &at(1), 3).unwrap().owner, at(7));
        }
    }

    #[test]
    fn a_majority_of_the_masters_is_believed() {
        let mut votes = Votes {
            known: vec![at(2), at(3), at(7)],
            ..Votes::default()
        };
        assert!(votes.elected().is_none());
        votes.tables.push((at(1), table(1, &[2, 3])));
        assert!(votes.elected().is_none(), "one of three");
        // One that is no master has no vote.
        votes.tables.push((at(7), table(1, &[2, 3])));
        assert!(votes.elected().is_none(), "a replica");
        votes.tables.push((at(2), table(4, &[2, 3])));
        votes.tables.push((at(3), table(4, &[2, 3])));
        assert_eq!(votes.elected().map(|table| &table.owner), Some(&at(4)));
    }

    fn votes(known: &[u16], tables: &[(u16, Table)], failed: &[u16]) -> Option<Place> {
        let votes = Votes {
            known: known.iter().map(|port| at(*port)).collect(),
            tables: tables
                .iter()
                .map(|(port, table)| (at(*port), table.clone()))
                .collect(),
            why: failed.iter().map(|port| (at(*port), "gone".to_owned())).collect(),
        };
        votes.elected().map(|table| table.owner.clone())
    }

    #[test]
    fn a_node_alone_is_no_majority_of_those_that_are_known() {
        let alone = (1, table(1, &[]));
        let (second, third) = ((2, table(2, &[1, 3])), (3, table(2, &[1, 3])));
        // Nor with others that it has made up, and that say the same.
        let (fourth, fifth) = ((4, table(1, &[4, 5])), (5, table(1, &[4, 5])));
        let with_others = (1, table(1, &[4, 5]));
        for lie in [&[alone.clone()][..], &[with_others, fourth, fifth]] {
            assert_eq!(
                votes(&[1, 2, 3], lie, &[]),
                None,
                "before the others have said anything"
            );
            assert_eq!(votes(&[1, 2, 3], lie, &[2, 3]), None, "they are cut off");
            let all = [lie, &[second.clone(), third.clone()]].concat();
            assert_eq!(votes(&[1, 2, 3], &all, &[]), Some(at(2)));
        }
        let all = [alone.clone(), second.clone(), third];
        assert_eq!(votes(&[1, 2, 3], &all, &[]), Some(at(2)));
        // Of two, one is enough where the other has failed, not where it has not answered yet, or differs.
        assert_eq!(votes(&[1, 2], slice::from_ref(&alone), &[]), None);
        assert_eq!(votes(&[1, 2], slice::from_ref(&alone), &[2]), Some(at(1)));
        assert_eq!(votes(&[1, 2], &[alone.clone(), second], &[]), None);
        // Whom the URL names alone is believed alone.
        assert_eq!(votes(&[1], &[alone], &[]), Some(at(1)));
    }
}
