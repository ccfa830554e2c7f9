//! The system's trust store, kept for whoever asks often. Reading it takes milliseconds and a look at where it
//! lies some microseconds, so that each use looks, and reads again what is another one by now: an authority
//! was added or taken out.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::Error;
use rustls_platform_verifier::Verifier;

use super::clock;
use super::tls::provider;
use crate::judge::Moment;

/// It is also read again for a certificate whose issuer it does not know, but no more often than this: what
/// was written in its place, and elsewhere than here, does not show.
const FRESH: Duration = Duration::from_secs(60);
/// Where Debian has it: update-ca-certificates(8) puts a new bundle in the place of the old one, and a link
/// for each authority beside it.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const FOLDER: &str = "/etc/ssl/certs";

/// What was read, and what it was read from.
struct Kept<T> {
    store: Arc<T>,
    read: Moment,
    stamp: Stamp,
}

/// Device, inode, size, and when it was written and changed; none where it is not there.
type Mark = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;
/// How the store's places look.
type Stamp = Vec<Mark>;

/// The store; read again if it is another one, or if an issuer is `unknown` to what is kept.
pub(super) fn store(unknown: bool) -> Result<Arc<Verifier>, Error> {
    static KEPT: Mutex<Option<Kept<Verifier>>> = Mutex::new(None);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    // Before it is read: what comes between is seen at the next use.
    let stamp = stamp(&places());
    current(&mut kept, clock::now(), stamp, unknown, || Verifier::new(provider()))
}

fn current<T, E>(
    kept: &mut Option<Kept<T>>,
    now: Moment,
    stamp: Stamp,
    unknown: bool,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<Arc<T>, E> {
    if let Some(kept) = kept
        && kept.stamp == stamp
        && (!unknown || now.since(kept.read) < FRESH)
    {
        return Ok(Arc::clone(&kept.store));
    }
    // The old one goes first: both at once are more memory than the daemon needs.
    *kept = None;
    let store = Arc::new(read()?);
    *kept = Some(Kept { store: Arc::clone(&store), read: now, stamp });
    Ok(store)
}

/// As OpenSSL takes them from the environment; else Debian's.
fn places() -> Vec<PathBuf> {
    let bundle = std::env::var_os("SSL_CERT_FILE").map_or_else(|| BUNDLE.into(), PathBuf::from);
    let folders = std::env::var_os("SSL_CERT_DIR").unwrap_or_else(|| FOLDER.into());
    std::iter::once(bundle).chain(std::env::split_paths(&folders)).collect()
}

fn stamp(places: &[impl AsRef<Path>]) -> Stamp {
    let mark = |place: &Path| {
        let seen = place.metadata().ok()?;
        let (written, changed) = ((seen.mtime(), seen.mtime_nsec()), (seen.ctime(), seen.ctime_nsec()));
        Some((seen.dev(), seen.ino(), seen.size(), written, changed))
    };
    places.iter().map(|place| mark(place.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    #[test]
    fn it_is_read_when_it_is_another_one_and_not_else() {
        let root = tempfile::tempdir().unwrap();
        let (folder, bundle) = (root.path().join("certs"), root.path().join("certs/bundle"));
        fs::create_dir(&folder).unwrap();
        fs::write(&bundle, "a, b").unwrap();
        let (reads, mut kept) = (Cell::new(0), None);
        let mut at = |seconds: u64, unknown: bool| {
            let read = || {
                reads.set(reads.get() + 1);
                fs::read_to_string(&bundle)
            };
            let now = Moment::default() + Duration::from_secs(seconds);
            let stamp = stamp(&[&bundle, &folder]);
            let read = current(&mut kept, now, stamp, unknown, read).map(|store| (*store).clone());
            (read.ok(), reads.get())
        };
        let is = |text: &str, reads: i32| (Some(text.to_owned()), reads);
        assert_eq!(at(0, false), is("a, b", 1));
        for second in 1..1_000 {
            assert_eq!(at(second, false), is("a, b", 1), "as long as it is the same");
        }
        // As update-ca-certificates does, in whatever second.
        let replace = |text: &str| {
            fs::write(root.path().join("new"), text).unwrap();
            fs::rename(root.path().join("new"), &bundle).unwrap();
        };
        replace("b, c");
        assert_eq!(at(1_000, false), is("b, c", 2));
        assert_eq!(at(1_000, false), is("b, c", 2));
        // One authority alone, and the bundle stays.
        fs::write(folder.join("d"), "d").unwrap();
        assert_eq!(at(1_001, false).1, 3);
        // An unknown issuer asks for more, once a minute.
        for (second, reads) in [(1_002, 3), (1_060, 3), (1_061, 4), (1_062, 4)] {
            assert_eq!(at(second, true).1, reads, "{second}");
        }
        // What is gone vouches for nobody, and what comes back is read.
        fs::remove_file(&bundle).unwrap();
        assert_eq!(at(1_063, false), (None, 5));
        assert_eq!(at(1_063, false), (None, 6));
        replace("e");
        assert_eq!(at(1_064, false), is("e", 7));
    }
}
