//! What each process of a unit is doing: its state, what it waits for, what it runs, what it has open.

use std::collections::BTreeMap;
use std::fs;

use crate::checks::World;

/// So many processes are described; the rest is counted.
const DESCRIBED: usize = 16;
/// So many threads and open files of one process are looked at.
const LOOKED_AT: usize = 4096;

/// A line for each process.
pub fn lines(world: &World, control_group: Option<&str>) -> Vec<String> {
    let Some(group) = control_group else { return vec!["none, the unit has no cgroup".to_owned()] };
    let pids = match world.pids(group) {
        Ok(pids) if pids.is_empty() => return vec!["none".to_owned()],
        Ok(pids) => pids,
        Err(error) => return vec![format!("cgroup {group} cannot be read: {error}")],
    };
    let mut lines: Vec<String> =
        pids.iter().take(DESCRIBED).filter_map(|pid| describe(world, *pid)).collect();
    if pids.len() > DESCRIBED {
        lines.push(format!("and {} more", pids.len() - DESCRIBED));
    }
    lines
}

fn describe(world: &World, pid: u32) -> Option<String> {
    let text = |name: &str| {
        let bytes = world.read(&world.path(&format!("proc/{pid}/{name}")), 8192).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let status = text("status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let mut out = format!("{} (pid {pid})", text("comm")?.trim_end());
    if let Some(state) = field("State") {
        // "S (sleeping)": the word alone.
        let word = state.trim().split_once('(').map_or(state.trim(), |(_, word)| word.trim_end_matches(')'));
        out.push_str(&format!(", {word}"));
    }
    let waits = waits(world, pid);
    if !waits.is_empty() {
        out.push_str(&format!(", waits in {waits}"));
    }
    if let Ok(exe) = fs::read_link(world.path(&format!("proc/{pid}/exe"))) {
        out.push_str(&format!(", runs {}", exe.display()));
    }
    if let Some(size) = field("VmRSS") {
        out.push_str(&format!(", {} resident", size.trim()));
    }
    if let Some(size) = field("VmSwap").map(str::trim).filter(|size| *size != "0 kB") {
        out.push_str(&format!(", {size} swapped out"));
    }
    if let Ok(files) = fs::read_dir(world.path(&format!("proc/{pid}/fd"))) {
        let open = files.take(LOOKED_AT).count();
        let limits = text("limits").unwrap_or_default();
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let limit = limit.and_then(|rest| rest.split_whitespace().next()).unwrap_or("?");
        out.push_str(&format!(", {open} of {limit} files open"));
    }
    Some(out)
}

/// In which functions of the kernel its threads wait, most of them first: `ep_poll (1 thread),
/// futex_wait_queue (10 threads)`. One that runs waits in none.
fn waits(world: &World, pid: u32) -> String {
    let Ok(tasks) = fs::read_dir(world.path(&format!("proc/{pid}/task"))) else { return String::new() };
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks.flatten().take(LOOKED_AT) {
        let Ok(place) = world.read(&task.path().join("wchan"), 128) else { continue };
        let place = String::from_utf8_lossy(&place).trim().to_owned();
        if !matches!(place.as_str(), "" | "0") {
            *places.entry(place).or_default() += 1;
        }
    }
    let mut places: Vec<(String, usize)> = places.into_iter().collect();
    places.sort_by_key(|(_, threads)| std::cmp::Reverse(*threads));
    let word = |threads: usize| if threads == 1 { "thread" } else { "threads" };
    let shown =
        places.iter().take(4).map(|(place, threads)| format!("{place} ({threads} {})", word(*threads)));
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(root: &std::path::Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_process_is_described_without_its_environment() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        file(root, "sys/fs/cgroup/cgroup.controllers", "");
        file(root, "sys/fs/cgroup/system.slice/web.service/cgroup.procs", "812\n813\n");
        file(root, "proc/812/comm", "node\n");
        file(root, "proc/812/environ", "DATABASE_URL=secret\0");
        file(root, "proc/812/cmdline", "node\0--token=secret\0");
        file(
            root,
            "proc/812/status",
            "Name:\tnode\nState:\tS (sleeping)\nVmRSS:\t   4711 kB\nVmSwap:\t0 kB\n",
        );
        file(root, "proc/812/limits", "Limit  Soft  Hard\nMax open files            1024   4096   files\n");
        file(root, "proc/812/fd/0", "");
        file(root, "proc/812/fd/1", "");
        for (thread, place) in
            [(812, "ep_poll"), (814, "futex_wait_queue"), (815, "futex_wait_queue"), (816, "0")]
        {
            file(root, &format!("proc/812/task/{thread}/wchan"), place);
        }
        std::os::unix::fs::symlink("/usr/bin/node", root.join("proc/812/exe")).unwrap();
        let found = lines(&World::at(root), Some("/system.slice/web.service"));
        assert_eq!(
            found,
            ["node (pid 812), sleeping, waits in futex_wait_queue (2 threads), ep_poll (1 thread), \
              runs /usr/bin/node, 4711 kB resident, 2 of 1024 files open"]
        );
    }

    #[test]
    fn nothing_to_look_at_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::at(folder.path());
        assert_eq!(lines(&world, None), ["none, the unit has no cgroup"]);
        assert!(lines(&world, Some("/gone.service"))[0].contains("cannot be read"));
    }
}
