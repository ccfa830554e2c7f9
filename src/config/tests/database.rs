//! Where the database is, wherever that is written, and that nothing else of it is kept.

use proptest::prelude::*;

use super::*;
use crate::judge::DatabasePlace;

impl Host {
    /// A file anywhere.
    fn any(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn unit(self, name: &str, service: &str) -> Self {
        self.any(&format!("/etc/systemd/system/{name}"), &format!("[Service]\n{service}\n"))
    }

    /// Where each member's database is, or what is said instead.
    fn asked(&self) -> Vec<String> {
        let loaded = self.load().unwrap();
        let place = |member: &Member| {
            let database = member.target.database.as_ref()?;
            let at = database.places.iter().map(|place| match place {
                DatabasePlace::Host(host, port) => format!("{host}:{port}"),
                DatabasePlace::Socket(path) => path.display().to_string(),
            });
            Some(format!("{:?} {}", database.protocol, at.collect::<Vec<_>>().join(" ")))
        };
        let places = loaded.settings.members.iter().filter_map(place);
        let notices = loaded.notices.iter().map(|notice| notice.message.clone());
        places.chain(notices).collect()
    }
}

fn web(database: &str) -> Host {
    Host::with(&format!("[app.web]\nunit = \"web\"\ndatabase = {database}\n"))
}

#[test]
fn it_is_found_where_the_app_finds_it() {
    let keys = "{ keys = [\"A\", \"DATABASE_URL\"] }";
    let file = "{ keys = \"DATABASE_URL\", env_file = \".env\" }";
    let url = "DATABASE_URL=postgres://me:geheim@h/shop";
    for (host, expected) in [
        (web(keys).unit("web.service", &format!("Environment={url}")), "PostgreSql h:5432"),
        (web(keys).unit("web.service", "EnvironmentFile=/srv/env").any("/srv/env", url), "PostgreSql h:5432"),
        (
            web(file).unit("web.service", "WorkingDirectory=/srv/web").any("/srv/web/.env", url),
            "PostgreSql h:5432",
        ),
        (
            web(&format!("{file}\nworking_directory = \"/opt\""))
                .unit("web.service", "WorkingDirectory=/srv/web")
                .any("/opt/.env", url),
            "PostgreSql h:5432",
        ),
        // What is set already is left alone by whoever loads a file; what is empty is not set.
        (
            web("{ keys = \"DATABASE_URL\", env_file = \"/e\" }")
                .unit("web.service", "Environment=DATABASE_URL=redis://r")
                .any("/e", url),
            "Redis r:6379",
        ),
        (
            web("{ keys = \"DATABASE_URL\", env_file = \"/e\" }")
                .unit("web.service", "Environment=DATABASE_URL=")
                .any("/e", url),
            "PostgreSql h:5432",
        ),
        // The first that is a database's, not the first that has a host.
        (
            web(keys).unit("web.service", &format!("Environment=A=https://example.org:443/ {url}")),
            "PostgreSql h:5432",
        ),
        (web(keys).unit("web.service", &format!("Environment=A=amqp://q:5672/ {url}")), "PostgreSql h:5432"),
        (web(keys).unit("web.service", "Environment=A=clickhouse://q:9000/"), "Tcp q:9000"),
        (web(keys).unit("web.service", &format!("Environment=A=mysql://m/ {url}")), "MySql m:3306"),
        (
            web(keys).unit("web.service", "Environment=A=mongodb+srv://me:geheim@c/"),
            "the database of [app.web] is not asked: A: mongodb+srv:// names no host that could be asked",
        ),
        (
            web(keys).unit("web.service", "Environment=A=postgres://me:geheim/x@h/"),
            "the database of [app.web] is not asked: A: an @ follows the host: a /, ? or # in the password has to be written %2F, %3F or %23",
        ),
        (web(keys), "the database of [app.web] is not asked: none of A, DATABASE_URL is set"),
        (
            web(keys).unit("web.service", "Environment=A=geheim"),
            "the database of [app.web] is not asked: none of A, DATABASE_URL holds the URL of a database",
        ),
        (
            web(file),
            "the database of [app.web] is not asked: where .env is, is not known: set working_directory, or give its whole path",
        ),
        (
            web("{ keys = \"A\", env_file = \"/srv/.env\" }").unit("web.service", "EnvironmentFile=/none"),
            "the database of [app.web] is not asked: /srv/.env: no such file; /none: no such file",
        ),
        (
            web("{ keys = \"A\" }")
                .unit("web.service", "EnvironmentFile=/srv/env")
                .any("/srv/env", "export A=postgres://h/"),
            "the database of [app.web] is not asked: A: /srv/env has it behind `export`, a line that systemd ignores",
        ),
    ] {
        assert_eq!(host.asked(), [expected]);
    }
}

#[test]
fn each_instance_has_its_own_environment() {
    let host = Host::with(
        "[app.web]\ninstances = [{ unit = \"web@1\" }, { unit = \"web@2\" }, { unit = \"web@3\" }, { unit = \"web@4\" }]\n\
         database = { keys = [\"DATABASE_URL\"] }\n",
    )
    .unit("web@.service", "EnvironmentFile=-/srv/%i.env")
    .any("/srv/1.env", "DATABASE_URL=postgres://one/")
    .any("/srv/2.env", "DATABASE_URL=postgres://two/");
    assert_eq!(
        host.asked(),
        [
            "PostgreSql one:5432",
            "PostgreSql two:5432",
            "the database of [app.web] is not asked: none of DATABASE_URL is set"
        ]
    );
}

#[test]
fn keys_are_required_before_a_start() {
    let host = Host::with(
        "[app.web]\nunit = \"web\"\nworking_directory = \"/srv\"\ndatabase = { keys = [\"A\", \"B\"], env_file = \".env\" }\n\
         preflight = { keys = [\"B\", \"C\"] }\n",
    );
    let preflight = &host.settings().members[0].target.preflight;
    assert_eq!(preflight.keys, ["B", "C", "A"]);
    assert_eq!(preflight.env_file.as_deref(), Some(Path::new("/srv/.env")));
}

#[test]
fn what_is_no_database_says_why_and_shows_nothing() {
    let errors = |text: &str| web(text).errors().replace("app-monitor.toml:", "");
    for (text, error) in [
        (
            "\"postgres://me:geheim@h/\"",
            "3:12: [app.web] database: expected a table such as { keys = [\"DATABASE_URL\"], env_file = \".env\" } or { url = … }",
        ),
        (
            "{ url = \"geheim\" }",
            "3:20: [app.web] database.url: expected a URL such as \"postgres://db.example.org:5432/\"",
        ),
        ("{ url = [\"geheim\"] }", "3:20: [app.web] database.url: expected a string"),
        (
            "{ keys = [\"postgres://me:geheim@h/\"] }",
            "3:22: [app.web] database.keys: expected the name of an environment variable such as \"DATABASE_URL\", found \"…\"",
        ),
        (
            "{ env_file = \"../.env\", key = \"A\" }",
            "3:25: [app.web] database.env_file: expected the path of a file such as \".env\", without \"..\"\n\
             3:36: [app.web] database.key: unknown key; did you mean \"keys\"?",
        ),
        (
            "{ env_file = \".env\" }",
            "3:25: [app.web] database.env_file: is read for keys; say which, for example keys = [\"DATABASE_URL\"]",
        ),
        (
            "{ env_file = \"postgres://me:geheim@h/\", keys = [\"A\"] }",
            "3:25: [app.web] database.env_file: expected the path of a file such as \".env\", without \"..\"",
        ),
        (
            "{}",
            "3:12: [app.web] database: does not say where the database is: give url or keys; for example keys = [\"DATABASE_URL\"]",
        ),
        (
            "{ unit = \"postgresql\", interval = \"30s\" }",
            "3:12: [app.web] database: does not say where the database is: give url or keys; for example keys = [\"DATABASE_URL\"]",
        ),
        (
            "{ url = \"redis://h\", timeout = \"1h\", interval = 0, unit = \"x.socket\" }",
            "3:43: [app.web] database.timeout: \"1h\" is too long: expected 100ms to 5m\n\
             3:60: [app.web] database.interval: 0 is too short: expected 1s to 1d\n\
             3:70: [app.web] database.unit: expected the name of a service such as \"web.service\", found \"x.socket\"",
        ),
    ] {
        let seen = errors(text);
        assert!(!seen.contains("geheim"), "{seen}");
        assert_eq!(seen, error);
    }
}

#[test]
fn variables_are_kept_without_credentials_and_mean_the_same() {
    let value =
        "{ url = \"mysql://me:geheim@h:3307/shop\", unit = \"mariadb\", keys = [\"A\"], timeout = 4 }";
    let host = Host::with("[app.web]\nunit = \"web\"\n").variable("APP_MONITOR_APP_WEB__DATABASE", value);
    let kept = environment::without_credentials(&host.environment);
    assert_eq!(
        kept[0].1,
        "{ \"url\" = \"mysql://h:3307/\", \"unit\" = \"mariadb\", \"keys\" = [\"A\"], \"timeout\" = 4 }"
    );
    let mut again = Host::with("[app.web]\nunit = \"web\"\n");
    again.environment.clone_from(&kept);
    assert_eq!(again.settings(), host.settings());
    assert_eq!(environment::without_credentials(&kept), kept);
}

/// A secret that cannot be a part of anything else.
fn secret() -> impl Strategy<Value = String> {
    "[a-z]{4}Q[A-Z0-9]{6}[!$*~+=;|<>(){}^`-]{0,3}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_secret_is_written_anywhere(secret in secret(), scheme in "postgres|mysql|redis|rediss|mongodb|mongodb\\+srv|x", form in 0usize..9) {
        let url = format!("{scheme}://me:{secret}@db.example.org:1234/{secret}?password={secret}&host=");
        let file = |text: String| Host::with(&format!("[app.web]\nunit = \"web\"\n{text}\n"));
        let host = match form {
            0 => file(format!("database = {{ url = \"{url}\" }}")),
            1 => file(format!("database = \"{url}\"")),
            2 => file(format!("database = {{ keys = [\"{url}\"] }}")),
            3 => file(format!("database = {{ env_file = \"{url}\" }}")),
            4 => file("database = { keys = [\"U\"], env_file = \"/e\" }".to_owned()).any("/e", &format!("U={url}\nV={secret}\n")),
            5 => file("database = { keys = [\"U\"] }".to_owned()).unit("web.service", &format!("Environment=\"U={url}\" \"V={secret}\"")),
            6 => file(String::new()).variable("APP_MONITOR_APP_WEB__DATABASE", &format!("{{ url = \"{url}\", x = \"{secret}\" }}")),
            7 => file(String::new()).variable("APP_MONITOR_DATABASE", &format!("{{ url = \"{url}\" }}")),
            _ => file(String::new()).variable("APP_MONITOR_DATABSE", &url),
        };
        let sources = Sources { root: host.root.path().to_owned(), environment: host.environment.clone() };
        let resolved = resolved::Resolved::load(&sources);
        let written = serde_json::to_string(&resolved).unwrap();
        prop_assert!(!written.contains(&secret[..11]), "{}", written);
        let shown = format!("{resolved:?}");
        prop_assert!(!shown.contains(&secret[..11]), "{}", shown);
    }
}
