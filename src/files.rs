//! Files that are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

#[allow(clippy::cast_possible_wrap)]
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// Puts `text` into `directory`/`name`, readable by the owner and, where the umask lets it, the
/// group: a temporary file beside it, synced, renamed, and the directory synced (rename(2),
/// fsync(2)). A reader sees the old file or the new one.
///
/// # Errors
/// Whatever keeps the directory from taking it; what was there before is untouched then.
pub fn write_whole(directory: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!(".{name}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o640).custom_flags(NOFOLLOW);
    let mut file = options.open(&temporary)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&temporary, directory.join(name)));
    if let Err(error) = renamed {
        // Of no use, and on a full disk the room is needed.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}
