//! Words for people: bounded, without control characters.

use std::time::Duration;

use crate::judge::Observation;
use crate::plain::is_hidden;

/// The most characters that the text of an observation has.
const LIMIT: usize = 200;

/// `text` without control characters, blanks run together, cut to `limit` characters with `…`.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit * 4));
    let mut count = 0;
    let mut blank = true;
    for c in text.chars() {
        let c = if is_hidden(c) || c.is_whitespace() { ' ' } else { c };
        if c == ' ' && blank {
            continue;
        }
        if count + 1 >= limit {
            out.push('…');
            return out;
        }
        blank = c == ' ';
        out.push(c);
        count += 1;
    }
    out.truncate(out.trim_end().len());
    out
}

/// The same observation with its text bounded.
pub(super) fn bounded(mut observation: Observation) -> Observation {
    observation.text = clean(&observation.text, LIMIT);
    observation
}

/// `10 s`, `1.5 s`, `12 ms`, `under 1 ms`.
pub(super) fn length(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0 => "under 1 ms".to_owned(),
        1..1000 => format!("{millis} ms"),
        _ if millis.is_multiple_of(1000) => format!("{} s", millis / 1000),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// `312 MiB`, `1.5 GiB`, `900 KiB`, `12 bytes`; rounded down.
pub(super) fn size(bytes: u64) -> String {
    sized(bytes, 0)
}

/// The same, rounded up: what is over a limit shows so.
pub(super) fn size_up(bytes: u64) -> String {
    sized(bytes, 1)
}

/// `up` is 1 to round up, 0 to round down.
fn sized(bytes: u64, up: u128) -> String {
    let count = |times: u128, shift: u32| {
        let all = u128::from(bytes) * times;
        (all >> shift) + if all.is_multiple_of(1 << shift) { 0 } else { up }
    };
    let (tenths, unit) = match bytes {
        0..0x400 => return plural(usize::try_from(bytes).unwrap_or(0), "byte", "bytes"),
        0x400..0x10_0000 => return format!("{} KiB", count(1, 10)),
        0x10_0000..0x4000_0000 => return format!("{} MiB", count(1, 20)),
        0x4000_0000..0x100_0000_0000 => (count(10, 30), "GiB"),
        _ => (count(10, 40), "TiB"),
    };
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    }
}

/// `1 process`, `2 processes`.
pub(super) fn plural(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bounded_and_plain() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\tc ", 80), "a [31mb c");
        assert_eq!(clean("äöü", 3), "äöü".chars().take(2).collect::<String>() + "…");
        assert_eq!(clean("ab", 3), "ab");
        assert_eq!(clean(&"x".repeat(500), 200).chars().count(), 200);
        assert_eq!(clean("a\u{202e}b", 80), "a b");
    }

    #[test]
    fn lengths_read_well() {
        for (micros, text) in
            [(0, "under 1 ms"), (12_400, "12 ms"), (10_000_000, "10 s"), (1_500_000, "1.5 s")]
        {
            assert_eq!(length(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, down, up) in [
            (0, "0 bytes", "0 bytes"),
            (1, "1 byte", "1 byte"),
            (1023, "1023 bytes", "1023 bytes"),
            (2048, "2 KiB", "2 KiB"),
            (2049, "2 KiB", "3 KiB"),
            (312 << 20, "312 MiB", "312 MiB"),
            ((312 << 20) + 1, "312 MiB", "313 MiB"),
            (1 << 30, "1 GiB", "1 GiB"),
            ((3 << 29) + (1 << 20), "1.5 GiB", "1.6 GiB"),
            (5 << 40, "5 TiB", "5 TiB"),
        ] {
            assert_eq!((size(bytes).as_str(), size_up(bytes).as_str()), (down, up), "{bytes}");
        }
        assert!(size(u64::MAX).ends_with("TiB") && size_up(u64::MAX).ends_with("TiB"));
    }
}
