//! Every seed as it is and cut short; and, when asked for, changed at random: `tests/run fuzz`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{TARGETS, run, spent};

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path()).collect();
    all.sort();
    assert!(!all.is_empty(), "{target} has no seeds");
    all.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// What a full disk or a lost connection leaves is the beginning of something.
#[test]
fn seeds_are_survived() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found = Vec::new();
    for target in TARGETS {
        assert!(fuzz.join(format!("{}.rs", target.name)).exists(), "{}", target.name);
        for (path, bytes) in seeds(target.name) {
            assert!(bytes.len() <= 16 << 10, "{} is no small seed", path.display());
            let short = (1..bytes.len()).step_by(bytes.len().div_ceil(40).max(1));
            for length in std::iter::once(bytes.len()).chain(short) {
                if std::panic::catch_unwind(|| run(target.name, &bytes[..length])).is_err() {
                    found.push(format!("{}, the first {length} bytes", path.display()));
                    break;
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// What readers stumble over.
const WORDS: [&[u8]; 24] = [
    b"\x1b[31m",
    b"\xc2\x9b2J",
    b"\xe2\x80\xae",
    b"\0",
    b"\n",
    b"\r\n",
    b"\x1e",
    b"\"",
    b"\\",
    b"'",
    b"=",
    b"{",
    b"}",
    b"[",
    b"]",
    b"-1",
    b"0",
    b"4294967295",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551615",
    b"null",
    b"\xff\xff\xff\xff",
    b"1e400",
];

/// A seed with a few changes: a bit, a byte, a word, a piece taken out, doubled or of another seed.
fn changed(chance: &mut Chance, seeds: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].1.clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(16)).min(bytes.len());
        match chance.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => bytes[at] = chance.next().to_le_bytes()[0],
            2 => drop(bytes.splice(at..at, WORDS[chance.below(WORDS.len())].iter().copied())),
            3 => drop(bytes.splice(at..end, WORDS[chance.below(WORDS.len())].iter().copied())),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                let times = 1 << chance.below(8);
                drop(bytes.splice(at..at, piece.repeat(times)));
            }
            6 => {
                let other = &seeds[chance.below(seeds.len())].1;
                let from = chance.below(other.len() + 1);
                let to = (from + chance.below(200)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            _ => bytes.truncate(at),
        }
        bytes.truncate(64 << 10);
    }
    bytes
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Changes seeds for so many seconds of CPU (APP_MONITOR_FUZZ_SECONDS). APP_MONITOR_FUZZ_SEED gives the
/// same changes again. What was not survived is kept.
fn changes_are_survived(target: &str) {
    let until = spent() + Duration::from_secs(number("APP_MONITOR_FUZZ_SECONDS").unwrap_or(4));
    let seed = number("APP_MONITOR_FUZZ_SEED").unwrap_or(1);
    let (seeds, mut tried) = (seeds(target), 0_u64);
    let mut chance = Chance(seed);
    while spent() < until {
        let bytes = changed(&mut chance, &seeds);
        tried += 1;
        if let Err(panic) = std::panic::catch_unwind(|| run(target, &bytes)) {
            let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz/found");
            std::fs::create_dir_all(&kept).unwrap();
            let kept = kept.join(format!("{target}-{seed}-{tried}"));
            std::fs::write(&kept, &bytes).unwrap();
            println!("change {tried} of seed {seed} is kept as {}", kept.display());
            std::panic::resume_unwind(panic);
        }
    }
    println!("{target}: {tried} changes of seed {seed}");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            #[ignore = "takes its time: tests/run fuzz"]
            fn $name() {
                changes_are_survived(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_run() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($name)),*]);
        }
    };
}

targets! {
    alerts config database dbus env_file http incident json_path netlink nginx proc result smtp state text unit_file url value
}
