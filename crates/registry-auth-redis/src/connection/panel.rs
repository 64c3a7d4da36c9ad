//! Servers that are asked the same, all at once, on connections that are kept: the sentinels, or the nodes of
//! a Cluster.
//!
//! Used by `sentinel` and `cluster`; what was wrong with each is put in order for `locate`, too.

use super::endpoint::Place;
use super::names::Names;
use super::open::{Failure, Greeting, Opened, Target};
use super::tls::Tls;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{Pipeline, RedisConnectionInfo, Value};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{self, Instant};

/// For each of them to answer in.
const ANSWER: Duration = Duration::from_millis(300);
/// For the others to answer in when enough have: the one that leads a failover knows first.
const OTHERS: Duration = Duration::from_millis(30);

/// The connections that are kept.
#[derive(Default)]
pub(crate) struct Panel {
    connections: HashMap<Place, Opened>,
}

/// How they are greeted.
pub(crate) struct Greet<'g> {
    pub(crate) names: &'g Names,
    pub(crate) tls: Option<&'g Tls>,
    pub(crate) logins: &'g [RedisConnectionInfo],
}

impl Panel {
    /// Asks all of `places`. `heard` is called with the replies of each, and with the server that they are
    /// of: two places may be one. It says whether these are enough.
    pub(crate) async fn ask<'p>(
        &mut self,
        places: &'p [Place],
        greet: Greet<'_>,
        questions: &Pipeline,
        mut heard: impl FnMut(&'p Place, Result<(Target, Vec<Value>), Failure>) -> bool,
    ) {
        let deadline = Instant::now() + ANSWER;
        let greeting = Greeting {
            names: greet.names,
            tls: greet.tls,
            logins: greet.logins,
            listener: None,
            deadline,
        };
        let mut asked: FuturesUnordered<_> = places
            .iter()
            .map(|place| {
                let kept = self.connections.remove(place);
                let greeting = &greeting;
                let answer = async move {
                    let opened = match kept {
                        Some(opened) => opened,
                        None => greeting.place(place).await?,
                    };
                    let mut connection = opened.connection.clone();
                    let replies = connection.send_packed_commands(questions, 0, questions.len());
                    let replies = replies.await.map_err(Failure::Redis)?;
                    Ok((opened, replies))
                };
                async move {
                    let answer = time::timeout_at(deadline, answer).await;
                    (place, answer.unwrap_or(Err(Failure::TimedOut)))
                }
            })
            .collect();
        let (mut until, mut is_enough) = (deadline + OTHERS, false);
        while let Ok(Some((place, answer))) = time::timeout_at(until, asked.next()).await {
            let answer = answer.map(|(opened, replies)| {
                let target = opened.target.clone();
                // One that refuses may take another log-in.
                if !matches!(replies.first(), Some(Value::ServerError(_))) {
                    self.connections.insert(place.clone(), opened);
                }
                (target, replies)
            });
            if heard(place, answer) && !is_enough {
                is_enough = true;
                until = until.min(Instant::now() + OTHERS);
            }
        }
    }

    /// Gives up the connections to all others.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Place) -> bool) {
        self.connections.retain(|place, _| keep(place));
    }
}

/// What is the matter with each of some places, in their order: who answers first is chance, and no new
/// reason for a line in the log.
pub(crate) fn in_order(places: &[Place], mut why: Vec<(&Place, String)>) -> String {
    why.sort_by_key(|(place, _)| places.iter().position(|other| other == *place));
    let why: Vec<String> = why
        .into_iter()
        .map(|(place, why)| format!("{place}: {why}"))
        .collect();
    why.join("; ")
}

#[cfg(test)]
mod tests {
    use super::{Place, in_order};

    #[test]
    fn who_answers_first_makes_no_other_reason() {
        let places = ["a", "b", "c"].map(|host| Place {
            host: host.into(),
            port: 1,
        });
        let [a, b, c] = places.each_ref().map(|place| (place, "no".to_owned()));
        let orders = [[a.clone(), b.clone(), c.clone()], [c, a, b]];
        for why in orders {
            assert_eq!(in_order(&places, why.into()), "a:1: no; b:1: no; c:1: no");
        }
    }
}
