//! Which HTTP status codes are good: `"200-299,304"`, `204`, or a list of these.

use super::error::quoted;
use super::origin::Origin;
use super::raw::{Located, Raw};
use crate::judge::StatusSet;

/// Reads the value.
///
/// # Errors
/// The place and what is wrong there.
pub(super) fn read(found: &Located) -> Result<StatusSet, (Origin, String)> {
    let mut ranges = Vec::new();
    match &found.value {
        Raw::List(items) if items.is_empty() => {
            return Err((found.at.clone(), "an empty list takes no answer as good".to_owned()));
        }
        Raw::List(items) => {
            for item in items {
                one(item, &mut ranges)?;
            }
        }
        _ => one(found, &mut ranges)?,
    }
    Ok(StatusSet(ranges))
}

fn one(found: &Located, ranges: &mut Vec<(u16, u16)>) -> Result<(), (Origin, String)> {
    let wrong = |found: &Located| {
        let message = format!(
            "expected status codes from 100 to 599 such as 200 or \"200-299,304\", found {}",
            found.value.described()
        );
        (found.at.clone(), message)
    };
    match &found.value {
        Raw::Integer(code) => {
            let code = u16::try_from(*code).ok().filter(|code| (100..=599).contains(code));
            let code = code.ok_or_else(|| wrong(found))?;
            ranges.push((code, code));
        }
        Raw::Text(text) => {
            for part in text.split(',') {
                let (low, high) = part.split_once('-').unwrap_or((part, part));
                let code =
                    |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code));
                let (Some(low), Some(high)) = (code(low), code(high)) else {
                    return Err(wrong(found));
                };
                if low > high {
                    let message = format!("the range {} runs backwards", quoted(part.trim()));
                    return Err((found.at.clone(), message));
                }
                ranges.push((low, high));
            }
        }
        _ => return Err(wrong(found)),
    }
    Ok(())
}
