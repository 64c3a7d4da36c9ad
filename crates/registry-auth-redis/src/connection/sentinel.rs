//! The master as Redis Sentinel names it.
//!
//! Used by `locate`. All sentinels are asked at once, on connections that are kept; what counts is the answer
//! of the highest epoch among those of a majority of the sentinels that the URL names. Fewer are not
//! believed: they may be cut off together with a master that has been replaced. Others that these sentinels
//! know are asked as well, so that the URL may name some that are gone by now.

use super::endpoint::{Endpoint, Place};
use super::open::{Failure, Target};
use super::panel::{Greet, Panel};
use redis::Value;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// Sentinels that are known beside those of the URL.
const LEARNED: usize = 16;

pub(crate) struct Sentinels {
    of_url: Vec<Place>,
    learned: Vec<Place>,
    master: Box<str>,
    panel: Panel,
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
            panel: Panel::default(),
        }
    }

    /// The master by the word of a majority.
    pub(crate) async fn master(&mut self, endpoint: &Endpoint) -> Result<Place, Failure> {
        let logins = endpoint.sentinel_logins();
        let greet = Greet {
            names: endpoint.names(),
            tls: endpoint.tls(),
            logins: &logins,
        };
        let places: Vec<Place> = self.of_url.iter().chain(&self.learned).cloned().collect();
        let majority = self.of_url.len() / 2 + 1;
        let (mut best, mut count) = (None::<Answer>, 0);
        let (mut others, mut why, mut servers) = (Vec::new(), Vec::new(), HashSet::new());
        let mut questions = redis::Pipeline::new();
        questions.cmd("SENTINEL").arg("MASTER").arg(&*self.master);
        questions.cmd("SENTINEL").arg("SENTINELS").arg(&*self.master);
        let heard = |place: &Place, replies: Result<(Target, Vec<Value>), Failure>| {
            let answer = replies.and_then(|(target, replies)| Ok((server(target), answer(replies)?)));
            match answer {
                Ok((server, mut answer)) => {
                    others.append(&mut answer.others);
                    // It may have been asked by its name and by its address.
                    count += usize::from(servers.insert(server));
                    if best.as_ref().is_none_or(|best| answer.epoch > best.epoch) {
                        best = Some(answer);
                    }
                }
                Err(failure) => why.push(format!("{place}: {failure}")),
            }
            count >= majority
        };
        self.panel.ask(&places, greet, &questions, heard).await;
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
        self.panel
            .retain(|place| of_url.contains(place) || learned.contains(place));
    }
}

/// Where a sentinel is: each has one voice, whatever it was called.
fn server(target: Target) -> Option<SocketAddr> {
    match target {
        Target::Tcp(address, _) => Some(address),
        Target::Unix(_) => None,
    }
}

/// What a sentinel's replies come to.
fn answer(replies: Vec<Value>) -> Result<Answer, Failure> {
    let mut replies = replies.into_iter();
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
    Ok(Answer {
        epoch,
        master,
        others,
    })
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
