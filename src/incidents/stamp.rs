//! Moments of the wall clock as people and programs write them: RFC 3339, in UTC.

/// Year, month and day of that many days since 1970-01-01: proleptic Gregorian calendar, counted in
/// eras of 400 years that begin on the first of March, so that the leap day is the last one.
fn date(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let from_march = days + 719_468;
    let (era, day) = (from_march.div_euclid(ERA), from_march.rem_euclid(ERA));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, of_month)
}

/// `2026-11-22T06:40:12.345Z` of milliseconds since the epoch.
#[must_use]
pub fn rfc3339(millis: i64) -> String {
    let (seconds, milli) = (millis.div_euclid(1_000), millis.rem_euclid(1_000));
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// `2026-11-22 06:40:12` of seconds since the epoch, in UTC.
#[must_use]
pub fn day_and_time(seconds: i64) -> String {
    rfc3339(seconds.saturating_mul(1_000)).get(..19).unwrap_or_default().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // date -u -d @SECONDS
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_799, "2000-02-29 23:59:59"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (1_795_329_612, "2026-11-22 06:40:12"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
        ] {
            assert_eq!(day_and_time(seconds), text);
        }
        assert_eq!(rfc3339(1_795_329_612_045), "2026-11-22T06:40:12.045Z");
    }
}
