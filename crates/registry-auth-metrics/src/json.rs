//! The numbers as JSON, for scripts: one object, whose members have the names of the families.

use crate::counters::CLASSES;
use crate::counters::first_of;
use crate::family::{self, Durations, Family, Kind};
use crate::snapshot::Snapshot;
use registry_auth::RequestResult;
use serde_json::{Map, Value, json};

pub(crate) fn json(all: &Snapshot<'_>) -> String {
    let mut object = Map::new();
    for family in family::families(all) {
        let value = match family.name {
            "requests" => requests(all),
            _ => value(&family),
        };
        object.insert(family.name.to_owned(), value);
    }
    object.insert("routes".to_owned(), routes(all));
    for durations in family::durations(all) {
        object.insert(durations.name.to_owned(), histogram(&durations));
    }
    format!("{}\n", Value::Object(object))
}

/// A number, an object by the one label, or, of labels alone, these.
fn value(family: &Family<'_>) -> Value {
    let one = family.samples.first();
    match (family.kind, one) {
        (Kind::Info, Some(sample)) => {
            let labels = sample.labels.iter();
            labels
                .map(|(name, value)| ((*name).to_owned(), Value::from(&**value)))
                .collect()
        }
        (_, Some(sample)) if sample.labels.is_empty() => sample.value.into(),
        _ => {
            let labelled = |sample: &family::Sample<'_>| {
                let (_, label) = sample.labels.first()?;
                Some((label.to_string(), Value::from(sample.value)))
            };
            family.samples.iter().filter_map(labelled).collect()
        }
    }
}

fn requests(all: &Snapshot<'_>) -> Value {
    let results = RequestResult::ALL.iter();
    results
        .map(|result| (result.as_str().to_owned(), Value::from(all.decisions(*result))))
        .collect()
}

/// The same by route, action and result, without what never was.
fn routes(all: &Snapshot<'_>) -> Value {
    let rows = CLASSES.iter().enumerate().filter_map(|(class, (kind, action))| {
        let results = RequestResult::ALL.iter().filter_map(|result| {
            let count = all.counter(first_of(class) + *result as usize);
            (count > 0).then(|| (result.as_str().to_owned(), count.into()))
        });
        let results: Map<String, Value> = results.collect();
        let action = action.map(|action| action.as_str());
        (!results.is_empty())
            .then(|| json!({ "route": kind.as_str(), "action": action, "requests": results }))
    });
    rows.collect()
}

fn histogram(durations: &Durations) -> Value {
    let buckets = durations.buckets.iter().filter_map(|(bound, count)| {
        let bound = (*bound)?;
        Some((family::seconds(bound.into()), Value::from(*count)))
    });
    let buckets: Map<String, Value> = buckets.collect();
    let sum = durations.sum as f64 / 1e6;
    json!({ "buckets": buckets, "count": durations.count(), "sum": sum })
}
