//! What the commands print, word for word, and how they exit.

use super::super::tests::shapes::assert_shape;
use super::*;
use crate::helpers::resolve::{Request, resolve};

struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new(file: &str) -> Self {
        let host = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(host.root.path().join("etc/app-monitor")).unwrap();
        host.write(file);
        host
    }

    fn write(&self, file: &str) {
        std::fs::write(self.root.path().join("etc/app-monitor/app-monitor.toml"), file).unwrap();
    }

    /// As the service does at its start.
    fn start(&self, environment: &[(&str, &str)]) {
        let around = self.around(environment);
        let request = Request {
            root: around.root,
            directory: around.directory,
            rules: self.root.path().join("rules"),
            folders: Vec::new(),
            reload: false,
            environment: around.environment,
        };
        assert_eq!(resolve(&request).status, 0);
    }

    fn around(&self, environment: &[(&str, &str)]) -> Surroundings {
        Surroundings {
            root: self.root.path().to_owned(),
            directory: self.root.path().join("resolved"),
            environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        }
    }

    /// Exit status, stdout, stderr.
    fn run(&self, command: &Config, environment: &[(&str, &str)]) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run(command, &self.around(environment), &mut out, &mut err);
        (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }
}

fn check() -> Config {
    Config::Check(Check { json: false })
}

fn show(app: Option<&str>) -> Config {
    Config::Show(Show { app: app.map(str::to_owned), json: false })
}

const APP: &str = "[app.web]\nunit = \"web\"\nport = 3000\n\
    http = { url = \"/health\", headers = { Authorization = \"geheim\" }, json = { \"a.b\" = \"x\" } }\n";

#[test]
fn a_valid_configuration_is_counted() {
    let host = Host::new(
        "[app.a]\nunit = \"a\"\n[app.b]\nunit = \"b\"\n[alerts.x]\nkind = \"unit\"\nunit = \"x@\"\n",
    );
    assert_eq!(
        host.run(&check(), &[]),
        (0, "configuration is valid: 2 apps, 1 alert\n".to_owned(), String::new())
    );
    assert_eq!(
        Host::new("").run(&check(), &[]).1,
        "configuration is valid: 0 apps\n\
         nothing is watched yet: no app is configured; app-monitor init looks at this server and proposes a configuration\n"
    );
}

#[test]
fn all_errors_are_printed_at_once() {
    let host = Host::new("[app.web]\nchek_interval = 1\nfailures = 0\n");
    let (status, out, err) = host.run(&check(), &[]);
    assert_eq!((status, out.as_str()), (78, ""));
    assert_eq!(
        err,
        "/etc/app-monitor/app-monitor.toml:1:6: [app.web]: unit is missing; for example unit = \"web.service\"\n\
         /etc/app-monitor/app-monitor.toml:2:1: [app.web] chek_interval: unknown key; did you mean \"check_interval\"?\n\
         /etc/app-monitor/app-monitor.toml:3:12: [app.web] failures: expected a whole number from 1 to 100, found 0\n"
    );
    let (status, out, err) = host.run(&Config::Check(Check { json: true }), &[]);
    assert_eq!((status, err.as_str()), (78, ""));
    assert_shape("config-check", &out);
}

#[test]
fn the_environment_of_the_service_counts_and_ones_own_overrides_it() {
    let host = Host::new("");
    host.start(&[("APP_MONITOR_FAILURES", "4"), ("APP_MONITOR_UNIT", "web")]);
    assert_eq!(host.run(&check(), &[]).1, "configuration is valid: 1 app\n");
    let (status, _, err) = host.run(&check(), &[("APP_MONITOR_FAILURES", "0")]);
    assert_eq!(status, 78);
    assert_eq!(err, "environment: APP_MONITOR_FAILURES: expected a whole number from 1 to 100, found 0\n");
}

#[test]
fn what_is_in_force_is_shown_with_its_places() {
    let host = Host::new(APP);
    host.start(&[("APP_MONITOR_STARTUP_GRACE", "90")]);
    host.write("junk");
    let (status, out, err) = host.run(&show(Some("web")), &[]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(!out.contains("geheim"));
    let squeezed: Vec<String> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        squeezed[..9],
        [
            "[app.web]",
            "unit = \"web.service\" # /etc/app-monitor/app-monitor.toml:2:8",
            "mode = \"act\" # default",
            "port = 3000 # /etc/app-monitor/app-monitor.toml:3:8",
            "address = \"localhost\" # default",
            "http = { url = \"/health\", headers = { Authorization = \"…\" }, json = { \"a.b\" = \"x\" } } # /etc/app-monitor/app-monitor.toml:4:1",
            "# egress = the resolver and the default gateway # default",
            "proxy_recover = true # default",
            "# working_directory = the unit's WorkingDirectory= # default",
        ]
    );
    let columns: Vec<_> = out.lines().filter_map(|line| line.find("  # default")).collect();
    assert!(columns.iter().filter(|column| **column == columns[0]).count() >= columns.len() - 2, "{out}");
    assert!(out.contains("\nstartup_grace       = \"1m 30s\""), "{out}");
    assert!(out.contains("# environment: APP_MONITOR_STARTUP_GRACE\n"), "{out}");
}

#[test]
fn no_query_of_a_url_is_shown() {
    let host = Host::new(
        "[app.web]\nunit = \"web\"\nport = 3000\nhttp = \"/health?token=geheim\"\n\
         public = { url = \"https://h/up?key=geheim\", timeout = \"5s\" }\n",
    );
    host.start(&[]);
    let out = host.run(&show(Some("web")), &[]).1;
    assert!(!out.contains("geheim"), "{out}");
    assert!(out.contains("\"/health?…\"") && out.contains("\"https://h:443/up?…\""), "{out}");
}

#[test]
fn what_is_shown_can_be_pasted() {
    let host = Host::new(
        "[app.web]\nunit = \"web\"\nport = 3000\nhttp = { url = \"/h\", json = { \"a.b\" = [1, 2.5, \"x\\n\"] } }\n\
         public = { url = \"https://h/\", expires_within = \"1d\" }\negress = \"[::1]:53\"\nmax_memory = \"1.5G\"\nmin_disk = 0\n\
         database = { keys = \"A\", env_file = \"/e\" }\npreflight = { files = \"f\", port_free = true }\nbefore_start = \"x\"\n\
         [app.api]\ninstances = [{ unit = \"a@1\", port = 1, http = { url = \"/\", method = \"HEAD\" } }, { unit = \"a@2\" }]\n",
    );
    host.start(&[]);
    let out = host.run(&show(None), &[]).1;
    let again = Host::new(&out);
    again.start(&[]);
    let settings = |host: &Host| resolved::read_settings(&host.around(&[]).directory).unwrap().unwrap();
    assert_eq!(settings(&again), settings(&host));
}

#[test]
fn before_the_first_start_the_files_are_shown() {
    let host = Host::new(APP);
    let (status, out, err) = host.run(&show(None), &[]);
    assert_eq!(status, 0);
    assert!(
        out.starts_with(
            "log_level    = \"info\"  # default\nmax_parallel = 1       # default\n\n[app.web]\n"
        ),
        "{out}"
    );
    assert_eq!(
        err,
        "cannot read the configuration in force: app-monitor.service was not started since boot\n\
         what follows is what the files say now\n"
    );
    let (_, out, _) = host.run(&Config::Show(Show { app: None, json: true }), &[]);
    let answer: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["in_force"], false);
    assert_eq!(answer["values"][0]["meaning"], "least level that is logged");
    host.write(&format!("{APP}[web]\n"));
    host.start(&[]);
    let (_, out, _) = host.run(&Config::Show(Show { app: Some("web".into()), json: true }), &[]);
    let mut answer: Json = serde_json::from_str(&out).unwrap();
    // One that is set, and one that is not.
    answer["values"].as_array_mut().unwrap().truncate(2);
    assert_shape("config-show", &json_text(&answer));
}

#[test]
fn what_is_not_there_is_said() {
    let host = Host::new(APP);
    host.start(&[]);
    assert_eq!(
        host.run(&show(Some("wbe")), &[]),
        (1, String::new(), "no app is called \"wbe\"; did you mean \"web\"?\n".to_owned())
    );
    host.write("max_parallel = 0\n");
    host.start(&[]);
    assert_eq!(
        host.run(&show(None), &[]),
        (
            78,
            String::new(),
            "nothing is in force, since the configuration has 1 error:\n\
             /etc/app-monitor/app-monitor.toml:1:16: max_parallel: expected a whole number from 1 to 64, found 0\n"
                .to_owned()
        )
    );
}
