//! The page for people: one glance, no script, light and dark, readable on a phone.
//!
//! Guarantee: what is not ours (names of zones and servers) is escaped.

use crate::counters::CacheState;
use crate::snapshot::{Changes, Snapshot};
use registry_auth::RequestResult;
use std::fmt::Write;

/// How often a browser asks again, in seconds.
const REFRESH: u32 = 5;

pub(crate) const STYLE: &str = include_str!("page.css");

pub(crate) fn page(all: &Snapshot<'_>) -> String {
    let mut text = String::with_capacity(8192);
    // Writing to a string cannot fail.
    let _ = write(&mut text, all);
    text
}

fn write(text: &mut String, all: &Snapshot<'_>) -> std::fmt::Result {
    write!(
        text,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH}\"><title>registry auth</title>\n\
         <style>{}</style></head><body>\n<h1>registry auth {}</h1>\n",
        STYLE.trim_end(),
        escaped(all.version)
    )?;
    let running = all.now.saturating_sub(all.since);
    let workers = all.gauges.workers;
    writeln!(
        text,
        "<p>nginx {} · {} · counting since {} UTC ({})</p>",
        escaped(all.nginx),
        counted(workers, "worker"),
        date(all.since),
        duration(running)
    )?;
    cells(text, all, running)?;
    decisions(text, all)?;
    zone(text, all)?;
    text.push_str(
        "<p>JSON: <a href=\"?format=json\">?format=json</a> · \
         Prometheus: <a href=\"?format=prometheus\">?format=prometheus</a></p>\n</body></html>\n",
    );
    Ok(())
}

/// The numbers that are looked at first.
fn cells(text: &mut String, all: &Snapshot<'_>, running: u64) -> std::fmt::Result {
    let redis = &all.redis;
    let (class, word) = match redis.changes {
        // The gate is on nowhere.
        _ if redis.server.is_empty() => ("", "not asked"),
        Changes::Unreachable => ("bad", "unreachable"),
        Changes::Tracking | Changes::PlainTracking => ("ok", "reachable"),
        Changes::Channel | Changes::Expiry => ("warn", "reachable"),
    };
    // Where the URL names one server, by its address or socket, that says nothing new.
    let mut hosts = redis.server.split(['/', '@', ',']);
    let is_named = hosts.any(|host| host == redis.address) && !redis.server.contains(',');
    let address = match redis.address {
        address if is_named || address.is_empty() || address.starts_with('/') => String::new(),
        address => format!("<br>connected to {}", escaped(address)),
    };
    text.push_str("<div class=\"s\">");
    write!(
        text,
        "<div><small>Redis</small><b class=\"{class}\">{word}</b><small>{}{address}<br>{}</small></div>",
        escaped(redis.server),
        redis.changes.describe()
    )?;
    let total = all.all_decisions();
    let tenths = total.saturating_mul(10) / running.max(1);
    let rate = format!("{}.{} a second", grouped(tenths / 10), tenths % 10);
    cell(text, "decisions", "", &grouped(total), &rate)?;
    let asked: u64 = CacheState::ALL.iter().map(|state| all.cached(*state)).sum();
    let hits = all.cached(CacheState::Hit);
    let note = format!("{} of {}", grouped(hits), grouped(asked));
    cell(text, "answered from the cache", "", &percent(hits, asked), &note)?;
    let unavailable = all.decisions(RequestResult::Unavailable);
    let class = if unavailable > 0 { " class=\"bad\"" } else { "" };
    cell(text, "refused without Redis", class, &grouped(unavailable), "503")?;
    cell(
        text,
        "throttled",
        "",
        &grouped(all.decisions(RequestResult::Throttled)),
        "429",
    )?;
    text.push_str("</div>\n");
    Ok(())
}

fn cell(text: &mut String, title: &str, class: &str, value: &str, note: &str) -> std::fmt::Result {
    write!(
        text,
        "<div><small>{title}</small><b{class}>{value}</b><small>{note}</small></div>"
    )
}

/// A bar for each result.
fn decisions(text: &mut String, all: &Snapshot<'_>) -> std::fmt::Result {
    text.push_str("<h2>Decisions</h2>\n<table>\n");
    let total = all.all_decisions();
    for result in RequestResult::ALL {
        let count = all.decisions(result);
        let (class, note) = explained(result);
        let bar = match count {
            0 => String::new(),
            // What there is can be seen, however little it is.
            _ => format!(
                "<div class=\"b{class}\" style=\"width:{}%\"></div>",
                (u128::from(count) * 100).div_ceil(u128::from(total.max(1)))
            ),
        };
        writeln!(
            text,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"g\">{bar}</td>\
             <td class=\"h\">{note}</td></tr>",
            result.as_str(),
            grouped(count)
        )?;
    }
    text.push_str("</table>\n");
    Ok(())
}

/// The class of a result's bar, and what the result means.
fn explained(result: RequestResult) -> (&'static str, &'static str) {
    match result {
        RequestResult::Granted => ("", "let through with a right"),
        RequestResult::Anonymous => ("", "what is public, pings"),
        RequestResult::Unauthenticated => (" w", "401: no or wrong password, old token"),
        RequestResult::Denied => (" r", "403: known, but without the right"),
        RequestResult::Invalid => (" r", "400, 404: no legal path or name"),
        RequestResult::Throttled => (" r", "429: too many at once"),
        RequestResult::Unavailable => (" r", "503: no Redis, or no registry"),
    }
}

fn zone(text: &mut String, all: &Snapshot<'_>) -> std::fmt::Result {
    let zone = &all.zone;
    let used = zone.size.saturating_sub(zone.free);
    let share = used.saturating_mul(100) / zone.size.max(1);
    writeln!(
        text,
        "<h2>Cache zone “{}”</h2>\n<p>{} of {} MiB in use · {} · {} · {} made room for others</p>\n\
         <meter min=\"0\" max=\"100\" value=\"{share}\" high=\"90\">{share}&nbsp;%</meter>",
        escaped(zone.name),
        mebibytes(used),
        mebibytes(zone.size),
        counted(zone.records, "record"),
        counted(zone.negative_entries, "unknown or failed login"),
        grouped(zone.evicted)
    )
}

/// A number and its noun, which gets an `s` where there is more than one, or none.
fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with commas: `18,224`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `98.7 %`, rounded down, so that 100 means all.
fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => {
            let thousandths = u128::from(part) * 1000 / u128::from(whole);
            format!("{}.{}&nbsp;%", thousandths / 10, thousandths % 10)
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// `3 d 4 h`, `1 h 12 min`, `5 min 3 s`, `12 s`.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", grouped(days), hours % 24),
    }
}

/// `2026-11-28 03:31`, of seconds since 1970, in UTC (H. Hinnant, `civil_from_days`).
pub(crate) fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}",
        rest / 3600,
        rest / 60 % 60
    )
}

pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::{date, duration, grouped, percent};

    #[test]
    fn numbers_as_people_read_them() {
        let grouping = [0, 999, 1000, 18_224, 1_234_567].map(grouped);
        assert_eq!(grouping, ["0", "999", "1,000", "18,224", "1,234,567"]);
        assert_eq!(
            [percent(0, 0), percent(17_987, 18_224), percent(3, 3)],
            ["–", "98.6&nbsp;%", "100.0&nbsp;%"]
        );
        assert_eq!(percent(999_999, 1_000_000), "99.9&nbsp;%");
        let times = [0, 59, 60, 4320, 86_399, 86_400, 270_000].map(duration);
        assert_eq!(
            times,
            [
                "0 s",
                "59 s",
                "1 min 0 s",
                "1 h 12 min",
                "23 h 59 min",
                "1 d 0 h",
                "3 d 3 h"
            ]
        );
    }

    #[test]
    fn dates_of_the_calendar() {
        let dates = [
            0,
            951_782_399,
            951_782_400,
            1_709_208_000,
            1_795_836_660,
            4_102_444_800,
        ]
        .map(date);
        let expected = [
            "1970-01-01 00:00",
            "2000-02-28 23:59",
            "2000-02-29 00:00",
            "2024-02-29 12:00",
            "2026-11-28 03:31",
            "2100-01-01 00:00",
        ];
        assert_eq!(dates, expected);
    }
}
