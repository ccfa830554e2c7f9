//! Where the configuration says what an app is asked: the place that has to change for it to count.

use serde_json::Value as Json;

use crate::config::{Origin, Shown};
use crate::judge::Subject;

/// What counts before a line in the app's table.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Says {
    /// The unit of an instance that has a http of its own, as it is written.
    pub own_http: Option<String>,
    /// Keys of the app that a variable of the environment sets, each with the variable.
    pub variables: Vec<(String, String)>,
}

impl Says {
    pub fn of(subject: &Subject, shown: &[Shown]) -> Self {
        let Some(app) = subject.app() else { return Self::default() };
        let table = format!("app.{app}");
        let own = || shown.iter().filter(|one| one.table == table);
        let variables = own().filter_map(|one| match &one.origin {
            Origin::Environment(name) => Some((one.key.clone(), name.clone())),
            _ => None,
        });
        let instance = match subject {
            Subject::Instance(_, number) => own()
                .find(|one| one.key == "instances")
                .and_then(|one| one.value.as_ref()?.get(usize::from(number.checked_sub(1)?))),
            _ => None,
        };
        let own_http = instance
            .filter(|instance| instance.get("http").is_some())
            .and_then(|instance| instance.get("unit").and_then(Json::as_str).map(str::to_owned));
        Self { own_http, variables: variables.collect() }
    }

    /// The variable of the environment that says it.
    pub fn variable(&self, key: &str) -> Option<&str> {
        self.variables.iter().find(|(of, _)| of == key).map(|(_, name)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn an_instance_and_a_variable_count_before_the_table() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/app-monitor");
        std::fs::create_dir_all(&folder).unwrap();
        let text = "[app.web]\nhttp = \"/a\"\ninstances = [\n\
                    { unit = \"web@1.service\", port = 3001, http = \"/b\" },\n\
                    { unit = \"web@2.service\", port = 3002 },\n]\n\
                    [app.shop]\nunit = \"shop.service\"\nport = 4000\nhttp = \"/c\"\n";
        std::fs::write(folder.join("app-monitor.toml"), text).unwrap();
        let environment = vec![("APP_MONITOR_APP_SHOP__HTTP".to_owned(), "/d".to_owned())];
        let root = PathBuf::from(root.path());
        let shown = load(&Sources { root, environment }).unwrap().shown;
        let says = |subject: &str| Says::of(&subject.parse().unwrap(), &shown);
        assert_eq!(says("web@1").own_http.as_deref(), Some("web@1.service"));
        for subject in ["web@2", "web@3", "shop", "nginx.service"] {
            assert_eq!(says(subject).own_http, None, "{subject}");
        }
        assert_eq!(says("shop").variable("http"), Some("APP_MONITOR_APP_SHOP__HTTP"));
        assert_eq!((says("shop").variable("port"), says("web@1").variable("http")), (None, None));
    }
}
