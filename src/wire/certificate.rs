//! How long a certificate is valid (RFC 5280, 4.1.2.5).
//!
//! Reads that one field and nothing else: whether to trust the certificate is decided by the
//! library that speaks TLS, which does not tell this date of one that it accepts.

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds from `now` (a Unix time) until the certificate in DER is no longer valid; negative when it
/// is not valid any more, or not yet. None when it cannot be read.
pub(super) fn remaining(der: &[u8], now: i64) -> Option<i64> {
    let (from, until) = validity(der)?;
    Some(if now < from { now - from } else { until - now })
}

/// notBefore and notAfter, as Unix times.
fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = next(fields)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields = next(fields)?.2;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let (tag, from, rest) = next(validity)?;
    let from = time(tag, from)?;
    let (tag, until, _) = next(rest)?;
    Some((from, time(tag, until)?))
}

/// The contents of the first element, which has to be of that kind, and what follows it.
fn element(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = next(bytes)?;
    (tag == wanted).then_some((contents, rest))
}

/// The first element: its tag, its contents, and what follows it (X.690, 8.1).
fn next(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let (digits, after) = rest.split_at_checked(length - 0x80)?;
        if digits.is_empty() || digits.len() > 3 {
            return None;
        }
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the only forms that certificates may have.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let short = number(&digits[..2]);
            (if short < 50 { 2000 + short } else { 1900 + short }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| number(&rest[at..at + 2]);
    let days = days(year, part(0), part(2))?;
    Some(((days * 24 + part(4)) * 60 + part(6)) * 60 + part(8))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let before = BEFORE.get(usize::try_from(month - 1).ok()?)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let past = year - 1;
    let leaps = past / 4 - past / 100 + past / 400 - 477;
    let own = i64::from(leap && month > 2);
    (1..=31).contains(&day).then_some((year - 1970) * 365 + leaps + before + own + day - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_both_kinds() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (UTC_TIME, "000301120000Z", 951_912_000),
            (UTC_TIME, "240229000000Z", 1_709_164_800),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(time(tag, text.as_bytes()), Some(seconds), "{text}");
        }
        for text in ["", "Z", "700101000000", "70010100000aZ", "701301000000Z", "700100000000Z"] {
            assert_eq!(time(UTC_TIME, text.as_bytes()), None, "{text}");
        }
    }

    fn der() -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["shop.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_real_certificate() {
        let der = der();
        let (from, until) = (1_709_164_800, 2_556_144_000);
        assert_eq!(validity(&der), Some((from, until)));
        assert_eq!(remaining(&der, until - 5), Some(5));
        assert_eq!(remaining(&der, until + 5), Some(-5));
        assert_eq!(remaining(&der, from - 5), Some(-5));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = remaining(&bytes, 0);
        }

        #[test]
        fn a_damaged_one_is_survived(at in 0usize..120, to in any::<u8>()) {
            let mut der = der();
            der[at] = to;
            let _ = remaining(&der, 0);
        }
    }
}
