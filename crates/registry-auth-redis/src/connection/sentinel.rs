//! The master as Redis Sentinel names it.
//!
//! Used by `locate`. All sentinels are asked at once, on connections that are kept; what counts is the answer
//! of the highest epoch among those of a majority of the sentinels that the URL names. Fewer are not
//! believed: they may be cut off together with a master that has been replaced. Others that these sentinels
//! know are asked as well, so that the URL may name some that are gone by now.

use super::endpoint::{Endpoint, Place};
use super::open::{Failure, Greeting, Opened};
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{self, Instant};

/// For a sentinel to answer in.
const ANSWER: Duration = Duration::from_millis(300);
/// For the others to answer in when a majority has: the one that leads a failover knows first.
const OTHERS: Duration = Duration::from_millis(30);
/// Sentinels that are known beside those of the URL.
const LEARNED: usize = 16;

pub(crate) struct Sentinels {
    of_url: Vec<Place>,
    learned: Vec<Place>,
    master: Box<str>,
    connections: HashMap<Place, Opened>,
}

/// What one sentinel says.
struct Answer {
    epoch: u64,
    master: Place,
    /// The other sentinels.
    others: Vec<Place>,
}

impl Sentinels {
    pub(crate) fn new(of_url: &[Place], master: &str) -> Self {
        Self {
            of_url: of_url.to_vec(),
            learned: Vec::new(),
            master: master.into(),
            connections: HashMap::new(),
        }
    }

    /// The master by the word of a majority.
    pub(crate) async fn master(&mut self, endpoint: &Endpoint) -> Result<Place, Failure> {
        let deadline = Instant::now() + ANSWER;
        let logins = endpoint.sentinel_logins();
        let greeting = Greeting {
            names: endpoint.names(),
            tls: endpoint.tls(),
            logins: &logins,
            listener: None,
            deadline,
        };
        let places: Vec<Place> = self.of_url.iter().chain(&self.learned).cloned().collect();
        let mut asked: FuturesUnordered<_> = places
            .into_iter()
            .map(|place| {
                let kept = self.connections.remove(&place);
                let (greeting, master) = (&greeting, &self.master);
                async move {
                    let answer = time::timeout_at(deadline, ask(greeting, &place, kept, master)).await;
                    (place, answer.unwrap_or(Err(Failure::TimedOut)))
                }
            })
            .collect();
        let majority = self.of_url.len() / 2 + 1;
        let (mut best, mut count, mut until) = (None::<Answer>, 0, deadline + OTHERS);
        let (mut others, mut why) = (Vec::new(), Vec::new());
        while let Ok(Some((place, answer))) = time::timeout_at(until, asked.next()).await {
            match answer {
                Ok((opened, mut answer)) => {
                    self.connections.insert(place, opened);
                    others.append(&mut answer.others);
                    count += 1;
                    if count == majority {
                        until = until.min(Instant::now() + OTHERS);
                    }
                    if best.as_ref().is_none_or(|best| answer.epoch > best.epoch) {
                        best = Some(answer);
                    }
                }
                Err(failure) => why.push(format!("{place}: {failure}")),
            }
        }
        drop(asked);
        self.learn(others);
        match best {
            Some(best) if count >= majority => Ok(best.master),
            _ => Err(Failure::Unfit(format!(
                "{count} of {} sentinels name a master, and {majority} are needed ({})",
                self.of_url.len(),
                why.join("; ")
            ))),
        }
    }

    /// Returns when the sentinels name another master than this.
    pub(crate) async fn other_than(&mut self, place: &Place, endpoint: &Endpoint, pause: Duration) -> Place {
        loop {
            time::sleep(pause).await;
            match self.master(endpoint).await {
                Ok(master) if master != *place => return master,
                _ => {}
            }
        }
    }

    fn learn(&mut self, others: Vec<Place>) {
        if others.is_empty() {
            return;
        }
        self.learned.clear();
        for place in others {
            if self.learned.len() < LEARNED && !self.of_url.contains(&place) && !self.learned.contains(&place)
            {
                self.learned.push(place);
            }
        }
        let (of_url, learned) = (&self.of_url, &self.learned);
        self.connections
            .retain(|place, _| of_url.contains(place) || learned.contains(place));
    }
}

/// Asks a sentinel, on the connection that is kept to it, if there is one.
async fn ask(
    greeting: &Greeting<'_>,
    place: &Place,
    kept: Option<Opened>,
    master: &str,
) -> Result<(Opened, Answer), Failure> {
    let opened = match kept {
        Some(opened) => opened,
        None => greeting.place(place).await?,
    };
    let mut questions = redis::Pipeline::new();
    questions.cmd("SENTINEL").arg("MASTER").arg(master);
    questions.cmd("SENTINEL").arg("SENTINELS").arg(master);
    let mut connection = opened.connection.clone();
    let replies = connection.send_packed_commands(&questions, 0, 2).await;
    let mut replies = replies.map_err(Failure::Redis)?.into_iter();
    let answer = match replies.next() {
        Some(Value::ServerError(error)) => return Err(Failure::Redis(error.into())),
        Some(reply) => named(&reply),
        None => None,
    };
    let odd = || Failure::Unfit("its answer is none of a sentinel".to_owned());
    let (master, epoch) = answer.ok_or_else(odd)?;
    let others = match replies.next() {
        Some(Value::Array(others)) => others.iter().filter_map(named).map(|(place, _)| place).collect(),
        // Not every user may ask for that.
        _ => Vec::new(),
    };
    let answer = Answer {
        epoch,
        master,
        others,
    };
    Ok((opened, answer))
}

/// Address and epoch among the fields of a master or a sentinel.
fn named(reply: &Value) -> Option<(Place, u64)> {
    let fields: HashMap<String, String> = redis::from_redis_value_ref(reply).ok()?;
    let place = Place {
        host: fields.get("ip")?.as_str().into(),
        port: fields.get("port")?.parse().ok().filter(|port| *port != 0)?,
    };
    let epoch = fields.get("config-epoch").and_then(|epoch| epoch.parse().ok());
    Some((place, epoch.unwrap_or(0))).filter(|(place, _)| !place.host.is_empty())
}
