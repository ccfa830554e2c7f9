//! What is said to somebody in one go, in words; each form puts it into its own clothes.

use crate::incidents::day_and_time;

use super::item::Item;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The name of this host.
    pub host: String,
    /// What is told, oldest first. Empty in a test.
    pub items: Vec<Item>,
    /// So many things before it were dropped.
    pub missing: u32,
    /// The channel that is tested.
    pub test: Option<String>,
    /// When it is sent, in seconds since the epoch.
    pub time: i64,
}

/// What happened longer ago is told with its time.
const NEWS: i64 = 60;

impl Message {
    /// An id that stays the same when the same is sent again.
    #[must_use]
    pub fn id(&self) -> String {
        match (self.items.first(), self.items.last()) {
            (Some(first), Some(last)) if self.items.len() > 1 => format!("{}.{}", first.id, last.id),
            (Some(first), _) => first.id.clone(),
            _ => format!("test-{:x}", self.time),
        }
    }

    /// In a line.
    #[must_use]
    pub fn title(&self) -> String {
        match self.items.as_slice() {
            [] => format!("{}: a test of app-monitor", self.host),
            [item] => crate::plain::cut(&format!("{}: {}", self.host, item.text), 120),
            items => {
                let mut apps: Vec<&str> = items.iter().map(|item| item.app.as_str()).collect();
                apps.sort_unstable();
                apps.dedup();
                let apps = match apps.as_slice() {
                    [app] => (*app).to_owned(),
                    _ => format!("{} apps", apps.len()),
                };
                format!("{}: {apps}: {} messages", self.host, items.len())
            }
        }
    }

    /// All of it: a line for each thing, and what to type next.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .items
            .iter()
            .map(|item| {
                let news = self.items.len() == 1 && self.time.saturating_sub(item.time) < NEWS;
                if news {
                    item.text.clone()
                } else {
                    format!("{} UTC {}", day_and_time(item.time), item.text)
                }
            })
            .collect();
        if let Some(name) = &self.test {
            lines.push(format!("This is a test of [alerts.{name}]. Nothing happened."));
        }
        match self.missing {
            0 => {}
            1 => lines.push("1 earlier message is missing: too many waited, or too long.".to_owned()),
            more => lines.push(format!("{more} earlier messages are missing: too many waited, or too long.")),
        }
        lines.extend(self.advice());
        lines
    }

    fn advice(&self) -> Option<String> {
        let mut incidents: Vec<&str> =
            self.items.iter().filter_map(|item| item.incident.as_deref()).collect();
        incidents.dedup();
        Some(match (self.items.is_empty(), incidents.as_slice()) {
            (true, _) => return None,
            (_, [one]) => format!("More: app-monitor incidents {one}"),
            (_, []) => "More: app-monitor status".to_owned(),
            _ => "More: app-monitor incidents".to_owned(),
        })
    }

    /// Something began: it is worth waking somebody.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.items.iter().any(|item| item.weight() >= 2)
    }

    /// All that is told is that something is over.
    #[must_use]
    pub fn is_relief(&self) -> bool {
        !self.items.is_empty() && self.items.iter().all(|item| item.weight() == 1)
    }
}
