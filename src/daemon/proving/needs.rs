//! What has to be allowed, in whose name, in which order it is asked, and how it is said that it is
//! missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Settings, grants};
use crate::helpers::result::Helper;
use crate::judge::{Denial, Subject, UnitName, Verb, Verbs};
use crate::systemd::Obstacle;

/// Sentences about one app; the rest is counted.
const SENTENCES: usize = 4;
/// Verbs that can be asked for without effect.
const PROVABLE: [Verb; 5] = [Verb::Start, Verb::Stop, Verb::Restart, Verb::Reload, Verb::Kill];

/// One unit on which something has to be allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    pub unit: UnitName,
    pub verbs: Verbs,
    /// Whose own unit it is.
    pub own: Vec<Subject>,
    /// For whom it does something besides: hooks, helpers, alerts.
    pub of: Vec<Subject>,
}

/// Everything that has to be allowed, the units of apps first.
#[must_use]
pub fn needs(settings: &Settings) -> Vec<Need> {
    let mut own: BTreeMap<UnitName, Vec<Subject>> = BTreeMap::new();
    let mut of: BTreeMap<UnitName, BTreeSet<Subject>> = BTreeMap::new();
    for member in &settings.members {
        let (policy, subject) = (&member.policy, &member.subject);
        own.entry(member.target.unit.clone()).or_default().push(subject.clone());
        let hooks = policy.before_start.iter().chain(&policy.after_recovery).chain(&policy.on_give_up);
        let helpers = Helper::ALL.into_iter().filter_map(|helper| helper.unit(subject).ok());
        let alerts = settings.alerts.iter().filter_map(|alert| alert.unit_for(subject.app()?));
        for unit in hooks.cloned().chain(helpers).chain(alerts) {
            of.entry(unit).or_default().insert(subject.clone());
        }
    }
    let need = |grant: crate::config::Grant| Need {
        own: own.remove(&grant.unit).unwrap_or_default(),
        of: of.remove(&grant.unit).into_iter().flatten().collect(),
        unit: grant.unit,
        verbs: grant.verbs,
    };
    let mut needs: Vec<Need> = grants(settings).into_iter().map(need).collect();
    needs.sort_by_key(|need| need.own.is_empty());
    needs
}

/// A question: may that be done to that unit?
pub type Question = (UnitName, Verb);

/// All questions: the first verb of every unit, then the second of each, and so on, so that any part of
/// them is about many units.
#[must_use]
pub fn questions(needs: &[Need]) -> Vec<Question> {
    let provable = |need: &Need| PROVABLE.into_iter().filter(|verb| need.verbs.has(*verb)).collect();
    let all: Vec<(&UnitName, Vec<Verb>)> = needs.iter().map(|need| (&need.unit, provable(need))).collect();
    let nth = |at: usize| {
        let of = move |(unit, verbs): &(&UnitName, Vec<Verb>)| Some(((*unit).clone(), *verbs.get(at)?));
        all.iter().filter_map(of)
    };
    (0..PROVABLE.len()).flat_map(nth).collect()
}

/// What was found to be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// Why nothing can be asked at all.
    pub general: Option<Obstacle>,
    /// What may not be done to single units, and why.
    pub missing: BTreeMap<UnitName, BTreeMap<Verb, Obstacle>>,
}

impl Findings {
    /// Everything that is needed was found to be allowed.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.general.is_none() && self.missing.is_empty()
    }

    /// Takes the answer to a question in.
    pub fn note(&mut self, (unit, verb): Question, obstacle: Option<Obstacle>) {
        match obstacle {
            Some(obstacle) => {
                self.missing.entry(unit).or_default().insert(verb, obstacle);
            }
            None => {
                if let Some(verbs) = self.missing.get_mut(&unit) {
                    verbs.remove(&verb);
                    if verbs.is_empty() {
                        self.missing.remove(&unit);
                    }
                }
            }
        }
    }

    /// What is missing for each app.
    #[must_use]
    pub fn denials(&self, needs: &[Need]) -> BTreeMap<Subject, Denial> {
        let mut sentences: BTreeMap<&Subject, (Verbs, Vec<String>)> = BTreeMap::new();
        for need in needs {
            let (verbs, sentence) = match (&self.general, self.missing.get(&need.unit)) {
                (Some(obstacle), _) if !need.own.is_empty() => {
                    let text =
                        format!("systemd carries nothing out for us: {obstacle}; {}", obstacle.remedy());
                    (need.verbs, text)
                }
                (None, Some(missing)) => (verbs_of(missing), sentence(&need.unit, missing)),
                _ => continue,
            };
            for subject in &need.own {
                let (known, said) = sentences.entry(subject).or_default();
                *known = known.with(verbs);
                said.push(sentence.clone());
            }
            for subject in need.of.iter().filter(|subject| !need.own.contains(subject)) {
                if self.general.is_none() {
                    sentences.entry(subject).or_default().1.push(sentence.clone());
                }
            }
        }
        let denial = |(subject, (verbs, said)): (&Subject, (Verbs, Vec<String>))| {
            let more = said.len().saturating_sub(SENTENCES);
            let mut text = said.into_iter().take(SENTENCES).collect::<Vec<_>>().join("; ");
            if more > 0 {
                text = format!("{text}; and {more} more");
            }
            (subject.clone(), Denial { verbs, text })
        };
        sentences.into_iter().map(denial).collect()
    }

    /// What is missing that belongs to no app: the host's swap.
    #[must_use]
    pub fn orphans(&self, needs: &[Need]) -> Vec<String> {
        let nobodys = needs.iter().filter(|need| need.own.is_empty() && need.of.is_empty());
        nobodys.filter_map(|need| Some(sentence(&need.unit, self.missing.get(&need.unit)?))).collect()
    }
}

fn verbs_of(missing: &BTreeMap<Verb, Obstacle>) -> Verbs {
    missing.keys().fold(Verbs::default(), |all, verb| all.with(Verbs::of(&[*verb])))
}

/// `start, stop of web.service: no rule of polkit allows it; systemctl …`
fn sentence(unit: &UnitName, missing: &BTreeMap<Verb, Obstacle>) -> String {
    let words: Vec<&str> = missing.keys().map(|verb| verb.word()).collect();
    let why = missing.values().next().map(|obstacle| format!("{obstacle}; {}", obstacle.remedy()));
    format!("{} of {unit}: {}", words.join(", "), why.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn needed(configuration: &str) -> Vec<Need> {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/app-monitor");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(etc.join("app-monitor.toml"), configuration).unwrap();
        needs(&load(&Sources { root: root.path().to_owned(), environment: Vec::new() }).unwrap().settings)
    }

    const TWO: &str = "[app.web]\nunit = \"web\"\nproxy = \"nginx\"\nbefore_start = [\"warm\"]\n\
        [app.api]\nunit = \"api\"\n[alerts.me]\nkind = \"unit\"\nunit = \"tell@.service\"\n";

    fn unit(name: &str) -> UnitName {
        name.parse().unwrap()
    }

    #[test]
    fn whatever_is_asked_in_part_is_about_many_units() {
        let needs = needed(TWO);
        let all = questions(&needs);
        let first: Vec<String> = all.iter().take(3).map(|(unit, verb)| format!("{verb} {unit}")).collect();
        assert_eq!(first, ["start api.service", "start nginx.service", "start web.service"]);
        assert!(all.contains(&(unit("nginx.service"), Verb::Reload)));
        assert!(all.iter().all(|(_, verb)| !matches!(verb, Verb::Ref | Verb::ResetFailed)));
        let each: BTreeSet<_> = all.iter().collect();
        assert_eq!(each.len(), all.len(), "each once");
    }

    #[test]
    fn what_is_missing_is_said_to_whom_it_concerns() {
        let needs = needed(TWO);
        let mut findings = Findings::default();
        for (name, verb) in
            [("web.service", Verb::Stop), ("web.service", Verb::Start), ("warm.service", Verb::Start)]
        {
            findings.note((unit(name), verb), Some(Obstacle::NoRule));
        }
        let denials = findings.denials(&needs);
        let names: Vec<String> = denials.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["web"]);
        let denial = denials.values().next().unwrap();
        assert_eq!(denial.verbs, Verbs::of(&[Verb::Start, Verb::Stop]));
        assert_eq!(
            denial.text,
            "start, stop of web.service: no rule of polkit allows it; systemctl reload app-monitor writes the \
             rule anew; start of warm.service: no rule of polkit allows it; systemctl reload app-monitor writes \
             the rule anew"
        );
        for (name, verb) in
            [("web.service", Verb::Stop), ("web.service", Verb::Start), ("warm.service", Verb::Start)]
        {
            findings.note((unit(name), verb), None);
        }
        assert!(findings.is_clear());
        findings.note((unit("tell@api.service"), Verb::Start), Some(Obstacle::NoRule));
        let denials = findings.denials(&needs);
        assert_eq!(denials[&"api".parse::<Subject>().unwrap()].verbs, Verbs::default(), "nothing of its own");
    }

    #[test]
    fn without_polkit_nothing_may_be_done_to_anybody() {
        let needs = needed(TWO);
        let findings = Findings { general: Some(Obstacle::Silent), ..Findings::default() };
        let denials = findings.denials(&needs);
        assert_eq!(denials.len(), 3, "two apps and a proxy");
        assert!(denials.values().all(|denial| denial.verbs.has(Verb::Start)
            && denial.text.contains("polkit does not answer; systemctl restart polkit")));
    }
}
