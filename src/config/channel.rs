//! Where alerts go: each kind, what it needs, and what it does not take.

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::fragment::Gathered;
use super::origin::Origin;
use super::settings::Of;
use super::value::Value;
use crate::judge::{Secret, UnitName};

/// How a message gets to somebody over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Web {
    /// JSON of our own.
    Webhook,
    /// An incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat).
    Slack,
    /// A webhook of Discord.
    Discord,
    /// A bot of Telegram.
    Telegram,
    /// A topic of ntfy.
    Ntfy,
}

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// It stands in the configuration.
    Url(Secret),
    /// A credential of the monitor's unit of that name (systemd.exec(5), LoadCredential=) holds it.
    Credential(String),
}

/// The way to somebody.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// A template such as `tell@.service`, started with the app's name as instance.
    Unit(UnitName),
    /// A request over HTTP.
    Web {
        /// In whose form.
        web: Web,
        /// To where.
        source: Source,
        /// Which chat, of Telegram.
        chat: Option<String>,
    },
    /// A mail.
    Mail {
        /// By which server; without one, by that of this host: localhost, port 25.
        source: Option<Source>,
        /// Who gets it. Not empty.
        to: Vec<String>,
        /// Who sends it; without one, `app-monitor` at this host.
        from: Option<String>,
    },
}

impl Channel {
    /// The value of `kind`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unit(_) => "unit",
            Self::Mail { .. } => "email",
            Self::Web { web, .. } => match web {
                Web::Webhook => "webhook",
                Web::Slack => "slack",
                Web::Discord => "discord",
                Web::Telegram => "telegram",
                Web::Ntfy => "ntfy",
            },
        }
    }

    /// The credential that it needs.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        match self {
            Self::Web { source: Source::Credential(name), .. }
            | Self::Mail { source: Some(Source::Credential(name)), .. } => Some(name),
            _ => None,
        }
    }
}

/// All kinds, and which keys of a channel each takes; the first of them is the one that it cannot do
/// without.
const KINDS: [(&str, &[&str]); 7] = [
    ("webhook", &["url", "credential"]),
    ("slack", &["url", "credential"]),
    ("discord", &["url", "credential"]),
    ("telegram", &["chat", "url", "credential"]),
    ("ntfy", &["url", "credential"]),
    ("email", &["to", "from", "url", "credential"]),
    ("unit", &["unit"]),
];

/// The words of `kind`.
pub(super) const WORDS: &[&str] = &["webhook", "slack", "discord", "telegram", "ntfy", "email", "unit"];

/// What a URL looks like, for those who have to write one.
fn example(kind: &str) -> &'static str {
    match kind {
        "slack" => "https://hooks.slack.com/services/…",
        "discord" => "https://discord.com/api/webhooks/…",
        "telegram" => "https://api.telegram.org/botTOKEN",
        "ntfy" => "https://ntfy.sh/TOPIC",
        _ => "https://example.org/hook",
    }
}

/// The channel of a table, or what is missing in it, or has no place there. `declared`: where the table
/// begins; `whole`: what is not there is missing.
pub(super) fn build(of: &Of<'_>, declared: &Origin, whole: bool, gathered: &mut Gathered) -> Option<Channel> {
    let before = gathered.errors.len();
    let table = of.section.label();
    let note = |gathered: &mut Gathered, place: &Origin, key: &str, message: String| {
        let (place, table, key) = (place.clone(), table.clone(), key.to_owned());
        gathered.errors.push(ConfigError::of(place, table, key, message));
    };
    let missing = |gathered: &mut Gathered, message: String| {
        if whole {
            note(gathered, declared, "", message);
        }
    };
    let Some(given) = of.get("kind") else {
        missing(gathered, "kind is missing; for example kind = \"email\"".to_owned());
        return None;
    };
    let Some(Value::Word(kind)) = given.value else { return None };
    let (_, takes) = KINDS.iter().find(|(word, _)| *word == kind)?;
    for key in ["url", "credential", "chat", "to", "from", "unit"] {
        if let Some(found) = of.get(key)
            && !takes.contains(&key)
        {
            let of: Vec<&str> =
                KINDS.iter().filter(|(_, takes)| takes.contains(&key)).map(|(word, _)| *word).collect();
            let message = format!(
                "belongs to kind = {}, and this is \"{kind}\"; leave it out",
                super::value::one_of(&of)
            );
            note(gathered, &found.at, key, message);
        }
    }
    let text = |key: &str| match of.value(key) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let source = source(of, kind, &note, gathered);
    let known = of.get("url").is_some() || of.get("credential").is_some();
    let channel = match kind {
        "unit" => {
            if of.get("unit").is_none() {
                missing(gathered, "unit is missing; for example unit = \"tell@.service\"".to_owned());
            }
            Channel::Unit(of.unit("unit")?)
        }
        "email" => {
            if of.get("to").is_none() {
                missing(gathered, "to is missing; for example to = \"admin@example.org\"".to_owned());
            }
            let to = match of.value("to") {
                Some(Value::Texts(all)) => all.clone(),
                _ => Vec::new(),
            };
            Channel::Mail { source, to, from: text("from") }
        }
        _ => {
            if !known {
                let example = example(kind);
                missing(gathered, format!("url is missing; for example url = \"{example}\", or credential"));
            }
            if kind == "telegram" && of.get("chat").is_none() {
                missing(gathered, "chat is missing; for example chat = \"-1001234567890\"".to_owned());
            }
            let web = match kind {
                "slack" => Web::Slack,
                "discord" => Web::Discord,
                "telegram" => Web::Telegram,
                "ntfy" => Web::Ntfy,
                _ => Web::Webhook,
            };
            Channel::Web { web, source: source?, chat: text("chat") }
        }
    };
    (gathered.errors.len() == before).then_some(channel)
}

fn source(
    of: &Of<'_>,
    kind: &str,
    note: &impl Fn(&mut Gathered, &Origin, &str, String),
    gathered: &mut Gathered,
) -> Option<Source> {
    if let (Some(_), Some(second)) = (of.get("url"), of.get("credential")) {
        let message = "url is given, too; leave one of them out".to_owned();
        note(gathered, &second.at, "credential", message);
    }
    match (of.value("url"), of.value("credential")) {
        (Some(Value::Secret(url)), _) => {
            let read = match kind {
                "email" => super::endpoint::of_mail(&url.0).map(drop),
                "telegram" => super::endpoint::of_telegram(&url.0).map(drop),
                _ => super::endpoint::of_web(&url.0).map(drop),
            };
            if let (Err(why), Some(found)) = (read, of.get("url")) {
                note(gathered, &found.at, "url", why);
            }
            Some(Source::Url(url.clone()))
        }
        (_, Some(Value::Text(name))) => Some(Source::Credential(name.clone())),
        _ => None,
    }
}
