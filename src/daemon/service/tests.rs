//! What the service looks like from outside.

use super::*;

#[test]
fn every_app_name_makes_a_path() {
    let path = |name: &str| path_of(&name.parse().unwrap()).to_string();
    assert_eq!(path("web"), "/org/appmonitor1/app/web");
    assert_eq!(path("web-1"), "/org/appmonitor1/app/web_2d1");
    assert_eq!(path("1st"), "/org/appmonitor1/app/_31st");
}

const DOCTYPE: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
    \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

fn xml_of(interface: &impl zbus::object_server::Interface) -> String {
    let mut text = String::new();
    interface.introspect_to_writer(&mut text, 2);
    text
}

/// What is shipped for those who write against it is what is served.
#[tokio::test]
async fn the_interfaces_are_those_that_are_shipped() {
    let (queue, _happenings) = mpsc::channel(1);
    let asking = Asking { queue, room: Arc::new(Semaphore::new(1)) };
    // Nobody asks there.
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let theirs = zbus::connection::Builder::unix_stream(theirs.into_std().unwrap())
        .server(zbus::Guid::generate())
        .p2p()
        .build();
    let ours = zbus::connection::Builder::unix_stream(ours.into_std().unwrap()).p2p().build();
    let (_theirs, bus) = tokio::try_join!(theirs, ours).unwrap();
    let app = xml_of(&AppObject::new("web".parse().unwrap(), asking.clone()));
    let manager = xml_of(&Manager::new(asking, Leave::new(bus), Arc::default()));
    let served = format!("{DOCTYPE}<node>\n{manager}{app}</node>\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/org.appmonitor1.xml");
    if std::env::var_os("APP_MONITOR_WRITE_XML").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), served);
}
