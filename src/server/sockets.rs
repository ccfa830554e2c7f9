//! Who listens on the sockets in the file system that nginx passes to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::nginx::{Nginx, Upstream};
use crate::checks::{Holder, World};

/// The sockets that are listened on, by their inodes.
#[derive(Debug, Default)]
pub(super) struct Sockets(BTreeMap<u32, PathBuf>);

/// A busy host has some thousand lines of 100 bytes.
const LARGEST: usize = 4 << 20;
const MOST: usize = 64;
/// Open files of a process among which its sockets are looked for.
const MOST_FILES: usize = 512;
/// `__SO_ACCEPTCON` of net/unix(7): it is listened on.
const LISTENS: u32 = 0x1_0000;

impl Sockets {
    /// Those of /proc/net/unix that nginx names.
    pub(super) fn read(world: &World, nginx: &Nginx) -> Self {
        let named: Vec<&Path> = nginx
            .sites
            .iter()
            .flat_map(|site| site.passes.iter().flat_map(|pass| &pass.to))
            .filter_map(|to| match to {
                Upstream::Socket(path) => Some(path.as_path()),
                Upstream::Host(..) => None,
            })
            .collect();
        if named.is_empty() {
            return Self::default();
        }
        let text = world.read(&world.path("proc/net/unix"), LARGEST).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let known = |path: &Path| named.iter().any(|named| same(named, path));
        let rows = text.lines().filter_map(row).filter(|(_, path)| known(path)).take(MOST);
        // Under the name by which nginx knows it.
        let rows = rows.filter_map(|(inode, path)| {
            Some((inode, named.iter().find(|named| same(named, &path))?.to_path_buf()))
        });
        Self(rows.collect())
    }

    /// Those that one of these processes has open.
    pub(super) fn held_by(&self, world: &World, pids: &[u32]) -> Vec<PathBuf> {
        let held = |inode: &u32| {
            matches!(world.holder_among(pids.iter().copied(), *inode, MOST_FILES), Holder::Pid(_))
        };
        let mut found: Vec<PathBuf> =
            self.0.iter().filter(|(inode, _)| held(inode)).map(|(_, path)| path.clone()).collect();
        found.sort();
        found.dedup();
        found
    }
}

/// /var/run is /run.
fn same(a: &Path, b: &Path) -> bool {
    let bare = |path: &Path| path.strip_prefix("/var/run").or(path.strip_prefix("/run")).map(Path::to_owned);
    a == b || matches!((bare(a), bare(b)), (Ok(a), Ok(b)) if a == b)
}

/// `Num RefCount Protocol Flags Type St Inode Path`.
fn row(line: &str) -> Option<(u32, PathBuf)> {
    let mut fields = line.split_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let inode = fields.nth(2)?.parse().ok()?;
    let path = fields.next().filter(|path| path.starts_with('/'))?;
    (flags & LISTENS != 0).then(|| (inode, PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_sockets() {
        for (line, expected) in [
            (
                "0000000000000000: 00000002 00000000 00010000 0001 01 23744 /run/php/php8.2-fpm.sock",
                Some((23744, PathBuf::from("/run/php/php8.2-fpm.sock"))),
            ),
            ("0000000000000000: 00000003 00000000 00000000 0001 03 23744 /run/php/php8.2-fpm.sock", None),
            ("0000000000000000: 00000002 00000000 00010000 0001 01 23744 @abstract", None),
            ("Num       RefCount Protocol Flags    Type St Inode Path", None),
            ("", None),
        ] {
            assert_eq!(row(line), expected, "{line}");
        }
        assert!(same(Path::new("/var/run/a.sock"), Path::new("/run/a.sock")));
        assert!(!same(Path::new("/run/a.sock"), Path::new("/run/b.sock")));
    }
}
