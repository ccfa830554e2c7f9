//! Durations as people write them: `"30s"`, `"1h 30m"`, or whole seconds.

use std::time::Duration;

/// Unit names, largest first, in milliseconds. The first name of each is the one we write.
const UNITS: [(&[&str], u64); 6] = [
    (&["w", "week", "weeks"], 604_800_000),
    (&["d", "day", "days"], 86_400_000),
    (&["h", "hr", "hour", "hours"], 3_600_000),
    (&["m", "min", "minute", "minutes"], 60_000),
    (&["s", "sec", "second", "seconds"], 1_000),
    (&["ms", "msec"], 1),
];

/// Reads a duration. A number without a unit is whole seconds, as in systemd.time(7).
///
/// # Errors
/// What is wrong with it, behind "cannot read it: ".
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut total: u64 = 0;
    // Each unit once and the largest first: anything else is more likely a slip than a wish.
    let mut from = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() || (letters == 0 && !tail.is_empty()) {
            return Err("it has to be whole numbers with a unit each".to_owned());
        }
        let number: u64 = number.parse().map_err(|_| "the number is too large".to_owned())?;
        let (at, millis) = if unit.is_empty() {
            if from > 0 {
                return Err("the last number lacks its unit".to_owned());
            }
            (4, 1_000)
        } else {
            let at = UNITS.iter().position(|(names, _)| names.contains(&unit)).ok_or_else(|| {
                format!("{} is no unit of time; use ms, s, m, h, d or w", super::error::quoted(unit))
            })?;
            (at, UNITS[at].1)
        };
        if at < from {
            return Err("each unit may come once, the largest first".to_owned());
        }
        from = at + 1;
        total = number
            .checked_mul(millis)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| "the number is too large".to_owned())?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration so that `parse` reads the same, to the millisecond: `1h 30m`, `0s`.
#[must_use]
pub fn show(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    // Weeks are read, but "14d" is what people expect to see again.
    for (names, length) in &UNITS[1..] {
        let count = millis / length;
        millis %= length;
        if count > 0 {
            parts.push(format!("{count}{}", names[0]));
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_durations_in_many_ways() {
        let millis = |text: &str| parse(text).map(|d| d.as_millis());
        assert_eq!(millis("30s"), Ok(30_000));
        assert_eq!(millis("5m"), Ok(300_000));
        assert_eq!(millis("1h 30m"), Ok(5_400_000));
        assert_eq!(millis("1h30min"), Ok(5_400_000));
        assert_eq!(millis(" 250 ms "), Ok(250));
        assert_eq!(millis("14 days"), Ok(1_209_600_000));
        assert_eq!(millis("2w"), Ok(1_209_600_000));
        assert_eq!(millis("30"), Ok(30_000));
        assert_eq!(millis("0s"), Ok(0));
    }

    #[test]
    fn what_is_no_duration_says_why() {
        let why = |text: &str| parse(text).map_err(|e| e.to_string()).unwrap_err();
        assert_eq!(why(""), "it is empty");
        assert_eq!(why("soon"), "it has to be whole numbers with a unit each");
        assert_eq!(why("-5s"), "it has to be whole numbers with a unit each");
        assert_eq!(why("1.5h"), "it has to be whole numbers with a unit each");
        assert_eq!(why("5 parsecs"), "\"parsecs\" is no unit of time; use ms, s, m, h, d or w");
        assert_eq!(why("30m 1h"), "each unit may come once, the largest first");
        assert_eq!(why("1h 30"), "the last number lacks its unit");
        assert_eq!(why("99999999999999999999s"), "the number is too large");
        assert_eq!(why("18446744073709551615s"), "the number is too large");
    }

    proptest! {
        #[test]
        fn shown_durations_read_back(millis in 0u64..u64::MAX / 2) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
