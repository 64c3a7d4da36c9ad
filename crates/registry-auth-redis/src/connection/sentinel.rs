//! The master as Redis Sentinel names it.
//!
//! Used by `locate`. The sentinels that the URL names are asked all at once, on connections that are kept,
//! and the master is the one that a majority of them names. Fewer are not believed: they may be cut off
//! together with a master that has been replaced, or mean ill. Invariant: each sentinel has one voice,
//! however often the URL has it; and one that the URL does not have has none, nor is it shown our password.
//! (Whoever may publish on a channel of the master can make sentinels name any number of others.)

use super::endpoint::{Endpoint, Place};
use super::open::{Failure, Target};
use super::panel::{Greet, Panel, in_order};
use redis::Value;
use std::collections::HashMap;
use std::net::IpAddr;

pub(crate) struct Sentinels {
    of_url: Vec<Place>,
    master: Box<str>,
    panel: Panel,
}

/// What one sentinel says.
struct Answer {
    master: Place,
    /// Which sentinel it is by its own words; none where our user may not know.
    id: Option<Vec<u8>>,
}

/// A sentinel that has answered.
struct Voice<'p> {
    /// As the URL has it.
    place: &'p Place,
    server: Option<(IpAddr, u16)>,
    answer: Answer,
}

impl Voice<'_> {
    fn agrees(&self, other: &Self) -> bool {
        self.answer.master == other.answer.master
    }

    /// Whether both are one sentinel. One that means ill may say another's id, which is no secret: so it
    /// matters only between those that name the same master, and takes no voice from another master.
    fn is_same(&self, other: &Self) -> bool {
        self.server == other.server || self.answer.id.is_some() && self.answer.id == other.answer.id
    }
}

impl Sentinels {
    pub(crate) fn new(of_url: &[Place], master: &str) -> Self {
        Self {
            of_url: of_url.to_vec(),
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
        let majority = self.of_url.len() / 2 + 1;
        let (mut voices, mut why, mut leading) = (Vec::<Voice<'_>>::new(), Vec::new(), 0);
        let mut questions = redis::Pipeline::new();
        questions.cmd("SENTINEL").arg("MASTER").arg(&*self.master);
        questions.cmd("SENTINEL").arg("MYID");
        let heard = |place, replies: Result<(Target, Vec<Value>), Failure>| {
            let answer = replies.and_then(|(target, replies)| Ok((server(target), answer(replies)?)));
            match answer.map(|(server, answer)| Voice {
                place,
                server,
                answer,
            }) {
                Ok(voice) => {
                    let agreeing = voices.iter().filter(|other| other.agrees(&voice));
                    match agreeing.clone().find(|other| other.is_same(&voice)) {
                        Some(other) => {
                            why.push((place, format!("it is the same sentinel as {}", other.place)))
                        }
                        None => {
                            leading = leading.max(1 + agreeing.count());
                            voices.push(voice);
                        }
                    }
                }
                Err(failure) => why.push((place, failure.to_string())),
            }
            leading >= majority
        };
        self.panel.ask(&self.of_url, greet, &questions, heard).await;
        let masters = voices.iter().map(|voice| &voice.answer.master);
        let count = |master: &Place| masters.clone().filter(|other| *other == master).count();
        if let Some(master) = masters.clone().find(|master| count(master) >= majority) {
            return Ok(master.clone());
        }
        let named = voices
            .iter()
            .map(|voice| (voice.place, format!("it names {}", voice.answer.master)));
        why.extend(named);
        Err(Failure::Unfit(format!(
            "{leading} of {} sentinels name the same master, and {majority} are needed ({})",
            self.of_url.len(),
            in_order(&self.of_url, why)
        )))
    }
}

/// Where a sentinel is.
fn server(target: Target) -> Option<(IpAddr, u16)> {
    match target {
        // An address in IPv4 can be written in IPv6, too.
        Target::Tcp(address, _) => Some((address.ip().to_canonical(), address.port())),
        Target::Unix(_) => None,
    }
}

/// What a sentinel's replies come to.
fn answer(replies: Vec<Value>) -> Result<Answer, Failure> {
    let mut replies = replies.into_iter();
    let master = match replies.next() {
        Some(Value::ServerError(error)) => return Err(Failure::Redis(error.into())),
        Some(reply) => named(&reply),
        None => None,
    };
    let odd = || Failure::Unfit("its answer is none of a sentinel".to_owned());
    let id = match replies.next() {
        Some(Value::BulkString(id)) => Some(id),
        // Redis before 6.2, or a user who may not ask for that.
        _ => None,
    };
    Ok(Answer {
        master: master.ok_or_else(odd)?,
        id,
    })
}

/// The address among the fields of a master.
fn named(reply: &Value) -> Option<Place> {
    let fields: HashMap<String, String> = redis::from_redis_value_ref(reply).ok()?;
    let place = Place {
        host: fields.get("ip")?.as_str().into(),
        port: fields.get("port")?.parse().ok().filter(|port| *port != 0)?,
    };
    Some(place).filter(|place| !place.host.is_empty())
}
