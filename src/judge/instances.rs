//! Several instances of one app: recovered one after the other, shown as one.
//!
//! Each is judged like an app, with its own verdict and budget. Here is what they owe each other.

use super::app::App;
use super::effect::Request;
use super::host::Host;
use super::names::{AppName, Subject};
use super::policy::Policy;
use super::target::{Role, Target};
use super::time::Moment;
use super::verdict::Verdict;
use super::view::{AppView, ConditionView};

impl Host {
    /// The instances of an app, or the app itself.
    fn of_app<'a>(&'a self, app: &'a AppName) -> impl Iterator<Item = &'a App> {
        self.apps().filter(move |member| member.name().app() == Some(app))
    }

    fn siblings<'a>(&'a self, name: &'a Subject) -> impl Iterator<Item = &'a App> {
        let app = name.app().filter(|_| matches!(name, Subject::Instance(..)));
        self.apps().filter(move |other| app.is_some() && other.name() != name && other.name().app() == app)
    }

    /// Whether it is that instance's turn. The next one begins when the one before is verified; as soon
    /// as one does not come back, the others are left as they are, since what broke it would break them.
    /// Where nothing is left to be saved, the next one is tried after `cooldown`. `sick`: something is
    /// wrong with it; one that only waited for what it needs is no part of any round.
    pub(super) fn has_its_turn(&self, now: Moment, name: &Subject, policy: &Policy, sick: bool) -> bool {
        if self.siblings(name).any(|other| other.is_being_recovered(now)) {
            return false;
        }
        if !sick {
            return true;
        }
        // One that turned bad long afterwards is no part of that round.
        let bad_since = self.app(name).and_then(App::turned_bad);
        // Of those that did not come back, the last one is tried again first, at the pace of its own budget.
        let own = self.app(name).and_then(App::did_not_come_back);
        let failed = self.siblings(name).filter_map(App::did_not_come_back).filter(|at| Some(*at) > own);
        let of_round = |failed: &Moment| bad_since.is_none_or(|since| since <= *failed + policy.cooldown);
        let failed = failed.filter(of_round).max();
        let Some(failed) = failed else { return true };
        let some_healthy = self.siblings(name).any(|other| other.verdict == Verdict::Healthy);
        !some_healthy && now >= failed + policy.cooldown
    }

    /// Whom a request is for. Err: nobody, and why.
    pub(super) fn asked_for(&self, name: &Subject, request: &Request) -> Result<Vec<Subject>, String> {
        if self.app(name).is_some_and(|member| member.target().role == Role::App) {
            return Ok(vec![name.clone()]);
        }
        let Subject::App(app) = name else { return Err(format!("no app is called {name}")) };
        let instances: Vec<&App> = self.of_app(app).collect();
        if instances.is_empty() {
            return Err(format!("no app is called {name}"));
        }
        if !matches!(request, Request::Recover { .. }) {
            return Ok(instances.iter().map(|instance| instance.name().clone()).collect());
        }
        // One at a time; the others that are bad have their turn after it.
        let bad = || instances.iter().filter(|instance| instance.verdict != Verdict::Healthy);
        let may = bad().filter(|instance| instance.refuses_recovery().is_none());
        let worst = may.min_by_key(|instance| instance.verdict);
        match worst.or_else(|| bad().min_by_key(|instance| instance.verdict)) {
            Some(worst) => Ok(vec![worst.name().clone()]),
            None => Err(format!(
                "all instances of {app} are healthy; name the one that is meant, such as {app}@1"
            )),
        }
    }

    /// Every app at a glance; what apps lean on shows as their conditions.
    #[must_use]
    pub fn views(&self, now: Moment) -> Vec<AppView> {
        Self::views_of(self.apps().filter(|member| member.target().role == Role::App), now)
    }

    fn views_of<'a>(members: impl Iterator<Item = &'a App>, now: Moment) -> Vec<AppView> {
        let mut views: Vec<AppView> = Vec::new();
        for member in members {
            let view = member.view(now);
            match views
                .last_mut()
                .filter(|last| last.app == view.app && matches!(member.name(), Subject::Instance(..)))
            {
                Some(whole) => whole.take_in(view),
                None if matches!(member.name(), Subject::Instance(..)) => {
                    let first = AppView { instances: vec![view.clone()], ..view };
                    views.push(AppView { instance: None, ..first });
                }
                None => views.push(view),
            }
        }
        views
    }

    /// The app of that name at a glance, or the instance.
    #[must_use]
    pub fn view(&self, now: Moment, name: &Subject) -> Option<AppView> {
        let members = name.app().into_iter().flat_map(|app| self.of_app(app));
        Self::views_of(members, now).pop()
    }

    /// Instances are known by their unit: one that stands elsewhere in the list by now goes on with what
    /// is remembered of it.
    pub(super) fn same_unit<'a>(
        target: &Target,
        mut others: impl Iterator<Item = &'a App>,
    ) -> Option<Subject> {
        others.find(|other| other.target().unit == target.unit).map(|other| other.name().clone())
    }
}

impl AppView {
    /// An app is as its worst instance is, and as well as all of them are; what holds for any of them
    /// holds for it.
    fn take_in(&mut self, instance: Self) {
        self.well &= instance.well;
        let mut conditions = std::mem::take(&mut self.conditions);
        let known = |new: &ConditionView, conditions: &[ConditionView]| {
            conditions.iter().any(|known| known.condition == new.condition)
        };
        for condition in &instance.conditions {
            if !known(condition, &conditions) {
                conditions.push(condition.clone());
            }
        }
        // As available as the least available of them; every restart counts.
        let mut figures = std::mem::take(&mut self.figures);
        for (all, one) in figures.iter_mut().zip(&instance.figures) {
            let restarts = all.restarts.saturating_add(one.restarts);
            if one.available_percent < all.available_percent {
                *all = one.clone();
            }
            all.restarts = restarts;
        }
        if instance.verdict < self.verdict {
            let before = std::mem::take(&mut self.instances);
            *self = Self { well: self.well, instances: before, instance: None, ..instance.clone() };
        }
        self.conditions = conditions;
        self.figures = figures;
        self.instances.push(instance);
    }
}

impl App {
    /// Its last recovery failed then, and it has not been healthy since.
    pub(super) fn did_not_come_back(&self) -> Option<Moment> {
        let over = self.verdict.is_well() && self.verdict != Verdict::Starting;
        self.failed_at.filter(|_| !over)
    }

    /// A recovery of it acts, or is verified. A verification that waits for somebody else may wait for
    /// long.
    fn is_being_recovered(&self, now: Moment) -> bool {
        let waits = self.verdict == Verdict::Paused
            || self.unreadable_since.is_some()
            || self.is_out_of_sight(now)
            || self.life.foreign_job().is_some();
        self.is_acting() || (self.recovery.is_some() && !waits)
    }

    /// Whether its recovery helped could not be checked for as long as it would have had to show it. A
    /// check that could not be made for a moment decides nothing.
    fn is_out_of_sight(&self, now: Moment) -> bool {
        let both = self.blind_since.zip(self.recovery.as_ref());
        both.is_some_and(|(blind, recovery)| {
            now.since(blind.max(recovery.step_since)) >= self.verify_within()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::effect::{Effect, Event};
    use super::super::memory::Memory;
    use super::super::testing::{down, up};
    use super::super::unit::{ActiveState, UnitReading};
    use super::super::verdict::Condition;
    use super::*;

    fn at(millis: i64) -> Moment {
        Moment::from_micros(10_000_000 + millis * 1_000)
    }

    fn name(number: u16) -> Subject {
        format!("web@{number}").parse().unwrap()
    }

    fn host() -> Host {
        let member = |number: u16| {
            let unit = format!("web@{number}.service").parse().unwrap();
            (name(number), Policy::default(), Target::of_unit(unit))
        };
        let mut host = Host::new((1..=3).map(member), 8, Memory::default(), false, at(0));
        for number in 1..=3 {
            let _ = host.handle(at(1), &name(number), Event::Unit(Box::new(up(1))));
        }
        host
    }

    /// It falls, nobody asked; what the host does about it.
    fn falls(host: &mut Host, number: u16, millis: i64) -> Vec<(Subject, Effect)> {
        let fallen = UnitReading { active: ActiveState::Failed, ..down(1) };
        let mut out = host.handle(at(millis), &name(number), Event::Unit(Box::new(fallen.clone())));
        out.extend(host.handle(at(millis + 40), &name(number), Event::Unit(Box::new(fallen))));
        out
    }

    fn performed(effects: &[(Subject, Effect)]) -> Vec<&Subject> {
        let acts = effects.iter().filter(|(_, effect)| matches!(effect, Effect::Perform(..)));
        acts.map(|(name, _)| name).collect()
    }

    #[test]
    fn one_after_the_other_however_many_slots_there_are() {
        let mut host = host();
        assert_eq!(performed(&falls(&mut host, 1, 100)), [&name(1)]);
        assert!(performed(&falls(&mut host, 2, 200)).is_empty());
        assert_eq!(host.app(&name(3)).unwrap().verdict, Verdict::Healthy);
    }

    #[test]
    fn a_round_is_abandoned_when_one_does_not_come_back() {
        let mut host = host();
        let effects = falls(&mut host, 1, 100);
        let act = effects.iter().find_map(|(_, effect)| match effect {
            Effect::Perform(act, _) => Some(*act),
            _ => None,
        });
        let _ = falls(&mut host, 2, 200);
        let broke = super::super::plan::Outcome::Failed("it does not start".into());
        let _ = host.handle(at(300), &name(1), Event::StepEnded(act.unwrap(), broke));
        let policy = Policy::default();
        let first = host.apps.get_mut(&name(1)).unwrap();
        first.failed(at(500), "it does not start", &mut Vec::new());
        assert!(!host.has_its_turn(at(600), &name(2), &policy, true), "a healthy one is left to be saved");
        assert!(host.has_its_turn(at(600), &name(2), &policy, false), "it only waited for what it needs");
        let _ = falls(&mut host, 3, 700);
        assert!(!host.has_its_turn(at(800), &name(2), &policy, true));
        assert!(host.has_its_turn(
            at(500) + policy.cooldown + Duration::from_secs(1),
            &name(2),
            &policy,
            true
        ));
    }

    #[test]
    fn of_two_that_did_not_come_back_the_last_one_is_tried_again() {
        let mut host = host();
        for (number, fell) in [(1, 100), (2, 200)] {
            let _ = falls(&mut host, number, fell);
            host.apps.get_mut(&name(number)).unwrap().failed_at = Some(at(i64::from(number) * 500));
            host.apps.get_mut(&name(number)).unwrap().recovery = None;
        }
        let policy = Policy::default();
        let turns = [1, 2].map(|number| host.has_its_turn(at(2_000_000), &name(number), &policy, true));
        assert_eq!(turns, [false, true], "else each would wait for the other, as long as one is healthy");
    }

    #[test]
    fn one_that_cannot_be_checked_keeps_its_turn_for_as_long_as_it_may_take() {
        let mut host = host();
        let _ = falls(&mut host, 1, 100);
        let policy = Policy::default();
        let first = host.apps.get_mut(&name(1)).unwrap();
        first.verify_from(at(1_000));
        first.blind_since = Some(at(0));
        let long = first.verify_within();
        assert!(!host.has_its_turn(at(2_000), &name(2), &policy, true), "blind for a moment");
        assert!(host.has_its_turn(at(1_000) + long, &name(2), &policy, true));
    }

    #[test]
    fn shown_as_one_as_its_worst() {
        let mut host = host();
        let _ = falls(&mut host, 2, 100);
        let views = host.views(at(200));
        assert_eq!(views.len(), 1);
        assert_eq!((views[0].verdict, views[0].instances.len()), (Verdict::Crashed, 3));
        assert_eq!(views[0].unit, "web@2.service");
        assert!(!views[0].well);
        assert_eq!(views[0].instances[1].instance.as_deref(), Some("web@2"));
    }

    #[test]
    fn what_holds_for_one_of_them_holds_for_all() {
        let mut host = host();
        for (number, text) in [(1, "of one"), (2, "of two")] {
            let app = host.apps.get_mut(&name(number)).unwrap();
            app.note(at(50), Condition::Slow, Some(text.to_owned()), &mut Vec::new());
        }
        host.apps.get_mut(&name(3)).unwrap().note(
            at(50),
            Condition::PortForeign,
            Some("of three".to_owned()),
            &mut Vec::new(),
        );
        let _ = falls(&mut host, 2, 100);
        let view = &host.views(at(200))[0];
        let held: Vec<&str> = view.conditions.iter().map(|held| held.text.as_str()).collect();
        assert_eq!(held, ["of one", "of three"]);
    }

    #[test]
    fn a_person_asks_for_the_worst_of_them() {
        let mut host = host();
        let app: Subject = "web".parse().unwrap();
        assert!(host.asked_for(&app, &Request::Recover { by: None }).unwrap_err().contains("web@1"));
        assert_eq!(host.asked_for(&app, &Request::Reset { by: None }).unwrap().len(), 3);
        let _ = falls(&mut host, 2, 100);
        assert_eq!(host.asked_for(&app, &Request::Recover { by: None }), Ok(vec![name(2)]));
        assert!(host.asked_for(&"shop".parse().unwrap(), &Request::Resume { by: None }).is_err());
    }

    #[test]
    fn one_that_fell_later_is_no_part_of_a_round_that_was_abandoned() {
        let mut host = host();
        let _ = falls(&mut host, 1, 100);
        let first = host.apps.get_mut(&name(1)).unwrap();
        first.policy.max_attempts = 1;
        first.failed(at(500), "it does not start", &mut Vec::new());
        let acts = falls(&mut host, 2, 70_000);
        assert_eq!(performed(&acts), [&name(2)], "though the third is healthy");
    }

    #[test]
    fn a_person_asks_for_the_worst_that_may_be_recovered() {
        use super::super::unit::{JobId, JobResult};
        let mut host = host();
        let _ = host.handle(at(50), &name(1), Event::JobNew(JobId(7)));
        let _ = host.handle(at(51), &name(1), Event::JobRemoved(JobId(7), JobResult::Done));
        let stopped = |left, exited| UnitReading {
            active_exit: Some(at(left)),
            main_exit: Some(at(exited)),
            ..down(1)
        };
        let _ = host.handle(at(52), &name(1), Event::Unit(Box::new(stopped(50, 51))));
        let _ = host.handle(at(92), &name(1), Event::Unit(Box::new(stopped(50, 51))));
        assert_eq!(host.app(&name(1)).unwrap().verdict, Verdict::StoppedByAdmin);
        let _ = falls(&mut host, 2, 100);
        host.apps.get_mut(&name(2)).unwrap().failed(at(500), "it does not start", &mut Vec::new());
        let app: Subject = "web".parse().unwrap();
        assert_eq!(host.asked_for(&app, &Request::Recover { by: None }), Ok(vec![name(2)]));
    }
}
