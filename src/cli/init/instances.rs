//! Which of the running services are instances of one app, and how they stand in its table.

use serde::Serialize;

use super::comment;
use super::proposal::quoted;
use crate::server::FoundApp;

/// Most instances that an app may have.
const MOST: usize = 64;

/// One instance, as it is proposed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Instance {
    pub unit: String,
    pub port: Option<u16>,
    pub http: Option<&'static str>,
    /// Where that came from.
    pub from: String,
    /// What is not proposed of it, and why.
    pub without: Vec<String>,
}

/// Puts services together that are one app, in the order in which they stand.
pub fn groups<'a>(apps: impl Iterator<Item = &'a FoundApp>) -> Vec<Vec<&'a FoundApp>> {
    let mut groups: Vec<Vec<&FoundApp>> = Vec::new();
    for app in apps {
        let mut fitting =
            groups.iter_mut().filter(|group| group.len() < MOST && group.iter().any(|one| are_one(one, app)));
        match fitting.next() {
            Some(group) => group.push(app),
            None => groups.push(vec![app]),
        }
    }
    groups
}

/// Instances of one template that run the same files, or services among which nginx divides what it
/// passes on. A template whose instances run each in a folder of their own is many apps.
pub fn are_one(a: &FoundApp, b: &FoundApp) -> bool {
    let template = |app: &FoundApp| app.service.unit.stem().split_once('@').map(|(stem, _)| stem.to_owned());
    let same = template(a).is_some() && template(a) == template(b) && a.directory == b.directory;
    same || (a.runtime == b.runtime && a.shares_a_pass(b))
}

/// What they are called together.
pub fn stem(group: &[&FoundApp]) -> String {
    let stems: Vec<&str> = group.iter().map(|app| app.service.unit.stem()).collect();
    let Some((first, rest)) = stems.split_first() else { return String::new() };
    if rest.is_empty() {
        return (*first).to_owned();
    }
    let common = |stem: &&str| first.chars().zip(stem.chars()).take_while(|(a, b)| a == b).count();
    let most = rest.iter().map(common).min().unwrap_or(0);
    let together: String = first.chars().take(most).collect();
    let together = together.split('@').next().unwrap_or_default();
    let together = together.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    if together.is_empty() { (*first).to_owned() } else { together.to_owned() }
}

impl Instance {
    fn shown(&self) -> String {
        let mut parts = vec![format!("unit = {}", quoted(&self.unit))];
        parts.extend(self.port.map(|port| format!("port = {port}")));
        parts.extend(self.http.map(|path| format!("http = {}", quoted(path))));
        format!("{{ {} }}", parts.join(", "))
    }

    /// Leaves out what does not pass. Gives whether something changed.
    pub fn leave_out(&mut self, key: &str, why: &str) -> bool {
        match key {
            "http" if self.http.is_some() => self.http = None,
            // A path is nothing without its port.
            "port" if self.port.is_some() => (self.port, self.http) = (None, None),
            _ => return false,
        }
        self.without.push(format!("{key} is left out: {why}"));
        true
    }
}

/// On one line.
pub fn value(instances: &[Instance]) -> String {
    format!("[{}]", instances.iter().map(Instance::shown).collect::<Vec<_>>().join(", "))
}

/// The whole key.
pub fn toml(instances: &[Instance]) -> String {
    format!("instances = [\n{}]\n", entries(instances))
}

/// On a line each, with where it came from.
pub fn entries(instances: &[Instance]) -> String {
    let mut text = String::new();
    for instance in instances {
        text.push_str(&comment(&format!("{}: {}", instance.unit, instance.from)));
        for why in &instance.without {
            text.push_str(&comment(why));
        }
        text.push_str(&format!("  {},\n", instance.shown()));
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::server::nginx::{Pass, Site, Upstream};
    use crate::systemd::ServiceReading;

    pub fn app(unit: &str, directory: &str, port: u16, balanced: &[u16]) -> FoundApp {
        let to = balanced.iter().map(|port| Upstream::Host("127.0.0.1".into(), *port)).collect();
        let pass = Pass { location: "/".into(), to };
        let site = Site { file: String::new(), names: vec![], ports: vec![(80, false)], passes: vec![pass] };
        FoundApp {
            service: ServiceReading::running(unit, 7),
            runtime: Some("node"),
            process: "node".into(),
            listening: vec![],
            directory: Some(directory.into()),
            databases: vec![],
            caches: vec![],
            sockets: vec![],
            sites: if balanced.contains(&port) { vec![(site, Some(port))] } else { vec![] },
        }
    }

    #[test]
    fn who_is_one_app() {
        let units = |apps: &[FoundApp]| -> Vec<(String, usize)> {
            groups(apps.iter()).iter().map(|group| (stem(group), group.len())).collect()
        };
        let web = |n: u16, directory: &str| app(&format!("web@{n}.service"), directory, n, &[]);
        assert_eq!(units(&[web(3001, "/srv/web"), web(3002, "/srv/web")]), [("web".into(), 2)]);
        // Each in a folder of its own: many apps from one template.
        assert_eq!(units(&[web(1, "/srv/a"), web(2, "/srv/b")]), [("web@1".into(), 1), ("web@2".into(), 1)]);
        // One template is not another.
        let api = app("api@1.service", "/srv/web", 3, &[]);
        assert_eq!(units(&[api, web(1, "/srv/web")]).len(), 2);
        // Blue and green behind one upstream.
        let both = [1, 2];
        let apps = [app("shop-blue.service", "/a", 1, &both), app("shop-green.service", "/b", 2, &both)];
        assert_eq!(units(&apps), [("shop".into(), 2)]);
        let apps = [app("shop.service", "/a", 1, &[1]), app("blog.service", "/b", 2, &[2])];
        assert_eq!(units(&apps).len(), 2);
        let apps = [app("a.service", "/a", 1, &both), app("b.service", "/b", 2, &both)];
        assert_eq!(units(&apps), [("a".into(), 2)]);
    }

    #[test]
    fn what_does_not_pass_is_left_out_of_one() {
        let of = |unit: &str, port: u16| Instance {
            unit: unit.into(),
            port: Some(port),
            http: Some("/up"),
            from: "listens".into(),
            without: vec![],
        };
        let mut all = [of("web@1.service", 3001), of("web@2.service", 3002)];
        assert!(all[1].leave_out("http", "answers 500"));
        assert!(!all[1].leave_out("http", "answers 500") && !all[1].leave_out("disk", "full"));
        assert_eq!(
            toml(&all),
            "instances = [\n# web@1.service: listens\n  { unit = \"web@1.service\", port = 3001, http = \"/up\" },\n\
             # web@2.service: listens\n# http is left out: answers 500\n  { unit = \"web@2.service\", port = 3002 },\n]\n"
        );
        assert!(all[1].leave_out("port", "closed"));
        assert_eq!(
            value(&all),
            "[{ unit = \"web@1.service\", port = 3001, http = \"/up\" }, { unit = \"web@2.service\" }]"
        );
    }
}
