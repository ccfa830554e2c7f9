//! Who leans on whom: apps, the proxy in front of them, their database.
//!
//! What one member of the host knows is handed to the others here: reports of apps go to their
//! proxy, what became of the proxy and the database goes into the conditions of the apps.

use std::collections::{BTreeMap, BTreeSet};

use super::app::App;
use super::companion::Report;
use super::effect::Effect;
use super::host::{Effects, Host};
use super::names::{Subject, UnitName};
use super::observation::CheckKind;
use super::surroundings::{Holds, Leaned, conditions};
use super::target::Role;
use super::time::Moment;
use super::verdict::{Condition, Verdict};

/// What an app leans on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Leans {
    proxy: Option<Subject>,
    database: Option<Subject>,
}

/// Who leans on whom.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Links {
    leans: BTreeMap<Subject, Leans>,
    /// The apps behind a proxy.
    behind: BTreeMap<Subject, Vec<Subject>>,
    /// The apps that use a database.
    using: BTreeMap<Subject, Vec<Subject>>,
}

impl Links {
    pub fn of<'a>(members: impl Iterator<Item = &'a App> + Clone) -> Self {
        let by_unit: BTreeMap<&UnitName, &Subject> =
            members.clone().map(|app| (&app.target().unit, app.name())).collect();
        let mut links = Self::default();
        for app in members.filter(|app| app.target().role == Role::App) {
            let find = |unit: &Option<UnitName>| {
                let name = by_unit.get(unit.as_ref()?)?;
                (*name != app.name()).then(|| (*name).clone())
            };
            let leans =
                Leans { proxy: find(&app.target().proxy), database: find(&app.target().database_unit) };
            if let Some(proxy) = &leans.proxy {
                links.behind.entry(proxy.clone()).or_default().push(app.name().clone());
            }
            if let Some(database) = &leans.database {
                links.using.entry(database.clone()).or_default().push(app.name().clone());
            }
            links.leans.insert(app.name().clone(), leans);
        }
        links
    }

    /// The proxy that it is, or leans on.
    fn proxy_of<'a>(&'a self, name: &'a Subject) -> Option<&'a Subject> {
        match self.leans.get(name) {
            Some(leans) if leans.proxy.is_some() => leans.proxy.as_ref(),
            _ => self.behind.contains_key(name).then_some(name),
        }
    }

    /// The database that it is, or leans on.
    fn database_of<'a>(&'a self, name: &'a Subject) -> Option<&'a Subject> {
        match self.leans.get(name) {
            Some(leans) if leans.database.is_some() => leans.database.as_ref(),
            _ => self.using.contains_key(name).then_some(name),
        }
    }

    fn behind(&self, proxy: &Subject) -> &[Subject] {
        self.behind.get(proxy).map_or(&[], Vec::as_slice)
    }

    fn using(&self, database: &Subject) -> &[Subject] {
        self.using.get(database).map_or(&[], Vec::as_slice)
    }
}

impl Host {
    /// After something happened to those: what it means to the ones that lean on them, or that they
    /// lean on.
    pub(super) fn look_around(&mut self, now: Moment, touched: Vec<Subject>, out: &mut Effects) {
        let mut concerned: BTreeSet<Subject> = touched.into_iter().collect();
        let proxies: BTreeSet<Subject> =
            concerned.iter().filter_map(|name| self.links.proxy_of(name)).cloned().collect();
        for proxy in proxies {
            let fed = self.feed(now, &proxy, out);
            if fed || concerned.contains(&proxy) {
                concerned.extend(self.links.behind(&proxy).iter().cloned());
            }
        }
        let databases: BTreeSet<Subject> =
            concerned.iter().filter_map(|name| self.links.database_of(name)).cloned().collect();
        for database in databases {
            self.want(now, &database, out);
            if concerned.contains(&database) {
                concerned.extend(self.links.using(&database).iter().cloned());
            }
        }
        for name in concerned {
            self.look_around_one(now, &name, out);
        }
    }

    /// Hands what the apps see of a proxy to it. True: something followed from it.
    fn feed(&mut self, now: Moment, proxy: &Subject, out: &mut Effects) -> bool {
        let Some(companion) =
            self.apps.get(proxy).filter(|app| matches!(app.target().role, Role::Proxy { .. }))
        else {
            return false;
        };
        let apps = self.links.behind(proxy).iter().filter_map(|name| self.apps.get(name));
        let reports: Vec<(Subject, super::errands::Seen, bool)> = apps
            .filter_map(|app| {
                let seen = app.errands.seen(CheckKind::Proxy)?.clone();
                let counts = app.is_plainly_well()
                    && app.was_ever_good(CheckKind::Proxy)
                    && app.vouches_for(CheckKind::Proxy);
                Some((app.name().clone(), seen, counts))
            })
            .collect();
        let news = reports.iter().any(|(from, seen, _)| companion.companion.is_news(from, seen.began));
        let reports: Vec<Report<'_>> = reports
            .iter()
            .map(|(from, seen, counts)| Report {
                from,
                seen: &seen.observation,
                began: seen.began,
                counts: *counts,
            })
            .collect();
        let Some(companion) = self.apps.get_mut(proxy) else { return false };
        let others = companion.companion.look_for_witnesses(&reports);
        if news {
            out.extend(named(proxy, companion.take_reports(now, &reports)));
        } else if others {
            let mut effects = Vec::new();
            companion.follow(now, &mut effects);
            out.extend(named(proxy, effects));
        }
        news || others
    }

    /// Tells a database whether an app is down because of it.
    fn want(&mut self, now: Moment, database: &Subject, out: &mut Effects) {
        let apps = self.links.using(database).iter().filter_map(|name| self.apps.get(name));
        let wanted = apps.clone().any(|app| app.verdict == Verdict::DatabaseDown);
        if let Some(companion) = self.apps.get_mut(database)
            && companion.companion.wanted != wanted
        {
            companion.companion.wanted = wanted;
            let mut effects = Vec::new();
            companion.follow(now, &mut effects);
            out.extend(named(database, effects));
        }
    }

    fn look_around_one(&mut self, now: Moment, name: &Subject, out: &mut Effects) {
        let Some(app) = self.apps.get(name).filter(|app| app.target().role == Role::App) else { return };
        // The first verdict on it is not reached yet.
        if !app.judged {
            return;
        }
        let leaned = |name: &Option<Subject>| {
            let unit = self.apps.get(name.as_ref()?).filter(|unit| unit.judged)?;
            Some(Leaned {
                unit: &unit.target.unit,
                verdict: unit.verdict,
                text: &unit.verdict_text,
                since: unit.verdict_since,
            })
        };
        let leans = self.links.leans.get(name).cloned().unwrap_or_default();
        let holding = conditions(&app.surroundings(now, leaned(&leans.proxy), leaned(&leans.database)));
        let new = holding.iter().filter(|holds| !app.conditions.contains_key(&holds.what));
        let shared: BTreeSet<Condition> =
            new.filter(|holds| self.is_told(app, holds)).map(|holds| holds.what).collect();
        let proxy = leans.proxy.as_ref().and_then(|proxy| self.apps.get(proxy));
        let in_trouble = proxy.is_some_and(App::is_watched_closely);
        let Some(app) = self.apps.get_mut(name) else { return };
        out.extend(named(name, app.hold(now, holding, |holds| shared.contains(&holds.what))));
        out.extend(named(name, app.press_around(now, in_trouble)));
    }

    /// Another app has told the same of the host.
    fn is_told(&self, app: &App, holds: &Holds) -> bool {
        let key = key_of(app, holds.what, &holds.text);
        self.apps.values().filter(|other| other.name() != app.name()).any(|other| {
            other
                .conditions
                .get(&holds.what)
                .is_some_and(|state| state.alerted && key_of(other, holds.what, &state.text) == key)
        })
    }
}

/// What is the same for two apps is told once.
fn key_of(app: &App, what: Condition, text: &str) -> String {
    match what {
        Condition::HostMemory | Condition::NetworkDown => String::new(),
        Condition::ProxyDown => app.target().proxy.as_ref().map_or_else(String::new, ToString::to_string),
        // Figures differ from one look to the next.
        Condition::DiskLow => text.chars().filter(|c| !c.is_ascii_digit()).collect(),
        // Instances of one app are one.
        _ => app.told_as().to_string(),
    }
}

fn named(name: &Subject, effects: Vec<Effect>) -> impl Iterator<Item = (Subject, Effect)> {
    let name = name.clone();
    effects.into_iter().map(move |effect| (name.clone(), effect))
}

#[cfg(test)]
mod tests;
