use std::cell::Cell;
use std::path::PathBuf;

use super::*;
use crate::checks::straggler::Place;

fn unit() -> UnitFacts {
    UnitFacts {
        name: "web.service".to_owned(),
        live: false,
        user: Some(33),
        executables: vec!["/usr/bin/node".into()],
        working_directory: Some("/srv/web".into()),
    }
}

/// A process of the app's kind: its user, its executable, in its directory.
fn kin(pid: u32, place: Place) -> ProcessFacts {
    ProcessFacts {
        pid: Some(pid),
        started: Some(5),
        user: Some(33),
        control_group: None,
        place: Some(place),
        executable: Some("/usr/bin/node".into()),
        working_directory: Some("/srv/web".into()),
        kernel: false,
    }
}

fn other(pid: u32, place: Place) -> ProcessFacts {
    ProcessFacts { executable: Some(PathBuf::from("/usr/bin/python3")), ..kin(pid, place) }
}

fn service(name: &str, live: bool) -> Place {
    Place::Unit { name: name.to_owned(), live }
}

fn session(live: bool) -> Place {
    Place::Session { name: "session-3.scope".to_owned(), live }
}

/// The pids that are to be ended, and what is said of the others.
fn judged(
    holding: Vec<ProcessFacts>,
    all: Vec<ProcessFacts>,
    stragglers: Stragglers,
    answer: Answer,
) -> (Vec<u32>, Vec<String>) {
    let named = |facts: &ProcessFacts| format!("p{}", facts.pid.unwrap());
    let found = judge(holding, all, &unit(), stragglers, Some(3000), &|| answer.clone(), &named);
    (found.doomed.iter().filter_map(|doomed| doomed.facts.pid).collect(), found.spared)
}

#[test]
fn who_holds_the_port_and_answers_nothing_is_ended_outside_of_services_and_sessions_only() {
    let holding = vec![
        other(10, Place::Nowhere),
        other(11, service("nginx.service", true)),
        other(12, session(true)),
        kin(13, service("web2.service", true)),
        other(1, service("init.scope", true)),
        other(std::process::id(), Place::Nowhere),
        other(14, Place::Container("/docker/abc".to_owned())),
    ];
    let (doomed, spared) = judged(holding, Vec::new(), Stragglers::Own, Answer::None);
    assert_eq!(doomed, [10]);
    assert_eq!(spared.len(), 6);
    assert_eq!(spared[0], "p11 holds port 3000 and is left alone: it belongs to nginx.service");
    assert_eq!(
        spared[1],
        "p12 holds port 3000 and is left alone: it lives in the login session session-3.scope"
    );
}

#[test]
fn who_answers_well_or_cannot_be_asked_is_ended_only_as_an_orphan() {
    for (answer, said) in [
        (Answer::Well, "answers the health check well"),
        (Answer::Unknown("no time".to_owned()), "nobody knows how it answers (no time)"),
    ] {
        let holding = vec![other(10, Place::Nowhere), kin(11, Place::Nowhere)];
        let (doomed, spared) = judged(holding, Vec::new(), Stragglers::Own, answer);
        assert_eq!(doomed, [11]);
        assert_eq!(spared, [format!("p10 holds port 3000 and is left alone: {said}")]);
    }
}

#[test]
fn it_is_asked_once_and_only_where_the_answer_decides() {
    let asked = Cell::new(0);
    let answers = || {
        asked.set(asked.get() + 1);
        Answer::None
    };
    let named = |_: &ProcessFacts| String::new();
    let judge = |holding| {
        judge(holding, Vec::new(), &unit(), Stragglers::Own, Some(3000), &answers, &named).doomed.len()
    };
    assert_eq!(judge(vec![kin(10, Place::Nowhere), other(11, session(true))]), 1);
    assert_eq!(asked.get(), 0);
    assert_eq!(judge(vec![other(10, Place::Nowhere), other(11, Place::Nowhere)]), 2);
    assert_eq!(asked.get(), 1);
}

#[test]
fn orphans_in_the_units_cgroup_or_in_none_are_ended_and_nobody_else_without_the_port() {
    let all = vec![
        kin(10, service("web.service", false)),
        kin(11, Place::Nowhere),
        kin(12, Place::Nowhere),
        // A migration under nohup, whose session has ended or been dropped; one that systemd-run started.
        kin(18, session(false)),
        kin(19, service("run-u7.service", false)),
        // A build in a session, a worker, a sibling, a stranger, somebody elsewhere.
        kin(13, session(true)),
        kin(14, service("worker.service", true)),
        kin(15, service("web@2.service", true)),
        other(16, Place::Nowhere),
        ProcessFacts { working_directory: Some("/srv/other".into()), ..kin(17, Place::Nowhere) },
    ];
    assert_eq!(
        judged(Vec::new(), all.clone(), Stragglers::Own, Answer::None),
        (vec![10, 11, 12], Vec::new())
    );
    assert_eq!(judged(Vec::new(), all.clone(), Stragglers::Never, Answer::None), (Vec::new(), Vec::new()));
    assert_eq!(judged(Vec::new(), all.clone(), Stragglers::Port, Answer::None).0, [10, 11, 12]);
    // Who holds the port is ended once, and wherever it has been left.
    let holding = vec![kin(10, Place::Nowhere), kin(18, session(false))];
    assert_eq!(judged(holding, all, Stragglers::Own, Answer::None).0, [10, 18, 11, 12]);
}

#[test]
fn a_crowd_is_a_mistake() {
    let all = (2..=u32::try_from(MANY).unwrap() + 2).map(|pid| kin(100_000 + pid, Place::Nowhere)).collect();
    let (doomed, spared) = judged(Vec::new(), all, Stragglers::Own, Answer::None);
    assert!(doomed.is_empty() && spared[0].contains("none is ended"), "{spared:?}");
}

mod with_processes {
    #![expect(clippy::disallowed_types, reason = "real processes, which have to be of this test alone")]

    use std::process::{Child, Command};

    use super::super::ending::{How, end};
    use super::super::*;
    use super::kin;

    struct Script(Child);

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A shell that says when it is ready, and then sleeps.
    fn script(text: &str) -> Script {
        use std::io::Read;
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{text}; echo; while :; do sleep 0.05; done"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Script(child)
    }

    fn doomed(world: &World, script: &Script) -> Doomed {
        let facts = ProcessFacts::of(world, script.0.id()).unwrap();
        Doomed { facts, who: "sh".to_owned(), why: "a test".to_owned() }
    }

    #[test]
    fn whoever_ends_by_itself_is_given_the_time_and_the_rest_is_killed() {
        let world = World::system();
        let (polite, stubborn) = (script(":"), script("trap '' TERM"));
        let both = vec![doomed(&world, &polite), doomed(&world, &stubborn)];
        let began = now();
        let ended: Vec<How> =
            end(&world, both, began + Duration::from_secs(1)).into_iter().map(|(_, how)| how).collect();
        assert_eq!(ended, [How::Ended { killed: false }, How::Ended { killed: true }]);
        assert!(now().since(began) < Duration::from_secs(2));
    }

    #[test]
    fn another_process_under_the_number_is_not_touched() {
        let world = World::system();
        let mut innocent = script(":");
        let right = doomed(&world, &innocent);
        let with = |change: fn(&mut ProcessFacts)| {
            let mut wrong = right.clone();
            change(&mut wrong.facts);
            wrong
        };
        let wrong = vec![
            with(|facts| facts.started = facts.started.map(|at| at - 1)),
            with(|facts| facts.control_group = Some("/elsewhere.service".to_owned())),
            with(|facts| facts.pid = None),
            Doomed { facts: kin(1, crate::checks::straggler::Place::Nowhere), ..right.clone() },
        ];
        let ended = end(&world, wrong, now() + Duration::from_secs(1));
        assert!(ended.iter().all(|(_, how)| *how == How::Gone), "{ended:?}");
        std::thread::sleep(Duration::from_millis(100));
        assert!(innocent.0.try_wait().unwrap().is_none(), "it lives");
    }

    #[test]
    fn who_has_gone_is_gone() {
        let world = World::system();
        let mut script = script(":");
        let gone = doomed(&world, &script);
        script.0.kill().unwrap();
        script.0.wait().unwrap();
        assert_eq!(end(&world, vec![gone], now())[0].1, How::Gone);
    }
}

mod whole {
    use std::cell::RefCell;

    use super::super::*;
    use crate::config::Settings;
    use crate::helpers::oneshot::tests::Host;
    use crate::judge::{Target, UnitName};
    use crate::systemd::Execution;

    /// Down, but for the looks that are told otherwise.
    struct Looks(RefCell<Vec<bool>>);

    impl Units for Looks {
        fn look(&self, _: &UnitName) -> Result<Look, String> {
            let mut looks = self.0.borrow_mut();
            let down = if looks.is_empty() { true } else { looks.remove(0) };
            Ok(Look {
                down,
                state: "running".to_owned(),
                execution: Execution { user: "nobody-here".to_owned(), ..Execution::default() },
                ..Look::default()
            })
        }
    }

    fn reaped(stragglers: Stragglers, port: Option<u16>, looks: Vec<bool>) -> Result<Ending, String> {
        let target =
            Target { stragglers, port, ..Target::of_unit("nobody-of-a-test.service".parse().unwrap()) };
        let host = Host::of(vec![("web", target)]);
        let request = host.request("web");
        let settings: Settings = request.settings().unwrap();
        let world = World::system();
        let looks = Looks(RefCell::new(looks));
        let until = now() + DEADLINE;
        let well = || Answer::Well;
        let reaped = reap(&request, &settings.members[0], &world, &looks, &well, until);
        reaped.map(|(ending, _)| ending)
    }

    #[test]
    fn nothing_is_ended_while_the_unit_is_up() {
        let up = reaped(Stragglers::Port, None, vec![false]);
        assert_eq!(
            up,
            Err("nobody-of-a-test.service is not down (running); whoever is there is its own".to_owned())
        );
        assert_eq!(reaped(Stragglers::Never, None, vec![false]), Ok(Ending::Nothing));
        assert_eq!(reaped(Stragglers::Own, None, vec![true]), Ok(Ending::Nothing));
    }

    #[test]
    fn a_holder_of_the_port_that_is_spared_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // This process holds it, which is app-monitor.
        let Ok(Ending::Failed(why)) = reaped(Stragglers::Port, Some(port), Vec::new()) else {
            panic!("it is not to be ended")
        };
        assert!(why.ends_with(&format!("holds port {port} and is left alone: it is app-monitor")), "{why}");
    }
}
