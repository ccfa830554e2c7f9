//! Brings what was swapped out back into memory: swap units are stopped and started again, one at a
//! time, where what they hold fits into what is free now.
//!
//! A swap that is stopped is noted in our runtime folder first, so that a monitor that is killed in
//! between starts it again. Without a note nothing is stopped; and what somebody else has turned off
//! stays off.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::job::Kind;
use super::outcome::of_error;
use super::{Deadlines, On, Places, aside, untold};
use crate::files::{not_written, read_plain, write_whole};
use crate::judge::{Outcome, UnitName};
use crate::systemd::{Bus, Error};

/// The note, in our runtime folder.
const NOTE: &str = "swap-stopped";
/// Room in kB that stays free besides what comes back.
const SPARE: u64 = 64 * 1024;
/// Most swaps of a host that are looked at (the kernel allows 29).
const MANY: usize = 32;
/// Most of a file in /proc that is read.
const LARGEST: u64 = 64 * 1024;

/// A line of /proc/swaps (proc_swaps(5)), sizes in kB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Swap {
    pub(super) path: String,
    used: u64,
}

/// Cycles the swaps that fit.
pub(super) async fn reclaim(on: On<'_>) -> Outcome {
    if let Some(not @ (Outcome::Failed(_) | Outcome::Hindered(_))) =
        restore(on.bus, on.places, on.deadlines).await
    {
        return not;
    }
    let swaps = match read(&on.places.proc.join("swaps")) {
        Ok(text) => swaps(&text),
        Err(error) => return Outcome::Unknown(format!("/proc/swaps: {error}")),
    };
    let mut said = Vec::new();
    for swap in swaps.into_iter().filter(|swap| swap.used > 0).take(MANY) {
        match cycle(&swap, on).await {
            Ok(text) => said.push(text),
            Err(outcome) => return outcome,
        }
    }
    if said.is_empty() { Outcome::AlreadySo } else { Outcome::Told(said.join("; ")) }
}

/// Starts a swap that a monitor before us has stopped and not started again. None: there is none.
pub async fn restore(bus: &Bus, places: &Places, deadlines: &Deadlines) -> Option<Outcome> {
    let unit = read_plain(&note(places), LARGEST).ok()?;
    let unit: UnitName = std::str::from_utf8(&unit).ok()?.trim().parse().ok()?;
    Some(match start(&unit, bus, places, deadlines).await {
        Ok(()) => Outcome::Told(format!("{unit}, which was stopped by us, is on again")),
        Err(outcome) => outcome,
    })
}

async fn cycle(swap: &Swap, on: On<'_>) -> Result<String, Outcome> {
    let On { bus, places, deadlines, .. } = on;
    let mib = swap.used / 1024;
    let alone = |why: &str| Ok(format!("{}, which holds {mib} MiB, is left alone: {why}", swap.path));
    if swap.path.starts_with("/dev/zram") {
        return alone("zram is memory itself");
    }
    let unknown = |error: Error| Outcome::Unknown(format!("{}: {error}", swap.path));
    let Ok(named) = unit_of(&swap.path).parse::<UnitName>() else {
        return alone("its unit has no name");
    };
    let reading = bus.read_swap(&named).await.map_err(unknown)?;
    let unit = reading.following.unwrap_or(named);
    let reading = bus.read_swap(&unit).await.map_err(unknown)?;
    if !reading.configured {
        return alone("it has neither a unit file nor a line in fstab, and would not come back");
    }
    let available = read(&places.proc.join("meminfo")).ok().and_then(|text| available(&text));
    let Some(available) = available else { return alone("nobody knows what memory is free") };
    if !fits(swap.used, available) {
        return alone(&format!("{} MiB are free", available / 1024));
    }
    if let Err(error) = write_whole(&places.run, NOTE, unit.as_str().as_bytes()) {
        return alone(&not_written(&note(places), &error));
    }
    let stop = Deadlines { margin: deadlines.swapoff, ..*deadlines };
    let stopped = aside(Kind::Stop, &unit, bus, &stop, &mut untold()).await;
    // Whatever became of the stop.
    start(&unit, bus, places, deadlines).await?;
    match stopped {
        Ok(Outcome::Done | Outcome::AlreadySo) => Ok(format!("{mib} MiB are back from {}", swap.path)),
        Ok(other) => alone(&words(other)),
        Err(error) => alone(&error.to_string()),
    }
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Conflict(why)
        | Outcome::Refused(why)
        | Outcome::Hindered(why)
        | Outcome::TimedOut(why)
        | Outcome::Failed(why)
        | Outcome::Unknown(why) => why,
        _ => "its job was canceled".to_owned(),
    }
}

/// Starts it and takes the note away. A stop that is still under way refuses the start, so it is tried
/// for a while. Where polkit is away it is for later, by the note.
async fn start(unit: &UnitName, bus: &Bus, places: &Places, deadlines: &Deadlines) -> Result<(), Outcome> {
    let mut why = String::new();
    for _ in 0..3 {
        match aside(Kind::Start, unit, bus, deadlines, &mut untold()).await {
            Ok(Outcome::Done | Outcome::AlreadySo) => {
                let _ = fs::remove_file(note(places));
                return Ok(());
            }
            Ok(outcome) => why = words(outcome),
            Err(error) => match of_error(error) {
                Outcome::Hindered(why) => return Err(Outcome::Hindered(format!("{unit}: {why}"))),
                outcome => why = words(outcome),
            },
        }
        tokio::time::sleep(deadlines.poll).await;
    }
    let how = unit.in_shell();
    Err(Outcome::Failed(format!("{unit} could not be started again: {why}; systemctl start {how}")))
}

fn note(places: &Places) -> PathBuf {
    places.run.join(NOTE)
}

pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// What comes back takes a little more room than it took out there.
fn fits(used: u64, available: u64) -> bool {
    used.saturating_mul(6) / 5 + SPARE <= available
}

pub(super) fn swaps(text: &str) -> Vec<Swap> {
    let line = |line: &str| {
        // Blanks in the path are escaped.
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [path, _kind, _size, used, _priority] = fields[..] else { return None };
        Some(Swap { path: unescape(path)?, used: used.parse().ok()? })
    };
    // A file that was removed while in use could not be turned on again.
    text.lines().skip(1).filter_map(line).filter(|swap| !swap.path.ends_with(" (deleted)")).collect()
}

/// Blanks and backslashes as the kernel writes them: `\040`.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('\\');
    let mut plain = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let code = u8::from_str_radix(part.get(..3)?, 8).ok()?;
        plain.push(code);
        plain.extend(part[3..].bytes());
    }
    String::from_utf8(plain).ok()
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The unit of a path (systemd.unit(5), "String escaping for inclusion in unit names").
pub(super) fn unit_of(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut name = String::new();
    for (at, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(char::from(byte)),
            // Writing to a String does not fail.
            other => drop(write!(name, "\\x{other:02x}")),
        }
    }
    name + ".swap"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swaps_as_the_kernel_lists_them() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                    /dev/vda2                               partition\t1048572\t\t20480\t\t-2\n\
                    /var/my\\040swap                        file    \t524284\t\t0\t\t-3\n\
                    broken\n";
        let swap = |path: &str, used| Swap { path: path.to_owned(), used };
        assert_eq!(swaps(text), [swap("/dev/vda2", 20_480), swap("/var/my swap", 0)]);
    }

    #[test]
    fn units_of_swaps() {
        for (path, unit) in [
            ("/dev/vda2", "dev-vda2.swap"),
            ("/swapfile", "swapfile.swap"),
            ("/.swap", "\\x2eswap.swap"),
            ("//var/my-swap/", "var-my\\x2dswap.swap"),
            ("/dev/mapper/vg-swap 1", "dev-mapper-vg\\x2dswap\\x201.swap"),
        ] {
            assert_eq!(unit_of(path), unit);
        }
    }

    #[test]
    fn what_does_not_fit_stays_out() {
        assert!(fits(100 * 1024, (120 + 64) * 1024));
        assert!(!fits(100 * 1024, (120 + 64) * 1024 - 1));
        assert!(!fits(u64::MAX, u64::MAX / 8));
        assert_eq!(available("MemTotal: 5 kB\nMemAvailable:    1234 kB\n"), Some(1234));
    }
}
