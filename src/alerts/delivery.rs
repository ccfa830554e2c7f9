//! Gets one message to one channel, on a thread of its own where that blocks.

use std::path::PathBuf;

use crate::config::endpoint::{self, Endpoint};
use crate::config::{Channel, Source};
use crate::files::read_plain;

use super::forms::{self, mail};
use super::lane::Failure;
use super::message::Message;
use super::{http, smtp};

/// Most bytes of a credential that holds a URL.
const LARGEST: u64 = 4_096;
/// What `LoadCredential=alerts:FOLDER` calls the file NAME of that folder (systemd.exec(5)): alerts_NAME.
const OF_FOLDER: &str = "alerts_";

/// Where the credentials of our unit lie: `$CREDENTIALS_DIRECTORY`.
#[derive(Clone, Debug, Default)]
pub struct Credentials(pub Option<PathBuf>);

impl Credentials {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute()))
    }

    /// What a credential holds. A file of that name counts before one of the folder.
    ///
    /// # Errors
    /// Why it cannot be read, and what to do.
    pub fn read(&self, name: &str) -> Result<String, String> {
        let remedy =
            format!("put it into /etc/app-monitor/credentials/{name}, then: systemctl restart app-monitor");
        let Some(directory) = &self.0 else {
            return Err(format!("credential {name}: the monitor has none; {remedy}"));
        };
        for file in [name.to_owned(), format!("{OF_FOLDER}{name}")] {
            let text = match read_plain(&directory.join(&file), LARGEST) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("credential {name} cannot be read: {error}")),
                Ok(text) => text,
            };
            let text = String::from_utf8(text).map_err(|_| format!("credential {name} is not UTF-8"))?;
            return Ok(text.trim().to_owned());
        }
        Err(format!("credential {name} is not there; {remedy}"))
    }

    fn of(&self, source: &Source) -> Result<String, Failure> {
        match source {
            Source::Url(url) => Ok(url.0.clone()),
            Source::Credential(name) => self.read(name).map_err(Failure::Unwelcome),
        }
    }
}

/// Puts what is wrong with a URL behind where it came from.
fn wrong(source: &Source) -> impl Fn(String) -> Failure {
    let whence = match source {
        Source::Url(_) => "url".to_owned(),
        Source::Credential(name) => format!("credential {name}"),
    };
    move |why| Failure::Unwelcome(format!("{whence}: {why}"))
}

/// Gets it there. Blocks, for a minute and the time of the resolver at most.
pub(super) fn deliver(
    channel: &Channel,
    credentials: &Credentials,
    message: &Message,
) -> Result<String, Failure> {
    match channel {
        Channel::Web { web, source, chat } => {
            let secret = credentials.of(source)?;
            let request = forms::request(*web, &secret, chat.as_deref(), message).map_err(wrong(source))?;
            http::deliver(&request)
        }
        Channel::Mail { source, to, from } => {
            let server: Endpoint = match source {
                None => smtp::local(),
                Some(source) => endpoint::of_mail(&credentials.of(source)?).map_err(wrong(source))?,
            };
            let from =
                from.clone().unwrap_or_else(|| format!("app-monitor@{}", mail::name_of(&message.host)));
            let text = mail::text(message, &from, to);
            smtp::deliver(&server, &smtp::Envelope { host: &message.host, from: &from, to, text: &text })
        }
        // Units are started by whoever has the bus.
        Channel::Unit(_) => Err(Failure::Final("a unit is not sent to".to_owned())),
    }
}
