//! `[alerts.NAME]` of every kind, and `[heartbeat]`.

use super::*;

fn alert(text: &str) -> Alert {
    let mut settings = Host::with(&format!("[alerts.x]\n{text}\n")).settings();
    settings.alerts.remove(0)
}

/// Errors of `[alerts.x]`, whose text begins in line 2.
fn errors(text: &str) -> String {
    Host::with(&format!("[alerts.x]\n{text}\n")).errors().replace("app-monitor.toml:", "")
}

#[test]
fn each_kind_reaches_its_place() {
    let url = |text: &str| Source::Url(crate::judge::Secret(text.to_owned()));
    for (word, web) in
        [("webhook", Web::Webhook), ("slack", Web::Slack), ("discord", Web::Discord), ("ntfy", Web::Ntfy)]
    {
        let x = alert(&format!("kind = \"{word}\"\nurl = \"https://example.org/t?x=1\""));
        assert_eq!(x.channel, Channel::Web { web, source: url("https://example.org/t?x=1"), chat: None });
        assert_eq!((x.channel.word(), x.repeat, x.min_duration), (word, None, Duration::ZERO));
    }
    let x = alert(
        "kind = \"telegram\"\ncredential = \"bot\"\nchat = -100\nrepeat = \"1h\"\nmin_duration = \"2m\"",
    );
    let source = Source::Credential("bot".to_owned());
    assert_eq!(x.channel, Channel::Web { web: Web::Telegram, source, chat: Some("-100".to_owned()) });
    assert_eq!((x.repeat, x.min_duration), (Some(seconds(3_600)), seconds(120)));
    assert_eq!(x.channel.credential(), Some("bot"));
    let x = alert("kind = \"email\"\nto = [\"a@example.org\", \"b@example.org\"]\nrepeat = \"never\"");
    let to = vec!["a@example.org".to_owned(), "b@example.org".to_owned()];
    assert_eq!(x.channel, Channel::Mail { source: None, to, from: None });
    assert_eq!(x.repeat, None);
    let x = alert("kind = \"email\"\nto = \"a@b\"\nfrom = \"m@b\"\nurl = \"smtps://u:p@h\"");
    let from = Some("m@b".to_owned());
    assert_eq!(x.channel, Channel::Mail { source: Some(url("smtps://u:p@h")), to: vec!["a@b".into()], from });
}

#[test]
fn each_kind_says_what_it_needs_and_what_it_does_not_take() {
    for (text, error) in [
        (
            "kind = \"slak\"",
            "2:8: [alerts.x] kind: expected \"webhook\", \"slack\", \"discord\", \"telegram\", \"ntfy\", \"email\" or \"unit\", found \"slak\"; did you mean \"slack\"?",
        ),
        (
            "kind = \"slack\"",
            "1:9: [alerts.x]: url is missing; for example url = \"https://hooks.slack.com/services/…\", or credential",
        ),
        (
            "kind = \"unit\"\ncredential = \"x\"",
            "1:9: [alerts.x]: unit is missing; for example unit = \"tell@.service\"\n3:14: [alerts.x] credential: belongs to kind = \"webhook\", \"slack\", \"discord\", \"telegram\", \"ntfy\" or \"email\", and this is \"unit\"; leave it out",
        ),
        (
            "kind = \"telegram\"\nurl = \"123:abcdefghijk\"",
            "1:9: [alerts.x]: chat is missing; for example chat = \"-1001234567890\"",
        ),
        (
            "kind = \"telegram\"\nurl = \"https://api.telegram.org/\"\nchat = \"me\"",
            "3:7: [alerts.x] url: expected the token of the bot, or https://api.telegram.org/botTOKEN\n4:8: [alerts.x] chat: expected the number of a chat such as \"-1001234567890\", or \"@channel\", found \"me\"",
        ),
        ("kind = \"email\"", "1:9: [alerts.x]: to is missing; for example to = \"admin@example.org\""),
        (
            "kind = \"email\"\nto = \"me\"\nfrom = \"a b@c\"",
            "3:6: [alerts.x] to: expected an address such as \"admin@example.org\", found \"me\"\n4:8: [alerts.x] from: expected an address such as \"monitor@example.org\", found \"a b@c\"",
        ),
        (
            "kind = \"email\"\nto = \"a@b\"\nurl = \"https://h/\"",
            "4:7: [alerts.x] url: expected a URL such as \"smtp://USER:PASSWORD@HOST:587\" or \"smtps://USER:PASSWORD@HOST\"",
        ),
        (
            "kind = \"ntfy\"\nurl = \"https://h/t\"\ncredential = \"t\"\nchat = 1",
            "4:14: [alerts.x] credential: url is given, too; leave one of them out\n5:8: [alerts.x] chat: belongs to kind = \"telegram\", and this is \"ntfy\"; leave it out",
        ),
        (
            "kind = \"ntfy\"\ncredential = \"../x\"",
            "3:14: [alerts.x] credential: expected the name of a credential such as \"slack\": letters, digits, - and _",
        ),
        (
            "kind = \"ntfy\"\nurl = \"https://h/t\"\nrepeat = \"0s\"",
            "4:10: [alerts.x] repeat: \"0s\" is too short: expected 1s to 30d",
        ),
        (
            "kind = \"ntfy\"\nurl = \"https://h/t\"\nmin_duraton = 1",
            "4:1: [alerts.x] min_duraton: unknown key; did you mean \"min_duration\"?",
        ),
    ] {
        assert_eq!(errors(text), error, "{text}");
    }
}

#[test]
fn a_heartbeat_has_a_place_and_a_pace() {
    let settings = Host::with("[heartbeat]\nurl = \"https://hc.example/uuid\"\n").settings();
    assert_eq!(settings.heartbeat.unwrap().every, seconds(60));
    let why = Host::with("[heartbeat]\nevry = 1\nurl = \"hc\"\nunit = \"x@\"\n").errors();
    assert_eq!(
        why,
        "app-monitor.toml:2:1: [heartbeat] evry: unknown key; did you mean \"every\"?\n\
         app-monitor.toml:3:7: [heartbeat] url: expected a URL that begins with https:// or http://\n\
         app-monitor.toml:4:1: [heartbeat] unit: belongs in [app.NAME]"
    );
}

#[test]
fn no_secret_is_shown() {
    let text = "[alerts.a]\nkind = \"slack\"\nurl = \"https://h/geheim\"\n[alerts.b]\nkind = \"email\"\n\
         url = \"smtp://u:geheim@h\"\nto = \"a@b\"\n[heartbeat]\nurl = \"https://h/geheim\"\n";
    let loaded = Host::with(text).load().unwrap();
    let shown = serde_json::to_string(&loaded.shown).unwrap();
    assert!(!shown.contains("geheim") && shown.contains("…"), "{shown}");
    assert!(!format!("{:?}", loaded.settings).contains("geheim"));
    for url in ["https//h/geheim", "ftp://geheim@h/", "https://h/ge heim", "[\\\"geheim\\\"]", "geheim"] {
        for kind in ["slack", "telegram", "email", "ntfy"] {
            let why = errors(&format!("kind = \"{kind}\"\nurl = \"{url}\""));
            assert!(!why.contains("heim"), "{why}");
        }
    }
}
