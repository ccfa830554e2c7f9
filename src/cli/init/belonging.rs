//! New instances of an app that is configured already: whose they are, and what is to be added to its
//! table. Nothing is written there; the file is somebody's.

use serde_json::Value as Json;

use super::instances::{self, Instance};
use crate::config::{Member, Origin, Shown};
use crate::server::FoundApp;
use crate::systemd::ServiceReading;

/// What is to be added to an app's table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addition {
    /// The app.
    pub app: String,
    /// The file of the key that is to be changed; none where it is no file.
    pub file: Option<String>,
    /// What to do, in words, before `lines`.
    pub what: String,
    /// TOML: entries of `instances`, or the whole key.
    pub lines: String,
    /// The value of `instances` that is added, or the whole of it.
    pub value: String,
}

/// The one configured app whose instances these are. Where several have such, somebody has made an app of
/// each.
pub fn owner<'a>(group: &[&FoundApp], known: &[(&FoundApp, &'a str)]) -> Option<&'a str> {
    let is_one = |of: &&FoundApp| group.iter().any(|app| instances::are_one(app, of));
    let mut apps: Vec<&str> = known.iter().filter(|(of, _)| is_one(of)).map(|(_, app)| *app).collect();
    apps.sort_unstable();
    apps.dedup();
    match apps[..] {
        [app] => Some(app),
        _ => None,
    }
}

/// A configured instance that does not run: of it no more is known than what its unit says.
pub fn resting(service: ServiceReading) -> Option<FoundApp> {
    let directory = service.working_directory.clone()?;
    Some(FoundApp {
        service,
        runtime: None,
        process: String::new(),
        listening: Vec::new(),
        directory: Some(directory),
        databases: Vec::new(),
        caches: Vec::new(),
        sockets: Vec::new(),
        sites: Vec::new(),
    })
}

/// What to add for these.
pub fn addition(app: &str, members: &[Member], shown: &[Shown], mut new: Vec<Instance>) -> Addition {
    let table = format!("app.{app}");
    let of = |key: &str| shown.iter().find(|one| one.table == table && one.key == key);
    let set = |key: &str| of(key).and_then(|one| one.value.as_ref());
    let own: Vec<&Member> =
        members.iter().filter(|one| one.subject.app().is_some_and(|of| of.as_str() == app)).collect();
    for instance in &mut new {
        if own.iter().any(|one| one.target.port.is_some() && one.target.port == instance.port) {
            instance.leave_out("port", "another instance has it");
        }
        // A path in the app's table is asked of each of them.
        if is_path(set("http")) {
            instance.http = None;
        }
    }
    let units: Vec<&str> = new.iter().map(|one| one.unit.as_str()).collect();
    let units = units.join(", ");
    let belongs = if new.len() == 1 { "is an instance" } else { "are instances" };
    let listed = set("instances").is_some();
    let key = of(if listed { "instances" } else { "unit" });
    let place = key.map(|one| one.origin.to_string()).unwrap_or_default();
    let file = match key.map(|one| &one.origin) {
        Some(Origin::File { path, .. }) => Some(path.display().to_string()),
        _ => None,
    };
    let (what, lines, value) = if listed {
        let what = format!(
            "{units} {belongs} of {app}, which is configured already. Add to its instances ({place}), then \
             systemctl reload app-monitor:"
        );
        (what, instances::entries(&new), instances::value(&new))
    } else {
        let mut all: Vec<Instance> = own.iter().map(|one| as_it_is(one, &place)).collect();
        let alone = all.first().map(|one| one.unit.clone()).unwrap_or_default();
        all.append(&mut new);
        // A whole URL asks one of them.
        let url = match set("http") {
            Some(_) if !is_path(set("http")) => format!(", and its http into the entry of {alone}"),
            _ => String::new(),
        };
        let what = format!(
            "{units} {belongs} of {app}, which is configured already, with {alone} alone ({place}). Put this in \
             the place of its unit and port{url}, then systemctl reload app-monitor:"
        );
        (what, instances::toml(&all), instances::value(&all))
    };
    Addition { app: app.to_owned(), file, what, lines, value }
}

/// The app's one unit, as it stands in its table.
fn as_it_is(member: &Member, place: &str) -> Instance {
    Instance {
        unit: member.target.unit.to_string(),
        port: member.target.port,
        http: None,
        from: place.to_owned(),
        without: Vec::new(),
    }
}

fn is_path(http: Option<&Json>) -> bool {
    let url = match http {
        Some(Json::Object(table)) => table.get("url"),
        other => other,
    };
    url.and_then(Json::as_str).is_some_and(|url| url.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::instances::tests::app;
    use crate::config::{Sources, load, load_text};

    #[test]
    fn whose_instance_it_is() {
        let web = |n: u16| app(&format!("web@{n}.service"), "/srv/web", n, &[]);
        let (one, two, three) = (web(1), web(2), web(3));
        let other = app("site@a.service", "/srv/a", 4, &[]);
        assert_eq!(owner(&[&three], &[(&one, "web"), (&two, "web"), (&other, "site")]), Some("web"));
        assert_eq!(owner(&[&two, &three], &[(&one, "web")]), Some("web"));
        assert_eq!(owner(&[&three], &[(&other, "site")]), None);
        assert_eq!(owner(&[&three], &[]), None);
        // An app each is what somebody wanted.
        assert_eq!(owner(&[&three], &[(&one, "web-1"), (&two, "web-2")]), None);
        // Blue is behind the same upstream.
        let (blue, green) = (app("blue.service", "/a", 1, &[1, 2]), app("green.service", "/b", 2, &[1, 2]));
        assert_eq!(owner(&[&green], &[(&blue, "shop")]), Some("shop"));
    }

    fn added(text: &str) -> (Addition, String) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/app-monitor/conf.d");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("web.toml"), text).unwrap();
        let loaded = load(&Sources { root: root.path().to_owned(), environment: Vec::new() }).unwrap();
        let new = Instance {
            unit: "web@3003.service".into(),
            port: Some(3003),
            http: Some("/up"),
            from: "it listens on [::]:3003".into(),
            without: Vec::new(),
        };
        let added = addition("web", &loaded.settings.members, &loaded.shown, vec![new]);
        let lines: Vec<&str> = added.lines.lines().filter(|line| !line.starts_with('#')).collect();
        let lines = lines.join("\n");
        (added, lines)
    }

    #[test]
    fn what_is_added_to_a_list() {
        let list = "instances = [\n{ unit = \"web@3001\", port = 3001 },\n]\n";
        let (added, lines) = added(&format!("[app.web]\n{list}"));
        assert_eq!(lines, "  { unit = \"web@3003.service\", port = 3003, http = \"/up\" },");
        assert_eq!(added.file.as_deref(), Some("/etc/app-monitor/conf.d/web.toml"));
        assert!(
            added.what.contains("Add to its instances (/etc/app-monitor/conf.d/web.toml:2:"),
            "{added:?}"
        );
        for http in ["\"/health\"", "{ url = \"/health\", timeout = \"2s\" }"] {
            let (_, lines) = self::added(&format!("[app.web]\nhttp = {http}\n{list}"));
            assert_eq!(lines, "  { unit = \"web@3003.service\", port = 3003 },");
        }
        let (_, lines) = self::added(&format!("[app.web]\n{}", list.replace("3001 }", "3003 }")));
        assert_eq!(lines, "  { unit = \"web@3003.service\" },");
    }

    #[test]
    fn what_stands_in_the_place_of_a_unit() {
        let alone = "[app.web]\nunit = \"web@3001\"\nport = 3001\n";
        let (added, lines) = added(&format!("{alone}http = \"/health\"\n"));
        let whole = "instances = [\n  { unit = \"web@3001.service\", port = 3001 },\n  \
                     { unit = \"web@3003.service\", port = 3003 },\n]";
        assert_eq!(lines, whole);
        assert!(added.what.contains("with web@3001.service alone (/etc/"), "{added:?}");
        // Followed, it is in order.
        let text = format!("[app.web]\nhttp = \"/health\"\n{}", added.lines);
        let loaded = load_text(std::path::Path::new("/nonexistent"), "/x.toml".as_ref(), &text).unwrap();
        assert_eq!(loaded.settings.members.len(), 2);
        let (added, _) = self::added(&format!("{alone}http = \"http://localhost:3001/health\"\n"));
        assert!(added.what.contains("and its http into the entry of web@3001.service"), "{added:?}");
    }
}
