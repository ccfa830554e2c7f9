use super::*;

fn bad(fault: Fault) -> Observation {
    Observation::bad(fault, format!("{fault:?}"))
}

fn named(s: &Surroundings<'_>) -> Vec<(Condition, Telling)> {
    conditions(s).into_iter().map(|holds| (holds.what, holds.telling)).collect()
}

fn words(s: &Surroundings<'_>) -> Vec<Condition> {
    named(s).into_iter().map(|(what, _)| what).collect()
}

fn well<'a>() -> Surroundings<'a> {
    Surroundings {
        answers: true,
        proxy: Sight::Good,
        proxy_asked: true,
        public: Sight::Good,
        database: Sight::Good,
        disk: Sight::Good,
        public_host: "shop.example",
        expires_within: Duration::from_secs(14 * 86_400),
        certificate: Some(60 * 86_400),
        ..Surroundings::default()
    }
}

fn nginx() -> UnitName {
    "nginx.service".parse().unwrap()
}

fn leaned(unit: &UnitName, verdict: Verdict) -> Leaned<'_> {
    Leaned { unit, verdict, text: "", since: Moment::from_micros(5_000_000) }
}

#[test]
fn nothing_holds_where_all_is_well() {
    assert_eq!(named(&well()), []);
    assert_eq!(named(&Surroundings::default()), [], "and where nothing is known");
}

#[test]
fn a_silent_proxy_goes_before_what_follows_from_it() {
    for fault in [Fault::Refused, Fault::Unanswered] {
        let (proxy, public) = (bad(fault), bad(fault));
        let s = Surroundings {
            proxy: Sight::Bad(&proxy),
            public: Sight::Bad(&public),
            egress: Sight::Good,
            ..well()
        };
        assert_eq!(named(&s), [(Condition::ProxyDown, Telling::AtOnce)], "{fault:?}");
        let unsure = Surroundings { proxy: Sight::Suspected(&proxy), ..s.clone() };
        assert_eq!(named(&unsure), [], "not before it is confirmed, nor anything in its place");
        let unheard = Surroundings { proxy_doubted: true, public_doubted: true, ..s.clone() };
        assert_eq!(named(&unheard), [], "not before the app itself was seen well since");
        let app_is_bad = Surroundings { answers: false, ..s };
        assert_eq!(named(&app_is_bad), [], "the app's own fault explains it");
    }
}

#[test]
fn a_living_proxy_that_reaches_nobody() {
    let upstream = bad(Fault::Upstream);
    let s = Surroundings {
        proxy: Sight::Bad(&upstream),
        public: Sight::Bad(&upstream),
        egress: Sight::Good,
        ..well()
    };
    assert_eq!(words(&s), [Condition::ProxyUpstream]);
    let seen_from_outside =
        Surroundings { proxy: Sight::Unasked, proxy_asked: false, public: Sight::Bad(&upstream), ..s };
    assert_eq!(words(&seen_from_outside), [Condition::ProxyUpstream]);
}

#[test]
fn public_alone_is_told_once_the_network_is_known() {
    for fault in [Fault::Unresolved, Fault::Refused, Fault::Unanswered, Fault::Tls, Fault::WrongAnswer] {
        let public = bad(fault);
        let s = Surroundings { public: Sight::Bad(&public), certificate: None, ..well() };
        assert_eq!(named(&s), [], "egress was not asked yet");
        let there = Surroundings { egress: Sight::Good, ..s.clone() };
        assert_eq!(named(&there), [(Condition::PublicUnreachable, Telling::AtOnce)], "{fault:?}");
        let nobody_knows = Surroundings { egress: Sight::Unknown, ..s.clone() };
        assert_eq!(words(&nobody_knows), [Condition::PublicUnreachable]);
        let gone = bad(Fault::Unreachable);
        let suspected = Surroundings { egress: Sight::Suspected(&gone), ..s.clone() };
        assert_eq!(named(&suspected), []);
        let down = Surroundings { egress: Sight::Bad(&gone), ..s };
        assert_eq!(named(&down), [(Condition::NetworkDown, Telling::AtEnd)]);
    }
}

#[test]
fn what_holds_is_not_ended_by_what_is_not_known() {
    let held = vec![(Condition::PublicUnreachable, "before")];
    let public = bad(Fault::Unresolved);
    let gone = bad(Fault::Unreachable);
    for (sight, egress, still) in [
        (Sight::Unknown, Sight::Unasked, true),
        (Sight::Unasked, Sight::Unasked, true),
        (Sight::Suspected(&public), Sight::Unasked, true),
        (Sight::Bad(&public), Sight::Bad(&gone), true),
        (Sight::Good, Sight::Good, false),
    ] {
        let s = Surroundings { public: sight, egress, held: held.clone(), answers: false, ..well() };
        assert_eq!(words(&s).contains(&Condition::PublicUnreachable), still, "{sight:?}");
    }
    let held = vec![(Condition::DiskLow, "before"), (Condition::DatabaseUnreachable, "before")];
    let s = Surroundings { disk: Sight::Unknown, database: Sight::Unknown, held, ..well() };
    assert_eq!(words(&s), [Condition::DatabaseUnreachable, Condition::DiskLow]);
}

#[test]
fn a_proxy_that_fell_is_down_whoever_is_asked() {
    let unit = nginx();
    let s = Surroundings {
        proxy_unit: Some(leaned(&unit, Verdict::Crashed)),
        proxy: Sight::Unasked,
        public: Sight::Unasked,
        answers: false,
        ..well()
    };
    let told = conditions(&s);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].what, told[0].text.as_str()), (Condition::ProxyDown, "nginx.service is crashed"));
}

#[test]
fn a_proxy_that_somebody_stopped_explains_what_fails_and_waits_to_be_told() {
    let unit = nginx();
    let refused = bad(Fault::Refused);
    let stopped = Surroundings {
        proxy_unit: Some(leaned(&unit, Verdict::StoppedByAdmin)),
        proxy: Sight::Bad(&refused),
        public: Sight::Bad(&refused),
        egress: Sight::Good,
        ..well()
    };
    assert_eq!(named(&stopped), [(Condition::ProxyDown, Telling::Never)]);
    let after = Duration::from_secs(60);
    let told = Surroundings { stopped_alert_after: Some(after), ..stopped.clone() };
    let at = Moment::from_micros(65_000_000);
    assert_eq!(named(&told), [(Condition::ProxyDown, Telling::At(at))]);
    let unharmed =
        Surroundings { proxy: Sight::Good, public: Sight::Good, egress: Sight::Unasked, ..stopped.clone() };
    assert_eq!(named(&unharmed), [], "nothing fails by it");
    let passing = Surroundings { proxy_unit: Some(leaned(&unit, Verdict::Changing)), ..stopped };
    assert_eq!(named(&passing), [], "somebody is at work on it");
}

#[test]
fn a_database_is_unreachable_only_for_an_app_that_answers() {
    let down = bad(Fault::DatabaseDown);
    let unit: UnitName = "postgresql.service".parse().unwrap();
    let s = Surroundings {
        database: Sight::Bad(&down),
        database_unit: Some(leaned(&unit, Verdict::StoppedByAdmin)),
        ..well()
    };
    let told = conditions(&s);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].what, Condition::DatabaseUnreachable);
    assert!(told[0].text.contains("postgresql.service is stopped-by-admin"), "{}", told[0].text);
    assert_eq!(named(&Surroundings { answers: false, ..s }), []);
}

#[test]
fn certificates_are_told_before_and_after_their_end() {
    let days = |n: i64| Some(n * 86_400);
    let soon = Surroundings { certificate: days(13), ..well() };
    assert_eq!(words(&soon), [Condition::CertificateExpiring]);
    assert_eq!(conditions(&soon)[0].text, "the certificate of shop.example is valid for another 13 d");
    assert_eq!(words(&Surroundings { certificate: days(14), ..well() }), []);
    let tls = bad(Fault::Tls);
    let expired =
        Surroundings { certificate: days(-1), public: Sight::Bad(&tls), egress: Sight::Good, ..well() };
    assert_eq!(
        named(&expired),
        [(Condition::PublicUnreachable, Telling::Never), (Condition::CertificateExpiring, Telling::AtOnce)],
        "both are shown, one is told"
    );
}

#[test]
fn the_rest_of_the_table() {
    let full = bad(Fault::DiskLow);
    assert_eq!(words(&Surroundings { disk: Sight::Suspected(&full), ..well() }), [Condition::DiskLow]);
    assert_eq!(words(&Surroundings { often: Some("6 times".into()), ..well() }), [Condition::RestartsOften]);
    let since = Moment::from_micros(0);
    let slow = Surroundings { slow: Some(("took 3 s", since)), ..well() };
    assert_eq!(named(&slow), [(Condition::Slow, Telling::At(since + SLOW_FOR))]);
    let short = Surroundings { short_of_memory: Some("80 MiB".into()), ..well() };
    assert_eq!(words(&short), [Condition::HostMemory]);
}
