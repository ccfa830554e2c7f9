use std::os::unix::fs::symlink;

use super::super::world::tests::Fake;
use super::*;

const NODE: &str = "/usr/bin/node";

fn unit() -> UnitFacts {
    UnitFacts {
        name: "web.service".to_owned(),
        live: false,
        user: Some(33),
        executables: vec![NODE.into()],
        working_directory: Some("/srv/web".into()),
    }
}

fn process(place: Place) -> ProcessFacts {
    ProcessFacts {
        pid: Some(812),
        started: Some(5),
        user: Some(33),
        control_group: None,
        place: Some(place),
        executable: Some(NODE.into()),
        working_directory: Some("/srv/web/current".into()),
        kernel: false,
    }
}

/// The same, but it runs something else.
fn unlike(place: Place) -> ProcessFacts {
    ProcessFacts { executable: Some("/usr/bin/python3".into()), ..process(place) }
}

fn hidden(place: Place) -> ProcessFacts {
    ProcessFacts { executable: None, working_directory: None, ..process(place) }
}

fn in_unit(name: &str, live: bool) -> Place {
    Place::Unit { name: name.to_owned(), live }
}

fn in_session(live: bool) -> Place {
    Place::Session { name: "session-3.scope".to_owned(), live }
}

fn under(stragglers: Stragglers, process: &ProcessFacts) -> Class {
    classify(process, &unit(), stragglers)
}

#[test]
fn who_is_left_in_the_units_own_cgroup_is_an_orphan_while_it_is_down() {
    let left = unlike(in_unit("web.service", false));
    assert_eq!(under(Stragglers::Own, &left), Class::Orphan);
    assert_eq!(under(Stragglers::Never, &left), Class::Spared(Spared::ByConfiguration));
    let at_work = classify(&left, &UnitFacts { live: true, ..unit() }, Stragglers::Port);
    assert_eq!(at_work, Class::Spared(Spared::OwnUnit));
}

#[test]
fn a_long_name_is_the_units_own_all_the_same() {
    let fake = Fake::new();
    let name = format!("{}.service", "a".repeat(100));
    fake.file("run/systemd/units/x", "");
    let left = unlike(Place::of(&fake.world, &format!("/system.slice/{name}")));
    assert_eq!(classify(&left, &UnitFacts { name, ..unit() }, Stragglers::Own), Class::Orphan);
}

#[test]
fn an_orphan_is_like_the_unit_in_every_way_and_lives_in_nothing_live() {
    for place in [Place::Nowhere, in_session(false), in_unit("old.service", false)] {
        assert_eq!(under(Stragglers::Own, &process(place.clone())), Class::Orphan, "{place:?}");
        for different in [
            ProcessFacts { user: Some(34), ..process(place.clone()) },
            ProcessFacts { working_directory: Some("/srv/webshop".into()), ..process(place.clone()) },
            unlike(place.clone()),
        ] {
            let class = under(Stragglers::Own, &different);
            if place == Place::Nowhere {
                assert_eq!(class, Class::Stray);
            } else {
                assert!(!class.reapable(), "{different:?}: {class:?}");
            }
            assert_eq!(under(Stragglers::Port, &different), Class::Stray);
            assert!(!under(Stragglers::Never, &different).reapable());
        }
    }
}

#[test]
fn nobody_in_a_live_unit_a_live_session_or_a_container_is_ended() {
    for (place, spared) in [
        (in_unit("web@2.service", true), Spared::OtherUnit("web@2.service".to_owned())),
        (in_unit("docker-1.scope", true), Spared::OtherUnit("docker-1.scope".to_owned())),
        (in_session(true), Spared::Session("session-3.scope".to_owned())),
        (Place::Container("/docker/1".to_owned()), Spared::Container("/docker/1".to_owned())),
        (in_unit("init.scope", false), Spared::System),
    ] {
        for stragglers in [Stragglers::Never, Stragglers::Own, Stragglers::Port] {
            assert_eq!(under(stragglers, &process(place.clone())), Class::Spared(spared.clone()));
        }
    }
}

#[test]
fn the_system_and_this_program_are_spared() {
    for pid in [0, 1] {
        let init = ProcessFacts { pid: Some(pid), ..process(Place::Nowhere) };
        assert_eq!(under(Stragglers::Port, &init), Class::Spared(Spared::System));
    }
    let kernel = ProcessFacts { kernel: true, ..process(Place::Nowhere) };
    assert_eq!(under(Stragglers::Port, &kernel), Class::Spared(Spared::System));
    let own = ProcessFacts { pid: Some(std::process::id()), ..process(Place::Nowhere) };
    assert_eq!(under(Stragglers::Port, &own), Class::Spared(Spared::Ourselves));
    let unseen = ProcessFacts { place: None, ..process(Place::Nowhere) };
    assert_eq!(under(Stragglers::Port, &unseen), Class::Spared(Spared::Unseen));
}

#[test]
fn what_cannot_be_seen_is_never_an_orphan() {
    assert_eq!(under(Stragglers::Own, &hidden(in_session(false))), Class::Unproven);
    assert_eq!(under(Stragglers::Own, &hidden(Place::Nowhere)), Class::Stray);
    let other_user = ProcessFacts { user: Some(0), ..hidden(in_session(false)) };
    assert!(!under(Stragglers::Own, &other_user).reapable());
    let unknown = UnitFacts { executables: Vec::new(), ..unit() };
    assert_eq!(classify(&process(in_session(false)), &unknown, Stragglers::Own), Class::Unproven);
    let everywhere = UnitFacts { working_directory: Some("/".into()), ..unit() };
    assert_ne!(classify(&process(in_session(false)), &everywhere, Stragglers::Own), Class::Orphan);
}

#[test]
fn places_and_whether_they_have_ended() {
    let fake = Fake::new();
    let unit = |name: &str, live| Place::Unit { name: name.to_owned(), live };
    let session = |name: &str, live| Place::Session { name: name.to_owned(), live };
    let place = |path: &str| Place::of(&fake.world, path);
    // Nothing tells.
    assert_eq!(place("/system.slice/web.service"), unit("web.service", true));
    assert_eq!(place("/user.slice/user-0.slice/session-3.scope"), session("session-3.scope", true));
    fake.file("run/systemd/sessions/3", "UID=0\nSTATE=active\n");
    fake.file("run/systemd/sessions/c4", "UID=0\nSTATE=closing\n");
    fake.file("run/systemd/units/x", "");
    let scope = format!("docker-{}.scope", "0af3".repeat(16));
    let long = format!("{}.service", "a".repeat(200));
    for name in ["web.service", &scope, &long] {
        symlink("0011", fake.dir.path().join(format!("run/systemd/units/invocation:{name}"))).unwrap();
    }
    assert_eq!(place(&format!("/system.slice/{scope}")), unit(&scope, true));
    assert_eq!(place(&format!("/system.slice/{long}")), unit(&long, true));
    for (path, expected) in [
        ("/system.slice/web.service/worker", unit("web.service", true)),
        ("/system.slice/old.service", unit("old.service", false)),
        ("/user.slice/user-0.slice/session-3.scope", session("session-3.scope", true)),
        ("/user.slice/user-0.slice/session-c4.scope", session("session-c4.scope", false)),
        ("/user.slice/user-0.slice/session-9.scope", session("session-9.scope", false)),
        ("/docker/0af3", Place::Container("/docker/0af3".to_owned())),
        (
            "/lxc.payload.a/system.slice/web.service",
            Place::Container("/lxc.payload.a/system.slice/web.service".to_owned()),
        ),
        ("/", Place::Nowhere),
        ("/made-by-hand", Place::Nowhere),
        ("/../other", Place::Nowhere),
    ] {
        assert_eq!(place(path), expected, "{path}");
    }
}

#[test]
fn facts_of_processes() {
    let fake = Fake::new();
    fake.process(812, 'S', "MainThread) S 2", "node\0app.js\0", "/system.slice/web.service", &[]);
    fake.process(813, 'Z', "node", "", "/system.slice/web.service", &[]);
    symlink("/usr/bin/node (deleted)", fake.dir.path().join("proc/812/exe")).unwrap();
    symlink("/srv/web", fake.dir.path().join("proc/812/cwd")).unwrap();
    let facts = ProcessFacts::of(&fake.world, 812).unwrap();
    assert_eq!((facts.user, facts.started), (Some(33), Some(0)));
    assert_eq!(facts.executable.as_deref(), Some(Path::new(NODE)));
    assert_eq!(facts.working_directory.as_deref(), Some(Path::new("/srv/web")));
    assert!(!facts.kernel);
    assert_eq!(ProcessFacts::of(&fake.world, 813), None);
    assert_eq!(ProcessFacts::of(&fake.world, 814), None);
    assert_eq!(ProcessFacts::all(&fake.world).count(), 1);
    let own = ProcessFacts::of(&World::system(), std::process::id()).unwrap();
    assert!(own.started.is_some_and(|started| started > 0) && own.executable.is_some(), "{own:?}");
}

#[test]
fn executables_behind_links_and_scripts() {
    let fake = Fake::new();
    fake.file("usr/bin/node-18", "\x7fELF");
    symlink("node-18", fake.dir.path().join("usr/bin/node")).unwrap();
    fake.file("usr/lib/npm.js", "#!/usr/bin/env -S node\nprocess.exit()\n");
    symlink("../lib/npm.js", fake.dir.path().join("usr/bin/npm")).unwrap();
    let found = |command: &str| executables(&fake.world, Path::new(command));
    assert_eq!(found(NODE), [Path::new("/usr/bin/node-18")]);
    assert_eq!(found("node"), [Path::new("/usr/bin/node-18")]);
    assert_eq!(found("/usr/bin/npm"), [Path::new("/usr/lib/npm.js"), Path::new("/usr/bin/node-18")]);
    assert_eq!(found("/usr/bin/gone"), Vec::<PathBuf>::new());
    fake.file("usr/bin/loop", "#!/usr/bin/loop\n");
    assert_eq!(found("/usr/bin/loop").len(), 4);
}

#[test]
fn holders_of_a_real_port() {
    let socket = super::super::tests::lonely("::1");
    let port = socket.local_addr().unwrap().port();
    let (found, unseen) = holders(&World::system(), port, Address::Localhost).unwrap();
    assert_eq!(found.iter().map(|facts| facts.pid).collect::<Vec<_>>(), [Some(std::process::id())]);
    assert!(!unseen);
    let elsewhere = holders(&World::system(), port, Address::Ip("127.0.0.1".parse().unwrap())).unwrap();
    assert_eq!(elsewhere, (Vec::new(), false));
}
