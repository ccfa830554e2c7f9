use serde_json::Value;

use super::super::item::Item;
use super::*;
use crate::judge::EventKind;

fn item(app: &str, event: EventKind, text: &str) -> Item {
    Item {
        id: format!("1-{app}"),
        time: 1_795_329_612,
        app: app.parse().unwrap(),
        unit: format!("{app}.service").parse().unwrap(),
        event,
        text: format!("{app}: {text}"),
        incident: Some(format!("{app}-1")),
        repeated: false,
    }
}

fn one(text: &str) -> Message {
    let items = vec![item("web", EventKind::IncidentOpened, text)];
    Message { host: "vps1".to_owned(), items, missing: 0, test: None, time: 1_795_329_615 }
}

fn two() -> Message {
    let mut message = one("frozen");
    message.items.push(item("api", EventKind::IncidentClosed, "crashed is over after 5 s"));
    message.missing = 2;
    message
}

fn sent(web: Web, url: &str, message: &Message) -> (Request, Value) {
    let request = request(web, url, Some("-100"), message).unwrap();
    let body = serde_json::from_slice(&request.body).unwrap();
    (request, body)
}

const URL: &str = "https://example.org/hook";

#[test]
fn a_webhook_gets_everything() {
    let (request, body) = sent(Web::Webhook, URL, &two());
    assert_eq!((request.id.as_str(), body["id"].as_str()), ("1-web.1-api", Some("1-web.1-api")));
    assert_eq!((body["version"].as_i64(), body["missing"].as_i64()), (Some(1), Some(2)));
    assert_eq!((body["host"].as_str(), body["test"].as_bool()), (Some("vps1"), Some(false)));
    assert_eq!(body["alerts"][1]["event"], "incident-closed");
    assert_eq!(body["title"], "vps1: 2 apps: 2 messages");
    assert_eq!(
        body["text"],
        "2026-11-22 06:40:12 UTC web: frozen\n2026-11-22 06:40:12 UTC api: crashed is over after 5 s\n\
         2 earlier messages are missing: too many waited, or too long.\nMore: app-monitor incidents"
    );
    let test = Message { items: Vec::new(), test: Some("ops".into()), ..one("") };
    let (_, body) = sent(Web::Webhook, URL, &test);
    assert_eq!(body["text"], "This is a test of [alerts.ops]. Nothing happened.");
    assert_eq!((body["test"].as_bool(), body["alerts"].as_array().map(Vec::len)), (Some(true), Some(0)));
}

/// So that whoever writes a receiver can rely on the manual.
#[test]
fn the_shape_of_a_webhook_is_in_the_manual() {
    let manual = include_str!("../../../packaging/man/app-monitor.toml.5");
    let shape = manual.split("\n.SH WEBHOOK\n").nth(1).and_then(|rest| rest.split("\n.SH ").next()).unwrap();
    let (_, body) = sent(Web::Webhook, URL, &two());
    let mut fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    fields.extend(body["alerts"][0].as_object().unwrap().keys());
    for field in fields {
        let said = shape
            .lines()
            .any(|line| line.starts_with(".B") && line.split([' ', '"', ',']).any(|word| word == field));
        assert!(said, "{field}");
    }
}

#[test]
fn each_service_gets_its_own_form_and_nobody_is_mentioned() {
    let odd = one("<!channel> @everyone *x* & node_modules > `y`");
    let (_, body) = sent(Web::Slack, URL, &odd);
    assert_eq!(
        body["text"],
        "*vps1*\nweb: &lt;!channel&gt; @everyone *x* &amp; node_modules &gt; `y`\nMore: app-monitor incidents web-1"
    );
    let (_, body) = sent(Web::Discord, URL, &odd);
    assert_eq!(
        body["content"],
        "**vps1**\nweb: \\<!channel\\> @everyone \\*x\\* & node\\_modules \\> \\`y\\`\nMore: app-monitor incidents web-1"
    );
    assert_eq!(body["allowed_mentions"]["parse"].as_array().map(Vec::len), Some(0));
    let (request, body) = sent(Web::Telegram, "123:abcdefghijkl", &odd);
    assert_eq!(request.endpoint.url(), "https://api.telegram.org/bot123:abcdefghijkl/sendMessage");
    assert_eq!((body["chat_id"].as_str(), body["parse_mode"].is_null()), (Some("-100"), true));
    let (request, body) = sent(Web::Ntfy, "https://me:pw@ntfy.example/base/alarm?x=1", &odd);
    assert_eq!(request.endpoint.url(), "https://ntfy.example/base/");
    assert_eq!((body["topic"].as_str(), body["priority"].as_i64()), (Some("alarm"), Some(4)));
    assert!(request.endpoint.user.is_some());
    let over = Message { items: vec![item("web", EventKind::IncidentClosed, "over")], ..one("") };
    assert_eq!(sent(Web::Ntfy, "https://ntfy.sh/a", &over).1["tags"][0], "white_check_mark");
    let refused = super::request(Web::Ntfy, "https://ntfy.sh/", None, &odd).err().unwrap();
    assert!(refused.starts_with("the URL lacks the topic"), "{refused}");
}

#[test]
fn the_largest_message_fits_every_form() {
    let text = "*".repeat(380);
    let items = (0..3).map(|i| item(&format!("web{i}"), EventKind::IncidentOpened, &text)).collect();
    let message = Message { items, missing: 9, ..one("") };
    let (_, body) = sent(Web::Discord, URL, &message);
    let content = body["content"].as_str().unwrap();
    assert!(content.chars().count() <= 2_000 && content.contains("web2: ***"), "{content}");
    let (_, body) = sent(Web::Ntfy, "https://ntfy.sh/a", &message);
    assert!(body["message"].as_str().unwrap().len() < 4_096);
}

#[test]
fn a_mail_is_plain_and_its_headers_are_ascii() {
    let to = ["a@example.org".to_owned(), "b@example.org".to_owned()];
    let text = mail::text(&one("frozen"), "m@vps1", &to);
    assert_eq!(
        text,
        "From: app-monitor <m@vps1>\r\nTo: a@example.org,\r\n b@example.org\r\nSubject: vps1: web: frozen\r\n\
         Date: Sun, 22 Nov 2026 06:40:15 +0000\r\nMessage-ID: <1-web@vps1>\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
         Host: vps1\r\nweb: frozen\r\nMore: app-monitor incidents web-1\r\n"
    );
    let text = mail::text(&one(&"ä…".repeat(100)), "m@vps1", &to);
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 78), "{text}");
    assert!(text.contains("Subject: =?utf-8?B?") && text.contains("Content-Transfer-Encoding: base64"));
    let encoded: Vec<String> =
        ["", "f", "fo", "foo", "foob"].iter().map(|s| mail::base64(s.as_bytes())).collect();
    assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    assert_eq!(
        (mail::name_of("h\r\nst.x"), mail::name_of("ü")),
        ("hst.x".to_owned(), "localhost".to_owned())
    );
}
