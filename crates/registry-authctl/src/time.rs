//! The clock, and dates for people: the one place of the tool that knows what time it is.
//!
//! Used for access tokens. Dates are of UTC and of the Gregorian calendar, as `date -u` has them.

use crate::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const CYCLE: u64 = 146_097;
/// From the first of March of the year 0 to 1970.
const BEFORE: u64 = 719_468;

/// Seconds since 1970.
pub(crate) fn now() -> Result<u64, Error> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| since.as_secs())
        .map_err(|_| Error::Io(std::io::Error::other("this machine's clock is before 1970")))
}

/// `2026-03-01`, the day of this second since 1970.
pub(crate) fn date(seconds: u64) -> String {
    // Years begin in March here, so that the day that is sometimes there is a year's last.
    let days = seconds / DAY + BEFORE;
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * cycle + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-03-01 12:30 UTC`, of this second since 1970.
pub(crate) fn minute(seconds: u64) -> String {
    let minutes = seconds % DAY / 60;
    format!("{} {:02}:{:02} UTC", date(seconds), minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::{DAY, date, minute};

    #[test]
    fn dates_are_those_of_date_1() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (DAY - 1, "1970-01-01"),
            (DAY, "1970-01-02"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (978_220_800, "2000-12-31"),
            (1_735_689_599, "2024-12-31"),
            (1_800_000_000, "2027-01-15"),
            (4_107_542_400, "2100-03-01"),
            (4_107_542_399, "2100-02-28"),
            (253_402_300_799, "9999-12-31"),
            (253_402_300_800, "10000-01-01"),
        ] {
            assert_eq!(date(seconds), day, "{seconds}");
        }
        assert_eq!(minute(1_800_000_000), "2027-01-15 08:00 UTC");
        // What somebody wrote by hand may be anything.
        date(u64::MAX);
    }

    #[test]
    fn every_day_of_800_years_follows_the_day_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..292_194 {
            assert_eq!(date(days * DAY), format!("{year:04}-{month:02}-{day:02}"));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
