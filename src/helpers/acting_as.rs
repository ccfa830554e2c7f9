//! Touching files as somebody else, on a thread of its own: credentials are a thread's (credentials(7)),
//! so that the others can still leave the result.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{geteuid, getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// This thread touches files as that user from here on, for good, and with no capability.
///
/// Only the effective user is the other, which is the one that decides about files: whoever has our real
/// and saved user as well could stop us by signals and take our limits down (kill(2), prlimit(2)). Those
/// two stay as they are, so that this thread could get the number 0 back, but no capability with it; and
/// nobody else's code runs on it.
pub(super) fn become_user(user: u32, group: u32, groups: &[u32]) -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    let groups: Vec<Gid> = groups.iter().map(|id| Gid::from_raw(*id)).collect();
    set_thread_groups(&groups)?;
    set_thread_res_gid(group, group, group)?;
    let own = getuid();
    set_thread_res_uid(own, user, own)?;
    drop_capabilities()?;
    let left = capabilities(None)?;
    let none = left.effective.is_empty() && left.permitted.is_empty();
    if geteuid() == user && getgid() == group && none { Ok(()) } else { Err(Errno::PERM) }
}

/// This thread can do from here on what its user can, and no more.
pub(super) fn drop_capabilities() -> Result<(), Errno> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_touched_as_the_user_and_signals_are_still_roots_alone() {
        if !geteuid().is_root() {
            return;
        }
        let seen = std::thread::spawn(|| {
            become_user(12_345, 12_346, &[12_347]).unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            // The number can be had back, its capabilities cannot: not even another user by then.
            set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).unwrap();
            let other = Uid::from_raw(12_345);
            assert!(set_thread_res_uid(Uid::ROOT, other, Uid::ROOT).is_err());
            (status, capabilities(None).unwrap())
        });
        let (status, regained) = seen.join().unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        // Real, effective, saved, file system.
        assert_eq!(field("Uid:"), "0 12345 0 12345");
        assert_eq!(field("Gid:"), "12346 12346 12346 12346");
        assert_eq!(field("Groups:"), "12347");
        assert_eq!((field("CapPrm:"), field("CapEff:")), ("0".repeat(16), "0".repeat(16)));
        assert!(regained.effective.is_empty() && regained.permitted.is_empty(), "{regained:?}");
        assert!(geteuid().is_root(), "only the thread became somebody else");
    }
}
