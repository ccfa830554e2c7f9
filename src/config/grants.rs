//! What the monitor has to be allowed: which verbs on which units, and no more.
//!
//! It follows from what is in force alone. The privileged pre-start step writes it down for polkit,
//! and the daemon proves that it holds; both have it from here, so that they cannot differ.

use std::collections::BTreeMap;

use super::settings::Settings;
use crate::judge::{Mode, Role, UnitName};

pub use crate::judge::{Verb, Verbs};

/// What has to be allowed on one unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Under the name that systemd uses: an alias is asked of polkit under that, too.
    pub unit: UnitName,
    /// At least one.
    pub verbs: Verbs,
}

/// An app, or an instance. Also where it is only watched: a person may ask for its recovery then.
const APP: Verbs =
    Verbs::of(&[Verb::Start, Verb::Stop, Verb::Restart, Verb::Kill, Verb::ResetFailed, Verb::Ref]);
/// A proxy is never taken down to stay so for a moment; the kill belongs to its restart.
const PROXY: Verbs =
    Verbs::of(&[Verb::Start, Verb::Restart, Verb::Reload, Verb::Kill, Verb::ResetFailed, Verb::Ref]);
/// A database is only ever started.
const DATABASE: Verbs = Verbs::of(&[Verb::Start, Verb::ResetFailed, Verb::Ref]);
/// What is only looked at is held, so that systemd does not forget it.
const WATCHED: Verbs = Verbs::of(&[Verb::Ref]);
/// Hooks and helpers run once and are through.
const ONCE: Verbs = Verbs::of(&[Verb::Start]);
/// An alert's unit is tried again though it failed the last time.
const ALERT: Verbs = Verbs::of(&[Verb::Start, Verb::ResetFailed]);
/// Swap is had back by turning it off and on.
const SWAP: Verbs = Verbs::of(&[Verb::Start, Verb::Stop]);

/// Gathers evidence of whatever is in trouble.
const EVIDENCE: &str = "app-monitor-evidence";
/// The others are for apps alone.
const FOR_APPS: [&str; 3] = ["app-monitor-reap", "app-monitor-clear-caches", "app-monitor-preflight"];

/// Everything that the monitor has to be allowed, in the order of the units' names, each once.
#[must_use]
pub fn grants(settings: &Settings) -> Vec<Grant> {
    let mut all: BTreeMap<UnitName, Verbs> = BTreeMap::new();
    let mut add = |unit: &UnitName, verbs: Verbs| {
        let known = all.entry(unit.clone()).or_default();
        *known = known.with(verbs);
    };
    for member in &settings.members {
        let (policy, target) = (&member.policy, &member.target);
        let verbs = match (&target.role, policy.mode) {
            (Role::App, _) => APP,
            // Nobody can ask for the recovery of what apps lean on.
            (Role::Proxy { .. } | Role::Database { .. }, Mode::Watch) => WATCHED,
            (Role::Proxy { .. }, Mode::Act) => PROXY,
            (Role::Database { .. }, Mode::Act) => DATABASE,
        };
        add(&target.unit, verbs);
        for hook in policy.before_start.iter().chain(&policy.after_recovery).chain(&policy.on_give_up) {
            add(hook, ONCE);
        }
        let for_apps = FOR_APPS.iter().filter(|_| target.role == Role::App);
        for helper in for_apps.chain([&EVIDENCE]) {
            // A name too long for systemd has no unit that could be started.
            let unit = UnitName::try_from(format!("{helper}@{}.service", member.subject));
            unit.iter().for_each(|unit| add(unit, ONCE));
        }
        if target.role == Role::App && policy.reclaim_swap {
            settings.swaps.iter().for_each(|swap| add(swap, SWAP));
        }
    }
    for alert in &settings.alerts {
        for app in settings.apps() {
            alert.unit_for(app).iter().for_each(|unit| add(unit, ALERT));
        }
    }
    all.into_iter().map(|(unit, verbs)| Grant { unit, verbs }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use crate::helpers::result::Helper;

    fn granted(configuration: &str, swaps: &[&str]) -> Vec<(String, String)> {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/app-monitor");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(etc.join("app-monitor.toml"), configuration).unwrap();
        let generated = root.path().join("run/systemd/generator");
        std::fs::create_dir_all(generated.join("ignored.swap.wants")).unwrap();
        for swap in swaps {
            std::fs::write(generated.join(swap), "[Swap]\n").unwrap();
        }
        let loaded = load(&Sources { root: root.path().to_owned(), environment: Vec::new() });
        let list = grants(&loaded.unwrap().settings);
        list.into_iter().map(|grant| (grant.unit.to_string(), grant.verbs.to_string())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(unit, verbs)| ((*unit).to_owned(), (*verbs).to_owned())).collect()
    }

    const OF_AN_APP: &str = "start stop restart kill reset-failed ref";

    #[test]
    fn each_unit_has_what_its_role_needs_and_no_more() {
        let list = granted(
            "[app.web]\nunit = \"web\"\nproxy = \"nginx\"\ndatabase = { url = \"redis://localhost\", unit = \"redis\" }\n\
             before_start = [\"warm\"]\non_give_up = [\"redis\"]\n\
             [app.api]\ninstances = [{ unit = \"api@a\" }, { unit = \"api@b\" }]\nmode = \"watch\"\n\
             [alerts.me]\nkind = \"unit\"\nunit = \"tell@.service\"\n",
            &["dev-vda2.swap"],
        );
        let helpers = |subject: &str| {
            Helper::ALL.map(|helper| (format!("app-monitor-{}@{subject}.service", helper.word()), "start"))
        };
        let mut expected = pairs(&[
            ("api@a.service", OF_AN_APP),
            ("api@b.service", OF_AN_APP),
            ("app-monitor-evidence@nginx.service.service", "start"),
            ("app-monitor-evidence@redis.service.service", "start"),
            ("dev-vda2.swap", "start stop"),
            ("nginx.service", "start restart reload kill reset-failed ref"),
            ("redis.service", "start reset-failed ref"),
            ("tell@api.service", "start reset-failed"),
            ("tell@web.service", "start reset-failed"),
            ("warm.service", "start"),
            ("web.service", OF_AN_APP),
        ]);
        for subject in ["api@1", "api@2", "web"] {
            expected.extend(helpers(subject).map(|(unit, verbs)| (unit, verbs.to_owned())));
        }
        expected.sort();
        assert_eq!(list, expected);
    }

    #[test]
    fn what_is_only_watched_is_only_held() {
        let list = granted(
            "[app.web]\nunit = \"web\"\nproxy = \"nginx\"\nproxy_recover = false\nreclaim_swap = false\n",
            &["dev-vda2.swap"],
        );
        assert!(list.contains(&("nginx.service".to_owned(), "ref".to_owned())), "{list:?}");
        assert!(list.iter().all(|(unit, _)| !unit.ends_with(".swap")), "{list:?}");
        assert_eq!(granted("", &["dev-vda2.swap"]), []);
    }
}
