//! What nginx passes to whom, out of its files: servers, their names and ports, and where their locations
//! lead. Tolerant: what is not understood is passed over, and nothing in a file can make it read for long.
//! Includes are followed one level deep. What nginx really runs with may differ until its next reload.

#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use words::{LONGEST_WORD, Token, Tokens};

/// Where a request is passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// Name or address, and port.
    Host(String, u16),
    /// A socket in the file system.
    Socket(PathBuf),
}

/// A location that passes its requests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pass {
    /// What the location begins with; `/` for the server itself.
    pub location: String,
    /// To these.
    pub to: Vec<Upstream>,
}

/// A `server` that passes something on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// The file that it stands in.
    pub file: String,
    /// Its names, as they are written.
    pub names: Vec<String>,
    /// Its ports, and whether TLS is spoken there.
    pub ports: Vec<(u16, bool)>,
    /// What it passes on.
    pub passes: Vec<Pass>,
}

/// All that was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nginx {
    /// In the order in which they stand.
    pub sites: Vec<Site>,
}

const MOST_STATEMENTS: usize = 20_000;
const MOST_DEPTH: usize = 32;
const MOST_WORDS: usize = 64;
const MOST_SITES: usize = 512;
const MOST_FILES: usize = 512;

/// Reads the files of a host.
pub(super) fn read(root: &Path, unseen: &mut Vec<String>) -> Nginx {
    let mut files = vec!["/etc/nginx/nginx.conf".to_owned()];
    for (folder, end) in [("/etc/nginx/conf.d", ".conf"), ("/etc/nginx/sites-enabled", "")] {
        let names = super::folder(root, folder, unseen);
        files.extend(names.iter().filter(|name| name.ends_with(end)).map(|name| format!("{folder}/{name}")));
    }
    let mut reader = Reader::default();
    let mut at = 0;
    while let Some(file) = files.get(at).filter(|_| at < MOST_FILES).cloned() {
        at += 1;
        let Some(text) = super::text(root, &file, unseen) else { continue };
        let main = file == "/etc/nginx/nginx.conf";
        let mut include = |pattern: &str| {
            let paths = included(root, pattern, unseen);
            if main {
                // What the main file includes is read on its own.
                files.extend(paths.into_iter().filter(|path| !files.contains(path)).collect::<Vec<_>>());
                return Vec::new();
            }
            paths.iter().filter_map(|path| super::text(root, path, unseen)).collect()
        };
        reader.file(&file, &text, &mut include);
    }
    reader.finish()
}

/// What an `include` names: a file, or `*` in its last part.
fn included(root: &Path, pattern: &str, unseen: &mut Vec<String>) -> Vec<String> {
    let pattern = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/nginx/{pattern}") };
    let Some((folder, last)) = pattern.rsplit_once('/') else { return Vec::new() };
    match last.split_once('*') {
        Some((begin, end)) => super::folder(root, folder, unseen)
            .into_iter()
            .filter(|name| {
                name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
            })
            .map(|name| format!("{folder}/{name}"))
            .take(MOST_FILES)
            .collect(),
        None => vec![pattern.clone()],
    }
}

/// Gives the texts of what is included.
type Include<'a> = &'a mut dyn FnMut(&str) -> Vec<String>;

#[derive(Clone)]
enum Block {
    Server,
    Location(String),
    Upstream(String),
    Other,
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    open: Option<Raw>,
    done: Vec<Raw>,
    upstreams: BTreeMap<String, Vec<Upstream>>,
    statements: usize,
}

/// A server as it is written.
struct Raw {
    file: String,
    depth: usize,
    names: Vec<String>,
    ports: Vec<(u16, bool)>,
    tls: bool,
    passes: Vec<(String, String)>,
    /// What `set` gives to names, so far.
    variables: Vec<(String, String)>,
}

impl Reader {
    fn file(&mut self, file: &str, text: &str, include: Include<'_>) {
        self.blocks.clear();
        self.text(file, text, &mut Some(include));
        // A file that ends too early ends everything.
        self.close(0);
        self.blocks.clear();
    }

    fn text(&mut self, file: &str, text: &str, include: &mut Option<Include<'_>>) {
        let floor = self.blocks.len();
        let mut words: Vec<String> = Vec::new();
        for token in Tokens(text.chars().peekable()) {
            match token {
                Token::Word(word) => {
                    if words.len() < MOST_WORDS {
                        words.push(word);
                    }
                    continue;
                }
                Token::End => self.statement(file, &words, include),
                Token::Begin => self.begin(file, &words),
                Token::Close if self.blocks.len() > floor => {
                    self.blocks.pop();
                    self.close(self.blocks.len());
                }
                Token::Close => {}
            }
            words.clear();
            self.statements += 1;
            if self.statements > MOST_STATEMENTS {
                return;
            }
        }
        self.blocks.truncate(floor);
        self.close(floor);
    }

    /// Ends the open server if its block is no more.
    fn close(&mut self, depth: usize) {
        if self.open.as_ref().is_some_and(|open| open.depth >= depth)
            && let Some(open) = self.open.take()
            && self.done.len() < MOST_SITES
        {
            self.done.push(open);
        }
    }

    fn begin(&mut self, file: &str, words: &[String]) {
        let block = match words.first().map(String::as_str) {
            Some("server") if self.open.is_none() => {
                self.open = Some(Raw {
                    file: file.to_owned(),
                    depth: self.blocks.len(),
                    names: Vec::new(),
                    ports: Vec::new(),
                    tls: false,
                    passes: Vec::new(),
                    variables: Vec::new(),
                });
                Block::Server
            }
            Some("location") => Block::Location(words.last().cloned().unwrap_or_default()),
            Some("upstream") => Block::Upstream(words.get(1).cloned().unwrap_or_default()),
            _ => Block::Other,
        };
        // What is nested deeper is no configuration; its ends still have to be counted.
        if self.blocks.len() < MOST_DEPTH {
            self.blocks.push(block);
        } else if matches!(block, Block::Server) {
            self.open = None;
        }
    }

    fn statement(&mut self, file: &str, words: &[String], include: &mut Option<Include<'_>>) {
        let [name, values @ ..] = words else { return };
        if name == "include" {
            let (Some(pattern), Some(texts)) = (values.first(), include.as_mut()) else { return };
            for text in texts(pattern) {
                self.text(file, &text, &mut None);
            }
            return;
        }
        if let Some(Block::Upstream(upstream)) = self.blocks.last() {
            if let (true, Some(to)) = (name == "server", values.first().and_then(|to| place(to, 80))) {
                let known = self.upstreams.entry(upstream.clone()).or_default();
                if known.len() < MOST_WORDS {
                    known.push(to);
                }
            }
            return;
        }
        let location = self.blocks.iter().rev().find_map(|block| match block {
            Block::Location(location) => Some(location.clone()),
            _ => None,
        });
        let Some(open) = &mut self.open else { return };
        match name.as_str() {
            "server_name" if open.names.len() < MOST_WORDS => open.names.extend(values.iter().cloned()),
            "listen" if open.ports.len() < MOST_WORDS => {
                let tls = values.iter().any(|word| word == "ssl");
                open.ports.extend(values.first().and_then(|at| port_of(at)).map(|port| (port, tls)));
            }
            "set" if open.variables.len() < MOST_WORDS => {
                if let [name, value] = values {
                    open.variables.push((name.trim_start_matches('$').to_owned(), value.clone()));
                }
            }
            "ssl" => open.tls |= values.first().is_some_and(|word| word == "on"),
            "proxy_pass" | "fastcgi_pass" | "uwsgi_pass" | "grpc_pass" if open.passes.len() < MOST_WORDS => {
                let to = told(values.first().map_or("", String::as_str), &open.variables);
                open.passes.push((location.unwrap_or_else(|| "/".to_owned()), to));
            }
            _ => {}
        }
    }

    fn finish(self) -> Nginx {
        let upstreams = self.upstreams;
        let resolve = |to: &str| -> Vec<Upstream> {
            let (rest, port) = match to.split_once("://") {
                Some((scheme, rest)) => (rest, if scheme.ends_with('s') { 443 } else { 80 }),
                None => (to, 80),
            };
            let name = rest.split('/').next().unwrap_or_default();
            match upstreams.get(name) {
                Some(known) => known.clone(),
                None => place(rest, port).into_iter().collect(),
            }
        };
        let site = |raw: Raw| {
            let passes = raw
                .passes
                .iter()
                .map(|(location, to)| Pass { location: location.clone(), to: resolve(to) })
                .filter(|pass| !pass.to.is_empty())
                .collect();
            let mut ports = raw.ports;
            if ports.is_empty() {
                ports.push((80, false));
            }
            if raw.tls {
                ports.iter_mut().for_each(|(_, tls)| *tls = true);
            }
            Site { file: raw.file, names: raw.names, ports, passes }
        };
        let sites = self.done.into_iter().map(site).filter(|site: &Site| !site.passes.is_empty()).collect();
        Nginx { sites }
    }
}

/// A text with what `set` gave to its names before, which is what keeps nginx from resolving a name once and
/// for all.
fn told(text: &str, variables: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (name, value) in variables.iter().rev() {
        // What is left of a `$` says that the whole is not known.
        let Some(more) = with(&text, name, value) else { break };
        text = more;
    }
    text
}

/// A text with a value for `$name` and `${name}`; none where it becomes too long. A value may name others,
/// which were set before it.
fn with(text: &str, name: &str, value: &str) -> Option<String> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let braced = part.strip_prefix('{').and_then(|rest| rest.strip_prefix(name)?.strip_prefix('}'));
        let bare = || part.strip_prefix(name).filter(|rest| !rest.starts_with(of_a_name));
        match braced.or_else(bare) {
            Some(rest) => out.extend([value, rest]),
            None => out.extend(["$", part]),
        }
        if out.len() > LONGEST_WORD {
            return None;
        }
    }
    Some(out)
}

/// Whether a text names that host and port, and every `sed` that replaces them between the ends of words
/// would replace nothing else.
#[must_use]
pub fn spells(text: &str, host: &str, port: u16) -> bool {
    let wanted = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = false;
    for (at, part) in text.match_indices(&wanted) {
        let before = text[..at].chars().next_back();
        if text[at + part.len()..].starts_with(of_a_word)
            || (!host.contains(':') && before.is_some_and(of_a_word))
        {
            continue;
        }
        if matches!(before, Some('-' | '.')) {
            return false;
        }
        found = true;
    }
    found
}

/// `host`, `host:port`, `[::1]:port`, `unix:/path`, with or without a path behind it. None where it is
/// only known when a request comes (`$`).
fn place(text: &str, default: u16) -> Option<Upstream> {
    if text.is_empty() || text.contains('$') {
        return None;
    }
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.split(':').next().unwrap_or_default();
        return path.starts_with('/').then(|| Upstream::Socket(PathBuf::from(path)));
    }
    let text = text.split('/').next().unwrap_or_default();
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(default), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| Upstream::Host(host.to_owned(), port))
}

/// The port of a `listen`.
fn port_of(text: &str) -> Option<u16> {
    if text.starts_with("unix:") {
        return None;
    }
    if let Ok(port) = text.parse() {
        return Some(port);
    }
    match text.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse().ok(),
        _ => Some(80),
    }
}

impl Site {
    /// Names under which it can be asked from outside: no wildcards, no patterns, none of this host.
    pub fn public_names(&self) -> impl Iterator<Item = &str> {
        let plain = |name: &&String| {
            name.contains('.')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
                && !name.starts_with(['.', '-'])
                && !name.ends_with(".local")
                && name.parse::<std::net::IpAddr>().is_err()
        };
        self.names.iter().filter(plain).map(String::as_str)
    }

    /// The address of that name: with TLS where it speaks that.
    #[must_use]
    pub fn url(&self, name: &str, path: &str) -> String {
        let tls = self.ports.iter().find(|(_, tls)| *tls);
        let (port, tls) = tls.or(self.ports.first()).copied().unwrap_or((80, false));
        match (port, tls) {
            (443, true) => format!("https://{name}{path}"),
            (80, false) => format!("http://{name}{path}"),
            (port, true) => format!("https://{name}:{port}{path}"),
            (port, false) => format!("http://{name}:{port}{path}"),
        }
    }

    /// The passes that lead to a port of this host.
    pub fn passes_to(&self, port: u16) -> impl Iterator<Item = &Pass> {
        self.passes.iter().filter(move |pass| pass.leads_to(port))
    }
}

impl Pass {
    /// Whether it leads to a port of this host.
    #[must_use]
    pub fn leads_to(&self, port: u16) -> bool {
        let here = |host: &str| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        self.to.iter().any(|to| matches!(to, Upstream::Host(host, at) if *at == port && here(host)))
    }

    /// Whether it leads to that socket.
    #[must_use]
    pub fn leads_to_socket(&self, socket: &Path) -> bool {
        self.to.iter().any(|to| matches!(to, Upstream::Socket(at) if at == socket))
    }
}

/// Reads what may be a file of nginx, with itself as what it includes.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzzed(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::default();
    reader.file("fuzzed", &text, &mut |_| vec![text.clone().into_owned()]);
    assert!(reader.open.is_none() && reader.blocks.is_empty());
    let found = reader.finish();
    assert!(found.sites.len() <= MOST_SITES);
    for site in &found.sites {
        assert!(!site.passes.is_empty() && !site.ports.is_empty());
        for name in site.public_names() {
            assert!(name.len() <= LONGEST_WORD && !site.url(name, "/").contains(crate::plain::is_hidden));
        }
    }
}
