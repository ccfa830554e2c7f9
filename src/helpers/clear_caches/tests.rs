//! Real trees in a directory that looks like a system, whose owner does what he can.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, open, openat};

use super::super::oneshot::tests::Host;
use super::*;
use crate::judge::Target;
use crate::systemd::Execution;

const LONG: Duration = Duration::from_secs(30);
const DEPLOY: u32 = 12_345;
const APP: u32 = 23_456;

/// Units as a test says; whoever is not mentioned is down, and works in `/srv/web`.
#[derive(Default)]
struct Told {
    known: HashMap<&'static str, Look>,
    /// `web.service` is up from this look on.
    up_from: Option<usize>,
    looks: RefCell<usize>,
}

fn down() -> Look {
    let working_directory = Some("/srv/web".into());
    let execution = Execution { working_directory, ..Execution::default() };
    Look { down: true, state: "dead".to_owned(), execution, ..Look::default() }
}

impl Units for Told {
    fn look(&self, unit: &UnitName) -> Result<Look, String> {
        *self.looks.borrow_mut() += 1;
        let mut look = self.known.get(unit.as_str()).cloned().unwrap_or_else(down);
        if self.up_from.is_some_and(|from| *self.looks.borrow() >= from) {
            look.down = false;
        }
        Ok(look)
    }
}

fn told(unit: &'static str, look: Look) -> Told {
    Told { known: [(unit, look)].into(), ..Told::default() }
}

fn target(caches: &[&str]) -> Target {
    let caches = caches.iter().map(PathBuf::from).collect();
    Target { caches, ..Target::of_unit("web.service".parse().unwrap()) }
}

/// A host with the app in /srv/web and its cache in `cache`, which is there, and something outside.
struct Scene {
    host: Host,
}

impl Scene {
    fn new() -> Self {
        Self::with(&["cache"])
    }

    fn with(caches: &[&str]) -> Self {
        let scene = Self { host: Host::of(vec![("web", target(caches))]) };
        fs::create_dir_all(scene.path("srv/web/cache")).unwrap();
        scene.file("srv/web/server.js");
        scene.file("home/precious/file");
        scene
    }

    fn path(&self, below: &str) -> PathBuf {
        self.host.folder.path().join(below)
    }

    fn file(&self, below: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    fn clear(&self) -> Result<(Ending, Vec<String>), String> {
        self.clear_with(&Told::default())
    }

    fn clear_with(&self, units: &Told) -> Result<(Ending, Vec<String>), String> {
        clear(&self.host.request("web"), units, LONG, LOOK)
    }

    /// What must never be touched is there, and the cache is, too, with so many entries.
    fn sound(&self, entries: usize) {
        assert!(self.path("srv/web/server.js").exists());
        assert!(self.path("home/precious/file").exists());
        assert_eq!(fs::read_dir(self.path("srv/web/cache")).unwrap().count(), entries);
    }
}

fn done(result: Result<(Ending, Vec<String>), String>) -> String {
    match result {
        Ok((Ending::Done(text), _)) => text,
        other => panic!("{other:?}"),
    }
}

fn failed(result: Result<(Ending, Vec<String>), String>) -> String {
    match result {
        Err(why) | Ok((Ending::Failed(why), _)) => why,
        other => panic!("{other:?}"),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn what_is_in_it_goes_and_the_cache_stays() {
    let scene = Scene::with(&["cache", "node_modules/.cache", "not/there"]);
    for file in ["cache/a", "cache/b/c/d", "cache/.hidden", "node_modules/.cache/x", "node_modules/kept"] {
        scene.file(&format!("srv/web/{file}"));
    }
    fs::create_dir_all(scene.path("srv/web/cache/empty/one")).unwrap();
    let text = done(scene.clear());
    assert!(text.starts_with("cleared cache: 3 files ("), "{text}");
    assert!(text.contains("; node_modules/.cache: 1 file ("), "{text}");
    scene.sound(0);
    assert!(scene.path("srv/web/node_modules/.cache").is_dir());
    assert!(scene.path("srv/web/node_modules/kept").exists());
    assert_eq!(scene.clear().unwrap().0, Ending::Nothing);
}

#[test]
fn nothing_but_what_is_below_is_ever_a_cache() {
    let scene = Scene::with(&[".", "", "..", "../../home/precious", "/home/precious", "cache/../../web"]);
    scene.file("srv/web/cache/a");
    assert_eq!(scene.clear().unwrap().0, Ending::Nothing);
    scene.sound(1);
}

#[test]
fn links_are_removed_and_never_followed() {
    let scene = Scene::new();
    let outside = scene.path("home/precious");
    symlink(&outside, scene.path("srv/web/cache/directory")).unwrap();
    symlink(outside.join("file"), scene.path("srv/web/cache/file")).unwrap();
    symlink("..", scene.path("srv/web/cache/up")).unwrap();
    scene.file("srv/web/cache/below/a");
    symlink(&outside, scene.path("srv/web/cache/below/link")).unwrap();
    fs::hard_link(outside.join("file"), scene.path("srv/web/cache/hard")).unwrap();
    assert!(done(scene.clear()).starts_with("cleared cache: 6 files "));
    scene.sound(0);
}

#[test]
fn a_link_in_the_place_of_a_cache_or_on_the_way_to_it_is_left_alone() {
    let scene = Scene::with(&["link", "way/to/it"]);
    symlink(scene.path("home/precious"), scene.path("srv/web/link")).unwrap();
    fs::create_dir_all(scene.path("home/precious/to/it/inside")).unwrap();
    symlink("../../home/precious", scene.path("srv/web/way")).unwrap();
    let why = failed(scene.clear());
    assert_eq!(
        why,
        "link is left alone: a symbolic link leads to it; way/to/it is left alone: a symbolic link leads to it"
    );
    assert!(scene.path("home/precious/to/it/inside").exists());
    scene.sound(0);
}

#[test]
fn no_way_leads_across_a_mount() {
    // What every Linux has mounted.
    let top = way::to(Path::new("/"), Path::new("/")).unwrap();
    assert_eq!(way::below(&top, Path::new("proc")).unwrap_err(), Errno::XDEV);
    assert_eq!(way::below(&top, Path::new("proc/sys")).unwrap_err(), Errno::XDEV);
    let proc = way::to(Path::new("/"), Path::new("/proc/sys/..")).unwrap();
    assert_eq!(proc.real, Path::new("/proc"));
}

#[test]
fn what_is_no_file_is_unlinked_unopened() {
    let scene = Scene::new();
    let fifo = scene.path("srv/web/cache/below/fifo");
    fs::create_dir_all(fifo.parent().unwrap()).unwrap();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = UnixListener::bind(scene.path("srv/web/cache/socket")).unwrap();
    assert!(done(scene.clear()).starts_with("cleared cache: 2 files "));
    scene.sound(0);
}

#[test]
fn depth_costs_neither_stack_nor_descriptors() {
    let scene = Scene::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = open(scene.path("srv/web/cache"), flags, Mode::empty()).unwrap();
    for _ in 0..1_500 {
        mkdirat(&at, c"d", Mode::RWXU).unwrap();
        at = openat(&at, c"d", flags, Mode::empty()).unwrap();
    }
    openat(&at, c"f", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    assert!(done(scene.clear()).starts_with("cleared cache: 1 file "));
    scene.sound(0);
}

#[test]
fn names_like_ours_and_names_of_any_bytes_go_too() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    scene.file("srv/web/cache/.app-monitor-cleared-1/a");
    scene.file("srv/web/cache/.app-monitor-cleared-2");
    scene.file("srv/web/cache/a/b/c/d");
    let odd = std::ffi::OsStr::from_bytes(b"\xff\n");
    fs::write(scene.path("srv/web/cache").join(odd), "").unwrap();
    assert!(done(scene.clear()).starts_with("cleared cache: 4 files "));
    scene.sound(0);
}

#[test]
fn time_that_is_up_is_no_failure() {
    let scene = Scene::new();
    for n in 0..2_000 {
        fs::write(scene.path(&format!("srv/web/cache/{n}")), "").unwrap();
    }
    let none = clear(&scene.host.request("web"), &Told::default(), Duration::ZERO, LOOK);
    assert_eq!(done(none), "cleared cache: 0 files (0 KiB), then time was up");
    scene.sound(2_000);
    assert!(done(scene.clear()).starts_with("cleared cache: 2000 files "));
}

#[test]
fn a_directory_that_turns_into_a_link_all_the_time_leads_nowhere() {
    let scene = Scene::new();
    for n in 0..200 {
        scene.file(&format!("home/precious/many/{n}"));
    }
    let (cache, outside) = (scene.path("srv/web/cache"), scene.path("home/precious"));
    let over = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&over);
    let racer = thread::spawn(move || {
        let (name, aside) = (cache.join("swapped"), cache.join("aside"));
        while !enough.load(Ordering::Relaxed) {
            let _ = fs::create_dir_all(name.join("many/deep"));
            let _ = fs::write(name.join("many/a"), "");
            let _ = fs::rename(&name, &aside);
            let _ = symlink(&outside, &name);
            let _ = fs::remove_file(&name);
            let _ = symlink(&outside, aside.join("many/link"));
        }
    });
    for _ in 0..20 {
        let _ = clear(&scene.host.request("web"), &Told::default(), Duration::from_millis(50), LOOK);
    }
    over.store(true, Ordering::Relaxed);
    racer.join().unwrap();
    assert_eq!(fs::read_dir(scene.path("home/precious/many")).unwrap().count(), 200);
    assert!(scene.path("home/precious/file").exists());
    scene.clear().unwrap();
    scene.sound(0);
}

#[test]
fn only_while_every_unit_in_the_same_directory_is_down() {
    let other = Target {
        working_directory: Some("/srv/current".into()),
        ..Target::of_unit("api.service".parse().unwrap())
    };
    let host = Host::of(vec![("web", target(&["cache"])), ("api", other)]);
    let scene = Scene { host };
    scene.file("srv/web/cache/a");
    symlink("web", scene.path("srv/current")).unwrap();
    let up = || Look { down: false, state: "running".to_owned(), ..down() };
    assert_eq!(
        failed(scene.clear_with(&told("web.service", up()))),
        "web.service uses the caches and is not down (running); nothing is cleared"
    );
    assert_eq!(
        failed(scene.clear_with(&told("api.service", up()))),
        "api.service uses the caches and is not down (running); nothing is cleared"
    );
    assert!(scene.path("srv/web/cache/a").exists());
    // It works elsewhere by now.
    fs::remove_file(scene.path("srv/current")).unwrap();
    fs::create_dir(scene.path("srv/current")).unwrap();
    done(scene.clear_with(&told("api.service", up())));
}

#[test]
fn only_while_every_unit_is_down_whose_directory_or_caches_meet_them() {
    // Where the other one works, what its caches are, and whether it uses /srv/web/cache.
    for (directory, caches, cache_directory, shares) in [
        ("/srv/web/cache", &[][..], "", true),
        ("/srv/web/cache/inner", &[], "", true),
        ("/srv/web/api", &["../cache"], "", true),
        ("/srv/web/api", &["own"], "", false),
        ("/srv/web/cache2", &[], "", false),
        ("/srv", &[], "", true),
        ("/", &[], "", false),
        ("/srv/linked", &[], "", true),
        ("/srv/other", &["linked"], "", true),
        ("/srv/other", &["own"], "", false),
        ("/srv/other", &[], "linked", true),
        ("/srv/gone", &["cache"], "gone", false),
    ] {
        let caches: Vec<PathBuf> = caches.iter().map(PathBuf::from).collect();
        let other = Target { caches, ..Target::of_unit("api.service".parse().unwrap()) };
        let scene = Scene { host: Host::of(vec![("web", target(&["cache"])), ("api", other)]) };
        for file in ["cache/inner/a", "cache2/a", "api/own/a"] {
            scene.file(&format!("srv/web/{file}"));
        }
        scene.file("srv/other/own/a");
        symlink("web/cache", scene.path("srv/linked")).unwrap();
        symlink("../web/cache/inner", scene.path("srv/other/linked")).unwrap();
        fs::create_dir_all(scene.path("var/cache")).unwrap();
        symlink("/srv/web/cache", scene.path("var/cache/linked")).unwrap();
        let mut look = Look { down: false, state: "running".to_owned(), ..down() };
        look.execution.working_directory = Some(directory.into());
        look.execution
            .cache_directories
            .extend((!cache_directory.is_empty()).then(|| cache_directory.into()));
        let result = scene.clear_with(&told("api.service", look));
        let kept = scene.path("srv/web/cache/inner/a").exists();
        assert_eq!(kept, shares, "{directory} {cache_directory}: {result:?}");
    }
}

#[test]
fn a_unit_that_is_started_meanwhile_ends_it() {
    let scene = Scene::new();
    for n in 0..10_000 {
        fs::write(scene.path(&format!("srv/web/cache/{n}")), "").unwrap();
    }
    // One look for what it executes, one for whether it is down: the next is the first one meanwhile.
    let units = Told { up_from: Some(3), ..Told::default() };
    let text = done(clear(&scene.host.request("web"), &units, LONG, Duration::from_millis(1)));
    assert!(text.ends_with(", then a unit that uses it was started"), "{text}");
    assert!(fs::read_dir(scene.path("srv/web/cache")).unwrap().count() > 0);
}

#[test]
fn cache_directories_of_the_unit_are_cleared_too() {
    let scene = Scene::with(&[]);
    scene.file("var/cache/private/web/a/b");
    symlink("private/web", scene.path("var/cache/web")).unwrap();
    let mut look = down();
    look.execution.cache_directories = vec!["web".to_owned(), "../../home".to_owned()];
    look.execution.dynamic_user = true;
    if is_root() {
        chown(scene.path("var/cache/private/web"), Some(APP), Some(APP)).unwrap();
        chown(scene.path("var/cache/private/web/a"), Some(APP), Some(APP)).unwrap();
    }
    assert!(
        done(scene.clear_with(&told("web.service", look))).starts_with("cleared /var/cache/web: 1 file ")
    );
    scene.sound(0);
}

/// The tree belongs to `owner` from `from` on.
fn give(scene: &Scene, from: &str, owner: u32) {
    let path = scene.path(from);
    chown(&path, Some(owner), Some(owner)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(scene, &format!("{from}/{}", entry.unwrap().file_name().to_string_lossy()), owner);
        }
    }
}

fn open_to_all(scene: &Scene) {
    // The folder of a test is closed to others, unlike the root of a system.
    fs::set_permissions(scene.host.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn it_is_the_owner_and_no_more() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    open_to_all(&scene);
    scene.file("srv/web/cache/theirs/a");
    scene.file("srv/web/cache/locked/b/c");
    scene.file("srv/web/cache/roots/d");
    give(&scene, "srv/web", DEPLOY);
    give(&scene, "srv/web/cache/roots", 0);
    let none = fs::Permissions::from_mode(0o0);
    fs::set_permissions(scene.path("srv/web/cache/locked/b"), none.clone()).unwrap();
    fs::set_permissions(scene.path("srv/web/cache/locked"), none).unwrap();
    let text = done(scene.clear());
    assert!(text.starts_with("cleared cache: 2 files (8 KiB), "), "{text}");
    assert!(text.ends_with(" left"), "{text}");
    // What is root's is nothing that its owner could delete.
    assert!(scene.path("srv/web/cache/roots/d").exists());
    scene.sound(1);
    assert!(rustix::process::geteuid().is_root(), "the others are who they were");
}

#[test]
fn a_cache_that_somebody_else_may_have_put_there_is_left_alone() {
    if !is_root() {
        return;
    }
    let as_user = |user: &str| {
        let mut look = down();
        look.execution.user = user.to_owned();
        told("web.service", look)
    };
    // The tree of whoever deploys lies in a directory of the app's user, who may have put it there.
    let scene = Scene::new();
    open_to_all(&scene);
    scene.file("srv/web/cache/a");
    give(&scene, "srv/web/cache", DEPLOY);
    chown(scene.path("srv/web"), Some(APP), Some(APP)).unwrap();
    let why = failed(scene.clear_with(&as_user("23456")));
    assert_eq!(
        why,
        "cache is left alone: it is uid 12345's, and /srv/web on the way to it belongs to uid 23456"
    );
    // Root's tree, too.
    give(&scene, "srv/web/cache", 0);
    assert!(failed(scene.clear_with(&as_user("23456"))).contains("it is uid 0's, and /srv/web on the way"));
    // In a directory that the group may write to, anybody in the group may have.
    chown(scene.path("srv/web"), Some(0), Some(0)).unwrap();
    fs::set_permissions(scene.path("srv/web"), fs::Permissions::from_mode(0o775)).unwrap();
    assert!(failed(scene.clear_with(&as_user(""))).contains("others may rename what is in /srv/web"));
    assert!(scene.path("srv/web/cache/a").exists());
    // The cache of the app's own user is cleared as that user, whoever owns the rest.
    give(&scene, "srv/web/cache", APP);
    done(scene.clear_with(&as_user("23456")));
    scene.sound(0);
}

#[test]
fn a_working_directory_behind_a_link_of_root_only() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    open_to_all(&scene);
    let mut look = down();
    look.execution.working_directory = Some("/srv/current".into());
    look.execution.user = "23456".to_owned();
    scene.file("home/victim/cache/a");
    give(&scene, "home/victim", DEPLOY);
    symlink("../home/victim", scene.path("srv/current")).unwrap();
    rustix::fs::chownat(
        CWD,
        scene.path("srv/current"),
        Some(rustix::fs::Uid::from_raw(APP)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let why = failed(scene.clear_with(&told("web.service", look.clone())));
    assert!(why.ends_with("/srv/current on the way to it belongs to uid 23456"), "{why}");
    assert!(scene.path("home/victim/cache/a").exists());
    fs::remove_file(scene.path("srv/current")).unwrap();
    symlink("/home/victim", scene.path("srv/current")).unwrap();
    done(scene.clear_with(&told("web.service", look)));
    assert!(!scene.path("home/victim/cache/a").exists());
}
