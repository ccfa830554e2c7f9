//! What is proposed, as text and as JSON.

use super::super::tests::shapes::assert_shape;
use super::proposal::name;
use super::*;

fn line(key: &'static str, value: &str, from: &str) -> Line {
    Line { key, value: value.to_owned(), from: from.to_owned(), left_out: None, others: Vec::new() }
}

fn web() -> Proposal {
    let public = Line {
        others: vec!["\"https://b/\"".into()],
        ..line("public", "\"https://a/\"", "nginx \u{1b}[31m\nx")
    };
    let lines = vec![
        line("unit", "\"web.service\"", ""),
        line("port", "3000", "it listens on [::]:3000"),
        public,
        line("proxy", "\"nginx.service\"", "in front of it"),
    ];
    Proposal::of("web.service runs node (node, pid 7, in /srv/web).", lines)
}

#[test]
fn names_of_apps() {
    for (stem, taken, expected) in [
        ("web", vec![], "web"),
        ("Web@1", vec![], "web-1"),
        ("web", vec!["web".to_owned(), "web-2".to_owned()], "web-3"),
        ("\\x2d", vec![], "x2d"),
        ("@", vec![], "app"),
    ] {
        assert_eq!(name(stem, &taken), expected, "{stem}");
        assert!(expected.parse::<crate::judge::AppName>().is_ok());
    }
    assert!(name(&"a-".repeat(200), &[]).parse::<crate::judge::AppName>().is_ok());
}

#[test]
fn what_does_not_pass_is_left_out_with_its_reason() {
    let mut proposal = web();
    assert!(proposal.left_out(&[("public", "refused"), ("unit", "inactive"), ("disk", "full")]));
    assert!(proposal.toml("web").contains("public = \"https://b/\""));
    assert!(proposal.left_out(&[("public", "refused")]));
    assert!(!proposal.left_out(&[("unit", "inactive")]));
    let text = proposal.toml("web");
    assert_eq!(
        text,
        "# Proposed by app-monitor init. web.service runs node (node, pid 7, in\n# /srv/web).\n\
         # Note: disk: full\n[app.web]\nunit = \"web.service\"\n# it listens on [::]:3000\nport = 3000\n\
         # nginx [31m x\n# Left out: refused\n#public = \"https://b/\"\n# in front of it\n\
         # Left out: it needs a public address\n#proxy = \"nginx.service\"\n"
    );
    let loaded = crate::config::load_text(Path::new("/nonexistent"), Path::new("/web.toml"), &text).unwrap();
    assert_eq!(loaded.settings.apps().len(), 1);
}

fn answer() -> Answer {
    let proposal = web();
    Answer {
        apps: vec![App {
            app: "web".into(),
            unit: "web.service".into(),
            units: vec!["web.service".into()],
            file: "/etc/app-monitor/conf.d/web.toml".into(),
            configured_as: None,
            belongs_to: None,
            written: false,
            refused: None,
            toml: proposal.toml("web"),
            lines: proposal.lines[..1].to_vec(),
            notes: vec!["Note: disk: full".into()],
        }],
        elsewhere: vec![Elsewhere {
            name: "node".into(),
            pid: 9,
            user: "me".into(),
            kept: "under PM2".into(),
            directory: None,
            ports: vec![4000],
            advice: "make it a service".into(),
            unit_file: None,
        }],
        also_restarting: vec![Also {
            kind: "cron",
            place: "/etc/crontab, line 3".into(),
            command: "pm2 restart all".into(),
        }],
        unseen: vec!["/root: permission denied".into()],
    }
}

#[test]
fn the_shape_of_json() {
    assert_shape("init", &json_text(&answer()));
}

#[test]
fn what_is_printed_is_toml_within_eighty_columns() {
    let mut answer = answer();
    let what =
        "web@3.service is an instance of web, which is configured already. Add to its instances (/etc/x):";
    let lines = "# web@3.service: it listens on [::]:3003\n  { unit = \"web@3.service\", port = 3003 },\n";
    let added = App {
        app: "web".into(),
        belongs_to: Some("web".into()),
        lines: vec![line("instances", "[]", what)],
        toml: lines.into(),
        ..answer.apps.remove(0)
    };
    answer.apps = self::answer().apps;
    answer.apps.push(added);
    let said = written(&answer, &Server::empty());
    assert!(said.contains("\n      { unit = \"web@3.service\", port = 3003 },\n"), "{said}");
    let text = proposed(&answer, &Server::empty());
    assert!(text.contains("#   { unit = \"web@3.service\", port = 3003 },\n"), "{text}");
    assert!(
        crate::config::load_text(Path::new("/nonexistent"), Path::new("/x.toml"), &text).is_ok(),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
    for part in ["under PM2", "/etc/crontab, line 3", "permission denied", "app-monitor init --write"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let nothing = Answer { apps: vec![], elsewhere: vec![], also_restarting: vec![], unseen: vec![] };
    let text = written(&nothing, &Server::empty());
    assert!(text.contains("No web app was found") && text.contains("systemctl start"), "{text}");
}
