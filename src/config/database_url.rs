//! The URL of a database: in which protocol it is asked, and where it listens. Users, passwords,
//! names of databases and options are read over and never kept; no error quotes any of it.

use std::path::PathBuf;

use super::list;
use crate::judge::{DatabasePlace, DatabaseProtocol};

/// What a URL says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// It can be asked there.
    At(Place),
    /// It is a database, but cannot be asked, for that reason.
    Nowhere(&'static str),
}

/// Where a database is, and what it speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub protocol: DatabaseProtocol,
    /// Not empty.
    pub places: Vec<DatabasePlace>,
    /// TLS from the first byte.
    pub tls: bool,
}

/// Most places of one URL.
const MOST_PLACES: usize = 16;
/// libpq's default on Debian (`/var/run` is a link to it).
const POSTGRES_SOCKETS: &str = "/run/postgresql";

impl Found {
    /// A URL that says the same, and nothing else.
    pub fn url(&self) -> String {
        let place = match self {
            Self::At(place) => place,
            Self::Nowhere(why) if *why == OF_FILES => return "file:".to_owned(),
            Self::Nowhere(_) => return "mongodb+srv:".to_owned(),
        };
        let host = |at: &DatabasePlace| match at {
            DatabasePlace::Host(host, port) => list::endpoint(&(host.clone(), *port)),
            DatabasePlace::Socket(path) => of_socket(place.protocol, &path.to_string_lossy()),
        };
        let (scheme, options) = match (place.protocol, place.tls) {
            (DatabaseProtocol::PostgreSql, _) => ("postgres", ""),
            (DatabaseProtocol::MySql, _) => ("mysql", ""),
            (DatabaseProtocol::Redis, false) => ("redis", ""),
            (DatabaseProtocol::Redis, true) => ("rediss", ""),
            (DatabaseProtocol::MongoDb, false) => ("mongodb", ""),
            (DatabaseProtocol::MongoDb, true) => ("mongodb", "?tls=true"),
            (DatabaseProtocol::Tcp, _) => ("tcp", ""),
        };
        let hosts: Vec<String> = place.places.iter().map(host).collect();
        format!("{scheme}://{}/{options}", hosts.join(","))
    }
}

/// A socket where a host stands, percent-encoded; for PostgreSQL its directory and port.
fn of_socket(protocol: DatabaseProtocol, path: &str) -> String {
    let (path, port) = match path.rsplit_once("/.s.PGSQL.") {
        Some((directory, port)) if protocol == DatabaseProtocol::PostgreSql => {
            (if directory.is_empty() { "/" } else { directory }, format!(":{port}"))
        }
        _ => (path, String::new()),
    };
    let encoded: String = path.bytes().map(|b| format!("%{b:02X}")).collect();
    format!("{encoded}{port}")
}

const OF_FILES: &str = "it is a file, which accepts no connections";

/// What the scheme says.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Scheme {
    protocol: DatabaseProtocol,
    port: Option<u16>,
    tls: bool,
    /// What follows is the path of a socket.
    socket: bool,
}

/// Whether a key's value with that scheme can only be a database's. Others may be anything, such as
/// the app's own address.
pub(super) fn is_a_databases(text: &str) -> bool {
    split(text).is_some_and(|(scheme, _)| {
        scheme == "mongodb+srv" || is_file(&scheme) || read_scheme(&scheme).protocol != DatabaseProtocol::Tcp
    })
}

/// Whether a key's value is the address of something that is not a database: the app itself, a
/// mail server.
pub(super) fn is_of_something_else(text: &str) -> bool {
    const OTHERS: [&str; 11] =
        ["http", "https", "ws", "wss", "smtp", "smtps", "ftp", "sftp", "ssh", "git", "mailto"];
    split(text).is_none_or(|(scheme, _)| OTHERS.contains(&scheme.as_str()))
}

fn is_file(scheme: &str) -> bool {
    matches!(scheme, "sqlite" | "sqlite3" | "file" | "libsql+file")
}

/// The scheme in small letters, without `jdbc:`, and the rest behind its colon.
fn split(text: &str) -> Option<(String, &str)> {
    let text = text.trim();
    let text = text.strip_prefix("jdbc:").unwrap_or(text);
    let (scheme, rest) = text.split_once(':')?;
    // RFC 3986, section 3.1.
    let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    fits.then(|| (scheme.to_ascii_lowercase(), rest))
}

fn read_scheme(scheme: &str) -> Scheme {
    use DatabaseProtocol::{MongoDb, MySql, PostgreSql, Redis, Tcp};
    let of = |protocol, port| Scheme { protocol, port: Some(port), tls: false, socket: false };
    // SQLAlchemy and others name the driver behind a plus: postgresql+asyncpg.
    let (base, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
    let socket = matches!(driver, "unix" | "socket");
    match base {
        "postgres" | "postgresql" | "pgsql" | "postgis" => of(PostgreSql, 5_432),
        "mysql" | "mysql2" | "mariadb" => of(MySql, 3_306),
        "redis" | "valkey" => Scheme { socket, ..of(Redis, 6_379) },
        "redis-socket" | "unix" => Scheme { socket: true, ..of(Redis, 6_379) },
        "rediss" | "valkeys" => Scheme { tls: true, ..of(Redis, 6_379) },
        "mongodb" => of(MongoDb, 27_017),
        _ => Scheme { protocol: Tcp, port: None, tls: false, socket: false },
    }
}

/// Reads a URL.
///
/// # Errors
/// What is wrong with it, without a word of it.
pub(super) fn parse(text: &str) -> Result<Found, String> {
    // A comment behind a value stays in it, by the rules of environment files.
    let text = match text.trim().split_once(char::is_whitespace) {
        Some((url, rest)) if rest.trim_start().starts_with('#') => url,
        // Behind a closing quote they take away the blank before it.
        Some((url, _)) if url.ends_with('#') => url.trim_end_matches('#'),
        Some(_) => return Err("the URL holds a blank, which has to be written %20".to_owned()),
        None => text.trim(),
    };
    let expected = "expected a URL such as \"postgres://db.example.org:5432/\"";
    let (scheme, rest) = split(text).ok_or(expected)?;
    if scheme == "mongodb+srv" {
        return Ok(Found::Nowhere("mongodb+srv:// names no host that could be asked"));
    }
    if is_file(&scheme) {
        return Ok(Found::Nowhere(OF_FILES));
    }
    let scheme = read_scheme(&scheme);
    let unslashed = rest.strip_prefix("//");
    let rest = match unslashed {
        Some(rest) => rest,
        None if scheme.socket => rest,
        None => return Err(expected.to_owned()),
    };
    let (whole, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = whole.split_once('?').unwrap_or((whole, ""));
    if scheme.socket {
        let path = rest.rsplit_once('@').map_or(rest, |(_, path)| path);
        let places = vec![DatabasePlace::Socket(socket(path)?)];
        return Ok(Found::At(Place { protocol: scheme.protocol, places, tls: false }));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    // With one of these in the password, what is taken for the host is a part of user and password.
    if path.contains('@') || fragment.contains('@') || (query.contains('@') && !authority.contains('@')) {
        return Err(
            "an @ follows the host: a /, ? or # in the password has to be written %2F, %3F or %23".to_owned()
        );
    }
    let options = Options(query);
    let places = places(scheme, hosts, &options)?;
    let tls = scheme.tls
        || (scheme.protocol == DatabaseProtocol::MongoDb
            && ["tls", "ssl"].iter().any(|key| options.get(key).as_deref() == Some("true")));
    Ok(Found::At(Place { protocol: scheme.protocol, places, tls }))
}

fn places(scheme: Scheme, hosts: &str, options: &Options<'_>) -> Result<Vec<DatabasePlace>, String> {
    use DatabaseProtocol::{MySql, PostgreSql};
    let mut port = scheme.port;
    if let (PostgreSql, Some(given)) = (scheme.protocol, options.get("port")) {
        port = Some(
            list::port(&given).ok_or("the port in the options of the URL is no number from 1 to 65535")?,
        );
    }
    if scheme.protocol == MySql {
        let given = ["socket", "unix_socket", "socketPath"].iter().find_map(|key| options.get(key));
        if let Some(path) = given {
            return Ok(vec![DatabasePlace::Socket(socket(&path)?)]);
        }
    }
    // What libpq's option says takes the place of what stands before the path.
    let option = if scheme.protocol == PostgreSql { options.get("host") } else { None };
    let hosts = option.as_deref().unwrap_or(hosts);
    if hosts.is_empty() {
        return match (scheme.protocol, port) {
            // libpq means the socket, node-postgres the loopback.
            (PostgreSql, Some(port)) => Ok(vec![
                postgres_socket(POSTGRES_SOCKETS, port),
                DatabasePlace::Host("localhost".to_owned(), port),
            ]),
            (_, Some(port)) => Ok(vec![DatabasePlace::Host("localhost".to_owned(), port)]),
            (_, None) => Err("the URL lacks a host".to_owned()),
        };
    }
    let mut all = Vec::new();
    for host in hosts.split(',') {
        let place = place(scheme, host, port)?;
        if !all.contains(&place) {
            all.push(place);
        }
    }
    if all.len() > MOST_PLACES {
        return Err(format!("the URL names more than {MOST_PLACES} hosts"));
    }
    Ok(all)
}

/// `host`, `host:port`, `[::1]:port`, or the percent-encoded path of a socket.
fn place(scheme: Scheme, text: &str, default: Option<u16>) -> Result<DatabasePlace, String> {
    let (host, port) = match text.strip_prefix('[') {
        // Out of an option: as it stands, which may be with colons.
        _ if text.starts_with('/') => (text.to_owned(), None),
        Some(inside) => {
            let (address, port) =
                inside.split_once(']').ok_or("an IPv6 address of the URL lacks its closing ]")?;
            let address: std::net::Ipv6Addr =
                address.parse().map_err(|_| "a host of the URL is no IPv6 address")?;
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return Err("only a port may follow the ] of the URL".to_owned()),
            };
            (address.to_string(), port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            (decoded(host).ok_or("the host of the URL is not UTF-8")?, port)
        }
    };
    let port = match port {
        // libpq takes "host:" for the default.
        None | Some("") => default,
        Some(digits) => Some(list::port(digits).ok_or("the port of the URL is no number from 1 to 65535")?),
    };
    if host.starts_with('/') {
        let path = socket(&host)?;
        return Ok(match (scheme.protocol, port) {
            (DatabaseProtocol::PostgreSql, Some(port)) => postgres_socket(&host, port),
            _ => DatabasePlace::Socket(path),
        });
    }
    if !host.contains(':') && !list::host(&host) {
        return Err("the host of the URL may hold only letters, digits, dots and dashes (an IPv6 address \
                    in [ ])"
            .to_owned());
    }
    let port = port.ok_or("the URL lacks a port, and its kind of database has no usual one")?;
    Ok(DatabasePlace::Host(host, port))
}

/// libpq is told the directory.
fn postgres_socket(directory: &str, port: u16) -> DatabasePlace {
    DatabasePlace::Socket(PathBuf::from(directory).join(format!(".s.PGSQL.{port}")))
}

fn socket(path: &str) -> Result<PathBuf, String> {
    decoded(path)
        .filter(|path| path.starts_with('/'))
        .and_then(|path| list::file(&path))
        .ok_or_else(|| "the socket in the URL is no absolute path".to_owned())
}

/// The part behind the question mark.
struct Options<'a>(&'a str);

impl Options<'_> {
    fn get(&self, key: &str) -> Option<String> {
        let mut pairs = self.0.split(['&', ';']).filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, value)| *name == key && !value.is_empty()).and_then(|(_, value)| decoded(value))
    }
}

/// Without its percent-encoding (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        let at = match parse(text) {
            Ok(Found::At(at)) => at,
            Ok(Found::Nowhere(why)) => return why.to_owned(),
            Err(why) => return format!("error: {why}"),
        };
        let places: Vec<String> = at
            .places
            .iter()
            .map(|place| match place {
                DatabasePlace::Host(host, port) => list::endpoint(&(host.clone(), *port)),
                DatabasePlace::Socket(path) => path.display().to_string(),
            })
            .collect();
        format!("{:?}{} {}", at.protocol, if at.tls { "+tls" } else { "" }, places.join(" "))
    }

    #[test]
    fn urls_say_what_is_asked_where() {
        for (url, expected) in [
            (
                "postgres://me:geheim@db.example.org:5433/shop?sslmode=require",
                "PostgreSql db.example.org:5433",
            ),
            ("postgresql://me:p%40ss@10.0.0.7/shop", "PostgreSql 10.0.0.7:5432"),
            ("postgresql+asyncpg://me@h/shop", "PostgreSql h:5432"),
            ("jdbc:postgresql://h/shop?user=me&password=geheim", "PostgreSql h:5432"),
            ("postgres://me:a@b@h/shop", "PostgreSql h:5432"),
            ("postgres://a:1,b,[::1]:3/shop", "PostgreSql a:1 b:5432 [::1]:3"),
            ("postgres://me@%2Frun%2Fpostgresql/shop", "PostgreSql /run/postgresql/.s.PGSQL.5432"),
            ("postgres:///shop?host=/tmp&port=5433", "PostgreSql /tmp/.s.PGSQL.5433"),
            (
                "postgres://me:geheim@localhost/shop?host=/cloudsql/a:b:c",
                "PostgreSql /cloudsql/a:b:c/.s.PGSQL.5432",
            ),
            ("postgres://h/shop?host=a,b", "PostgreSql a:5432 b:5432"),
            // A comment, as `"…" # main` leaves it.
            ("postgres://h/shop # main", "PostgreSql h:5432"),
            ("postgres://h/shop?a=b# main db", "PostgreSql h:5432"),
            ("postgres:///shop", "PostgreSql /run/postgresql/.s.PGSQL.5432 localhost:5432"),
            ("mysql://root:geheim@127.0.0.1/shop", "MySql 127.0.0.1:3306"),
            ("mariadb+pymysql://me@h:3307/shop?charset=utf8", "MySql h:3307"),
            ("mysql://me@localhost/shop?socket=/run/mysqld/mysqld.sock", "MySql /run/mysqld/mysqld.sock"),
            ("redis://:geheim@cache:6380/0", "Redis cache:6380"),
            ("redis://", "Redis localhost:6379"),
            ("rediss://default:geheim@cache", "Redis+tls cache:6379"),
            ("valkey://cache", "Redis cache:6379"),
            ("redis+unix:///run/redis/redis.sock?db=1", "Redis /run/redis/redis.sock"),
            ("redis+unix://:geheim@/run/redis/redis.sock", "Redis /run/redis/redis.sock"),
            ("unix:/run/redis/redis.sock", "Redis /run/redis/redis.sock"),
            ("unix://me:geheim@/run/redis/redis.sock", "Redis /run/redis/redis.sock"),
            ("mongodb://me:geheim@a:27018,b/shop?replicaSet=rs0", "MongoDb a:27018 b:27017"),
            ("mongodb://a/?tls=true", "MongoDb+tls a:27017"),
            ("mongodb://%2Ftmp%2Fmongodb-27017.sock/shop", "MongoDb /tmp/mongodb-27017.sock"),
            (
                "mongodb+srv://me:geheim@cluster.example.org/",
                "mongodb+srv:// names no host that could be asked",
            ),
            ("file:./dev.db", "it is a file, which accepts no connections"),
            ("sqlite:///srv/web/db.sqlite", "it is a file, which accepts no connections"),
            ("clickhouse://default:geheim@h:9000/db", "Tcp h:9000"),
            ("  postgres://h/shop\t# the shop's ", "PostgreSql h:5432"),
            ("POSTGRES://H/shop", "PostgreSql H:5432"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
            let bare = parse(url).unwrap().url();
            assert_eq!(parse(&bare), parse(url), "{bare}");
            assert!(!bare.contains("geheim") && !bare.contains("shop"), "{bare}");
        }
    }

    #[test]
    fn what_names_no_place_says_why_and_shows_nothing() {
        let at = "an @ follows the host: a /, ? or # in the password has to be written %2F, %3F or %23";
        for (url, expected) in [
            ("geheim", "expected a URL such as \"postgres://db.example.org:5432/\""),
            ("", "expected a URL such as \"postgres://db.example.org:5432/\""),
            ("postgres:geheim", "expected a URL such as \"postgres://db.example.org:5432/\""),
            ("me:geheim@tcp(h:3306)/shop", "expected a URL such as \"postgres://db.example.org:5432/\""),
            ("host=h password=geheim", "the URL holds a blank, which has to be written %20"),
            ("postgres://me:1/geheim@h/shop", at),
            ("postgres://me:1#geheim@h/shop", at),
            ("postgres://me:1?geheim@h/shop", at),
            ("postgres://h:geheim/", "the port of the URL is no number from 1 to 65535"),
            ("postgres://h:0/", "the port of the URL is no number from 1 to 65535"),
            ("postgres://[geheim]/", "a host of the URL is no IPv6 address"),
            ("postgres://[::1/", "an IPv6 address of the URL lacks its closing ]"),
            ("postgres://[::1]geheim/", "only a port may follow the ] of the URL"),
            (
                "postgres://ge$heim/",
                "the host of the URL may hold only letters, digits, dots and dashes (an IPv6 address in [ ])",
            ),
            ("redis+unix://geheim", "the socket in the URL is no absolute path"),
            ("mysql://h/?socket=/../geheim", "the socket in the URL is no absolute path"),
            ("cassandra://geheim/", "the URL lacks a port, and its kind of database has no usual one"),
            ("cassandra:///geheim", "the URL lacks a host"),
        ] {
            assert_eq!(shown(url), format!("error: {expected}"), "{url}");
        }
    }

    #[test]
    fn a_key_may_hold_something_else() {
        assert!(is_a_databases("mysql://h/"));
        assert!(is_a_databases("mongodb+srv://h/"));
        assert!(!is_a_databases("https://example.org:443/"));
        assert!(!is_a_databases("clickhouse://h:9000/"));
        assert!(is_of_something_else("https://example.org:443/"));
        assert!(is_of_something_else("geheim"));
        assert!(!is_of_something_else("clickhouse://h:9000/"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(postgres|redis|mongodb|mysql|unix|x)?(://)?[a-z0-9%:@/?#,.\\[\\]&= ]*|.*") {
            let _ = parse(&text);
        }

        #[test]
        fn no_error_shows_what_was_given(secret in "[A-Z]{8,12}", form in 0usize..6) {
            let url = [
                format!("postgres://me:{secret}@h:x/"),
                secret.clone(),
                format!("postgres://h:{secret}/"),
                format!("postgres://me:1/{secret}@h/"),
                format!("redis+unix://{secret}"),
                format!("x://{secret}"),
            ][form].clone();
            prop_assert!(!parse(&url).unwrap_err().contains(&secret));
        }
    }
}
