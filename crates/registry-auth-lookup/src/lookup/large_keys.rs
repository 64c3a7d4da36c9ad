//! Keys whose values were too large to be read, and are left out of questions for a while: to read them to
//! their end has all other questions wait, and anybody can have a user's record asked for.
//!
//! Used by `lookup`. Bounded: of more keys than [`KEYS`] each is asked for again.

use redis::{Arg, Cmd, Pipeline, ServerError, Value};
use registry_auth_redis::connection::open::cut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long.
const PAUSE: Duration = Duration::from_secs(10);
const KEYS: usize = 64;

#[derive(Default)]
pub(crate) struct LargeKeys(Mutex<Keys>);

/// Each, since when, and what is said of it. So few are found as fast in any order.
type Keys = Vec<(Box<[u8]>, Instant, ServerError)>;

/// A pipeline without some of its commands, and what these are answered with.
pub(crate) struct Rest {
    pub(crate) pipeline: Arc<Pipeline>,
    /// How many replies to it count.
    count: usize,
    /// By the places in the whole pipeline, in order.
    left_out: Vec<(usize, ServerError)>,
}

impl Rest {
    /// The replies to the whole pipeline.
    pub(crate) fn complete(self, replies: &mut Vec<Value>) {
        replies.truncate(self.count);
        for (place, error) in self.left_out {
            replies.insert(place.min(replies.len()), Value::ServerError(error));
        }
    }
}

impl LargeKeys {
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be asked in the place of a pipeline; `None` for nearly all, of which nothing is left out.
    pub(crate) fn rest(&self, pipeline: &Pipeline) -> Option<Rest> {
        let keys = self.keys();
        if keys.is_empty() {
            return None;
        }
        let is_known = |(place, command): (usize, &Cmd)| {
            let asked = key(command)?;
            let (_, since, error) = keys.iter().find(|(key, ..)| **key == *asked)?;
            (since.elapsed() < PAUSE).then(|| (place, error.clone()))
        };
        let left_out: Vec<_> = pipeline.cmd_iter().enumerate().filter_map(is_known).collect();
        drop(keys);
        if left_out.is_empty() {
            return None;
        }
        let mut rest = Pipeline::with_capacity(pipeline.len());
        for (place, command) in pipeline.cmd_iter().enumerate() {
            if left_out
                .binary_search_by_key(&place, |(place, _)| *place)
                .is_err()
            {
                rest.add_command(command.clone());
            }
        }
        let count = rest.len();
        if rest.is_empty() {
            // That Redis is there is proved by any answer.
            rest.cmd("PING");
        }
        Some(Rest {
            pipeline: Arc::new(rest),
            count,
            left_out,
        })
    }

    /// Has each reply that is too large be nothing but the error that says so, and notes its key.
    pub(crate) fn note(&self, pipeline: &Pipeline, replies: &mut [Value]) {
        for (place, reply) in replies.iter_mut().enumerate() {
            let Some(error) = cut(reply).cloned() else {
                continue;
            };
            if let Some(key) = pipeline.cmd_iter().nth(place).and_then(key) {
                let mut keys = self.keys();
                keys.retain(|(other, since, _)| since.elapsed() < PAUSE && **other != *key);
                if keys.len() < KEYS {
                    keys.push((key.into(), Instant::now(), error.clone()));
                }
            }
            *reply = Value::ServerError(error);
        }
    }
}

/// The key of which a command asks for all; not of one that asks for some fields, as others may be smaller.
fn key(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter();
    match (words.next(), words.next()) {
        (Some(Arg::Simple(b"HGETALL" | b"LRANGE")), Some(Arg::Simple(key))) => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS, LargeKeys};
    use redis::{Pipeline, Value};

    /// A reply that was cut, as it comes from the wire.
    fn cut() -> Value {
        redis::parse_redis_value(b"*2\r\n+a\r\n-TOOLARGE it is\r\n").unwrap()
    }

    fn is_error(reply: &Value) -> bool {
        matches!(reply, Value::ServerError(error) if error.code() == "TOOLARGE")
    }

    fn questions(keys: &[&str]) -> Pipeline {
        let mut questions = Pipeline::new();
        for key in keys {
            questions.cmd("HGETALL").arg(*key);
        }
        questions
    }

    #[test]
    fn a_key_that_was_too_large_is_left_out_and_the_others_are_asked_for() {
        let known = LargeKeys::default();
        let all = questions(&["a", "b", "c"]);
        assert!(known.rest(&all).is_none());
        let mut replies = [Value::Int(1), cut(), Value::Int(3)];
        known.note(&all, &mut replies);
        assert!(is_error(&replies[1]), "{replies:?}");
        let rest = known.rest(&questions(&["b", "c", "b", "d"])).unwrap();
        assert_eq!(
            rest.pipeline.get_packed_pipeline(),
            questions(&["c", "d"]).get_packed_pipeline()
        );
        let mut replies = vec![Value::Int(3), Value::Int(4)];
        rest.complete(&mut replies);
        assert!(is_error(&replies[0]) && is_error(&replies[2]), "{replies:?}");
        assert_eq!((&replies[1], &replies[3]), (&Value::Int(3), &Value::Int(4)));
        // Where nothing is left the answer to something else is left out.
        let rest = known.rest(&questions(&["b"])).unwrap();
        assert_eq!(rest.pipeline.len(), 1);
        let mut replies = vec![Value::Okay];
        rest.complete(&mut replies);
        assert!(matches!(&replies[..], [error] if is_error(error)), "{replies:?}");
    }

    #[test]
    fn some_fields_of_a_key_are_asked_for_again_and_the_keys_are_bounded() {
        let known = LargeKeys::default();
        let mut fields = Pipeline::new();
        fields.cmd("HMGET").arg("passwords").arg("a");
        known.note(&fields, &mut [cut()]);
        assert!(known.rest(&fields).is_none());
        for number in 0..2 * KEYS {
            known.note(&questions(&[&number.to_string()]), &mut [cut()]);
        }
        assert_eq!(known.keys().len(), KEYS);
    }
}
