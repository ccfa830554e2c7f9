//! Puts a proposed file in its place: whole or not at all, never over another, and for root and the
//! daemon's group alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// The daemon's group.
const GROUP: &str = "app-monitor";

/// Writes it.
///
/// # Errors
/// Why not, fit behind "not written: ".
pub fn write(root: &Path, path: &Path, text: &str) -> Result<(), String> {
    let real = root.join(path.strip_prefix("/").unwrap_or(path));
    let folder = real.parent().ok_or("it lies nowhere")?;
    let name = real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Not read as a drop-in: its name begins with a dot.
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let put = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        if let Some(group) = group(root) {
            fchown(&file, None, Some(group))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(0o640))?;
        file.sync_all()?;
        // Unlike a rename it never takes the place of what is there.
        std::fs::hard_link(&temporary, &real)
    };
    let done = put();
    let _ = std::fs::remove_file(&temporary);
    done.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => "there is such a file already".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied; run it as root".to_owned(),
        io::ErrorKind::NotFound => "its folder does not exist; is the package installed?".to_owned(),
        _ => crate::files::not_written(path, &error),
    })?;
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The number of the group; none where there is no such group yet.
fn group(root: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(root.join("etc/group")).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == GROUP).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_written_over() {
        let root = tempfile::tempdir().unwrap();
        let path = Path::new("/etc/app-monitor/conf.d/web.toml");
        assert_eq!(
            write(root.path(), path, "a").unwrap_err(),
            "its folder does not exist; is the package installed?"
        );
        let folder = root.path().join("etc/app-monitor/conf.d");
        std::fs::create_dir_all(&folder).unwrap();
        write(root.path(), path, "a").unwrap();
        assert_eq!(write(root.path(), path, "b").unwrap_err(), "there is such a file already");
        assert_eq!(std::fs::read_to_string(folder.join("web.toml")).unwrap(), "a");
        assert_eq!(folder.join("web.toml").metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        // Nor is what a dangling link promises.
        std::os::unix::fs::symlink("nowhere", folder.join("shop.toml")).unwrap();
        assert!(write(root.path(), Path::new("/etc/app-monitor/conf.d/shop.toml"), "a").is_err());
    }
}
