//! What an app is asked: its checks out of its merged values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::asked;
use super::fragment::Gathered;
use super::http::HttpSpec;
use super::settings::{Of, error};
use super::url::Asked;
use super::value::Value;
use crate::judge::{Address, AppName, HttpTarget, PublicTarget, Stragglers, Target};

/// What is cleared when nobody says: what Next.js, Babel and others write again by themselves.
const USUAL_CACHES: [&str; 2] = [".next/cache", "node_modules/.cache"];
const USUAL_MIN_AVAILABLE: u64 = 100 << 20;
const USUAL_MIN_DISK: u64 = 200 << 20;
const USUAL_EXPIRES_WITHIN: Duration = Duration::from_secs(14 * 86_400);

/// Adds everything that is not of one instance alone. `timeout` is that of each check; `whole` is
/// false when nothing can be called missing.
pub(super) fn complete(
    root: &Path,
    of: &Of<'_>,
    name: &AppName,
    own: Target,
    timeout: Duration,
    whole: bool,
    gathered: &mut Gathered,
) -> Target {
    let target = Target {
        address: match of.value("address") {
            Some(Value::Address(address)) => *address,
            _ => Address::default(),
        },
        min_processes: of.count("min_processes").unwrap_or(1),
        process: match of.value("process") {
            Some(Value::Process(name)) => Some(name.clone()),
            _ => None,
        },
        working_directory: match of.value("working_directory") {
            Some(Value::Directory(path)) => Some(path.clone()),
            _ => None,
        },
        max_memory: of.size("max_memory").filter(|bytes| *bytes > 0),
        min_available: of.size("min_available").unwrap_or(USUAL_MIN_AVAILABLE),
        min_disk: of.size("min_disk").unwrap_or(USUAL_MIN_DISK),
        public: match of.value("public") {
            Some(Value::Http(spec)) => http(spec, None, timeout).map(|http| PublicTarget {
                http,
                expires_within: spec.expires_within.unwrap_or(USUAL_EXPIRES_WITHIN),
            }),
            _ => None,
        },
        egress: match of.value("egress") {
            Some(Value::Endpoints(places)) => Some(places.clone()),
            _ => None,
        },
        caches: match of.value("caches") {
            Some(Value::Below(paths)) => paths.clone(),
            _ => USUAL_CACHES.iter().map(PathBuf::from).collect(),
        },
        stragglers: match of.word("stragglers") {
            Some("never") => Stragglers::Never,
            Some("port") => Stragglers::Port,
            _ => Stragglers::Own,
        },
        ..own
    };
    if whole
        && target.port.is_none()
        && let Some(sourced) = of.get("preflight")
        && let Some(Value::Preflight(spec)) = &sourced.value
        && spec.port_free
    {
        let message = format!("needs the app's port: set port in [app.{name}], or leave it out");
        error(gathered, sourced, &spec.port_at, "preflight.port_free", message);
    }
    asked::complete(root, of, name, target, gathered)
}

/// A health check; a path is asked on the port.
pub(super) fn http(spec: &HttpSpec, port: Option<u16>, timeout: Duration) -> Option<HttpTarget> {
    let url = match &spec.asked {
        Asked::Url(url) => url.clone(),
        Asked::Path(path) => format!("http://localhost:{}{path}", port?),
    };
    Some(HttpTarget {
        url,
        method: spec.method.clone(),
        headers: spec.headers.clone(),
        status: spec.status.clone(),
        body: spec.body.clone(),
        json: spec.json.clone(),
        max_latency: spec.max_latency,
        timeout: spec.timeout.unwrap_or(timeout),
    })
}
