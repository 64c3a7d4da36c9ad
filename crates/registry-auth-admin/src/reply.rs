//! Replies of Redis in either protocol, as the rest of this crate reads them.

use redis::Value;

/// Names and values of a reply to HGETALL, in either protocol.
pub(crate) fn fields(reply: &Value) -> Vec<(&[u8], &Value)> {
    let pairs: Vec<(&Value, &Value)> = match reply {
        Value::Array(items) => items
            .chunks_exact(2)
            .filter_map(|pair| Some((pair.first()?, pair.last()?)))
            .collect(),
        Value::Map(items) => items.iter().map(|(name, value)| (name, value)).collect(),
        _ => Vec::new(),
    };
    pairs
        .into_iter()
        .filter_map(|(name, value)| match name {
            Value::BulkString(name) => Some((name.as_slice(), value)),
            _ => None,
        })
        .collect()
}
