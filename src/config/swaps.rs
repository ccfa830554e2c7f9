//! The swaps of this host that have a file of their own: written by somebody, or made out of
//! `/etc/fstab` by systemd. Only these come back when they were turned off.

use std::path::Path;

use super::aliases::{DIRECTORIES, OTHERS};
use crate::files::below;
use crate::judge::UnitName;

/// The kernel takes 29 swaps; more are no host's.
const MOST: usize = 32;

/// Their units, in the order of the names.
pub(super) fn of_files(root: &Path) -> Vec<UnitName> {
    let mut found: Vec<UnitName> = DIRECTORIES
        .iter()
        .chain(&OTHERS)
        .filter_map(|directory| std::fs::read_dir(below(root, Path::new(directory))).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".swap"))
        .filter_map(|name| name.parse().ok())
        .collect();
    found.sort();
    found.dedup();
    found.truncate(MOST);
    found
}
