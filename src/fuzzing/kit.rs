//! What targets share: the parts of an input, a folder for them, and what may be shown of them.

use std::cell::RefCell;

use crate::plain::is_hidden;

/// The parts of an input, between bytes 0x1e (ASCII's record separator).
pub(crate) fn parts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == 0x1e)
}

/// Text that may go to a terminal, on one line of at most so many characters.
pub(crate) fn assert_plain(text: &str, most: usize) {
    assert!(!text.contains(is_hidden), "hidden characters in {text:?}");
    assert!(text.chars().count() <= most, "{} characters: {text:?}", text.chars().count());
}

/// A folder for a thread's time.
pub(crate) struct Folder {
    path: std::path::PathBuf,
    /// What `put_all` put there last.
    last: RefCell<Vec<Option<Vec<u8>>>>,
}

impl Folder {
    pub(crate) fn new(what: &str) -> Self {
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let path = std::env::temp_dir().join(format!("app-monitor-fuzz-{what}-{thread}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for files");
        Self { path, last: RefCell::default() }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Puts the parts of an input there, a file each; those that are missing are taken away.
    pub(crate) fn put_all<'a>(&self, names: &[&str], parts: &mut impl Iterator<Item = &'a [u8]>) {
        let mut last = self.last.borrow_mut();
        last.resize(names.len(), None);
        for (name, last) in names.iter().zip(last.iter_mut()) {
            let text = parts.next().map(<[u8]>::to_vec);
            // Files cost most of the time; few change from one input to the next.
            if *last != text {
                self.put(name, text.as_deref());
                *last = text;
            }
        }
    }

    /// Puts a file there, or takes it away.
    pub(crate) fn put(&self, name: &str, text: Option<&[u8]>) {
        let path = self.path.join(name);
        match text {
            Some(text) => {
                if std::fs::write(&path, text).is_err() {
                    std::fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
                    std::fs::write(&path, text).expect("a file");
                }
            }
            None => drop(std::fs::remove_file(&path)),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
