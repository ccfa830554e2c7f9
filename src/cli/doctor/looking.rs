//! What is looked at before anything is said of an app: its service, its listeners, the answers of its
//! health path.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Member;
use crate::judge::{Address, Policy, Target};
use crate::server::{Asked, FoundApp, Listening, Server, ask};
use crate::systemd::ServiceReading;

/// An app, looked at.
#[derive(Clone, Debug)]
pub struct Patient {
    /// Its name, or its unit where it is not configured.
    pub name: String,
    pub service: ServiceReading,
    pub policy: Policy,
    pub target: Target,
    /// It was found running.
    pub found: Option<FoundApp>,
    /// What its health path answered to the plain question, and to one with the public name as its Host.
    pub health: Option<Health>,
    /// Files of `ExecStart=` that are not there.
    pub missing: Vec<PathBuf>,
    /// The working directory is not there.
    pub homeless: bool,
    /// A user's manager knows a unit of this name, and the system's does not.
    pub of_a_user: bool,
}

/// What a health path answered.
#[derive(Clone, Debug)]
pub struct Health {
    pub path: String,
    pub plain: Result<Asked, String>,
    /// The Host that was named, and the answer.
    pub named: Option<(String, Asked)>,
}

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn look(member: &Member, service: &ServiceReading, server: &Server) -> Patient {
    let target = &member.target;
    let found = server.apps.iter().find(|app| app.service.unit == service.unit).cloned();
    let name = match member.subject.app() {
        Some(app) if app.as_str() != "unit" => member.subject.to_string(),
        _ => service.unit.to_string(),
    };
    let missing =
        service.commands.iter().filter(|path| path.is_absolute() && !path.exists()).cloned().collect();
    let stem = service.unit.stem();
    let of_a_user = server.strays.iter().any(|stray| match &stray.keeper {
        crate::server::Keeper::User(_, unit) => unit == service.unit.as_str() || unit == stem,
        _ => false,
    });
    Patient {
        health: health(target, found.as_ref()),
        name,
        missing,
        homeless: service.working_directory.as_ref().is_some_and(|path| !path.is_dir()),
        of_a_user,
        found,
        service: service.clone(),
        policy: member.policy.clone(),
        target: target.clone(),
    }
}

/// Asks the health path, where it is a plain one on this host.
fn health(target: &Target, found: Option<&FoundApp>) -> Option<Health> {
    let rest = target.http.as_ref().filter(|http| http.method == "GET" && http.headers.is_empty())?;
    let rest = rest.url.strip_prefix("http://")?;
    let (authority, path) =
        rest.split_once('/').map_or((rest, String::from("/")), |(a, p)| (a, format!("/{p}")));
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let port: u16 = port.parse().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = match (host, target.address) {
        ("localhost", Address::Ip(address)) => address,
        ("localhost", Address::Localhost) => {
            found.and_then(|found| found.address(port)).unwrap_or(IpAddr::from([127, 0, 0, 1]))
        }
        _ => host.parse().ok()?,
    };
    let plain = ask(address, port, &path, authority, PATIENCE);
    let odd = plain.as_ref().is_ok_and(|asked| !(200..300).contains(&asked.status));
    let public = found.and_then(|found| found.sites.iter().find_map(|(site, _)| site.public_names().next()));
    let named = public.filter(|_| odd).and_then(|name| {
        let asked = ask(address, port, &path, name, PATIENCE).ok()?;
        Some((name.to_owned(), asked))
    });
    Some(Health { path, plain, named })
}

impl Patient {
    /// Where it listens on its port; everywhere, if none is configured.
    pub fn listening(&self) -> Vec<Listening> {
        let all = self.found.iter().flat_map(|found| found.listening.iter().copied());
        all.filter(|at| self.target.port.is_none_or(|port| port == at.port)).collect()
    }

    /// Its ports.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.target.port.into_iter().collect();
        ports.extend(self.listening().iter().map(|at| at.port));
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}
