//! Sizes as people write them: `"100M"`, `"1.5G"`, in powers of 1024 as systemd reads them.

/// Reads a size in bytes. Decimals are exact to the byte, rounded down.
///
/// # Errors
/// What is wrong with it, behind "cannot read it: ".
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        unit => {
            return Err(format!("{} is no unit of size; use K, M, G or T", super::error::quoted(unit)));
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err("it has to be a number with a unit".to_owned());
    }
    if fraction.len() > 9 {
        return Err("more than nine decimals".to_owned());
    }
    let too_large = || "the number is too large".to_owned();
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| too_large())? };
    let bytes = whole
        .checked_mul(scale)
        .and_then(|all| all.checked_add(fraction))
        .and_then(|all| all.checked_mul(1 << shift))
        .ok_or_else(too_large)?
        / scale;
    u64::try_from(bytes).map_err(|_| too_large())
}

/// Writes a size so that `parse` reads the same: the largest unit that divides it.
#[must_use]
pub fn show(bytes: u64) -> String {
    for (unit, shift) in [("T", 40), ("G", 30), ("M", 20), ("K", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse("100M"), Ok(104_857_600));
        assert_eq!(parse("1.5G"), Ok(1_610_612_736));
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("12 K"), Ok(12_288));
    }

    #[test]
    fn what_is_no_size_says_why() {
        assert_eq!(parse("100MB").unwrap_err(), "\"MB\" is no unit of size; use K, M, G or T");
        assert_eq!(parse("").unwrap_err(), "it has to be a number with a unit");
        assert_eq!(parse("1.2.3M").unwrap_err(), "it has to be a number with a unit");
        assert_eq!(parse("99999999999T").unwrap_err(), "the number is too large");
    }

    proptest! {
        #[test]
        fn shown_sizes_read_back(bytes: u64) {
            prop_assert_eq!(parse(&show(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
