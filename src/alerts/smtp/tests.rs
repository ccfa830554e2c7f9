use super::*;

/// The other side of a conversation, written down before.
struct Script {
    says: io::Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn talk(says: &str, user: Option<(&str, &str)>, to: &[&str]) -> (Result<String, Failure>, String) {
    let mut script = Script { says: io::Cursor::new(says.as_bytes().to_vec()), heard: Vec::new() };
    let user = user.map(|(user, password)| (user.to_owned(), password.to_owned()));
    let endpoint = Endpoint { user, ..local() };
    let to: Vec<String> = to.iter().map(|to| (*to).to_owned()).collect();
    let envelope = Envelope { host: "vps1", from: "m@b", to: &to, text: "A: b\r\n\r\n.x\r\n..\r\ny" };
    let outcome = converse(&mut script, &endpoint, &envelope);
    (outcome, String::from_utf8(script.heard).unwrap())
}

#[test]
fn a_mail_is_handed_over() {
    let says = "220 hi\r\n250-h\r\n250-PIPELINING\r\n250 AUTH LOGIN plain\r\n235 ok\r\n250 ok\r\n250 ok\r\n251 ok\r\n354 go\r\n250 queued\r\n221 bye\r\n";
    let (outcome, heard) = talk(says, Some(("me", "pw")), &["a@b", "c@d"]);
    assert_eq!(outcome, Ok("is taken".to_owned()));
    assert_eq!(
        heard,
        "EHLO vps1\r\nAUTH PLAIN AG1lAHB3\r\nMAIL FROM:<m@b>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\
         A: b\r\n\r\n..x\r\n...\r\ny\r\n.\r\nQUIT\r\n"
    );
    let says = "220 hi\r\n250-h\r\n250 AUTH=LOGIN\r\n334 VXNlcm5hbWU6\r\n334 x\r\n235 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n250 ok\r\n";
    let (outcome, heard) = talk(says, Some(("me", "pw")), &["a@b", "c@d"]);
    assert_eq!(outcome, Ok("is taken for 1 of 2 addresses".to_owned()));
    assert!(heard.contains("AUTH LOGIN\r\nbWU=\r\ncHc=\r\nMAIL"), "{heard}");
}

#[test]
fn refusals_are_told_apart() {
    let user = Some(("someone", "geheim"));
    let why = |says: &str, user| talk(says, user, &["a@b"]).0.unwrap_err();
    let later = |text: &str| Failure::Later(text.to_owned(), None);
    assert_eq!(why("421 too busy\r\n", None), later("connecting is answered 421 too busy"));
    assert_eq!(
        why("220 h\r\n250-h\r\n250 AUTH PLAIN\r\n535 5.7.8 no\r\n", user),
        Failure::Unwelcome("AUTH is answered 535 5.7.8 no".to_owned())
    );
    assert_eq!(
        why("220 h\r\n250-h\r\n250 AUTH PLAIN\r\n535 no geheim for SomeOne\r\n", user),
        Failure::Unwelcome("AUTH is answered 535".to_owned())
    );
    assert_eq!(
        why("220 h\r\n250 h\r\n", user),
        Failure::Unwelcome("takes neither AUTH PLAIN nor AUTH LOGIN".to_owned())
    );
    let greeted = "220 h\r\n250 h\r\n250 ok\r\n";
    assert_eq!(why(&format!("{greeted}450 grey\r\n"), None), later("RCPT is answered 450 grey"));
    assert!(matches!(why(&format!("{greeted}550 who\r\n"), None), Failure::Unwelcome(_)));
    assert!(matches!(why(&format!("{greeted}250 ok\r\n354 go\r\n554 spam\r\n"), None), Failure::Disliked(_)));
    assert_eq!(
        why(&format!("{greeted}250 ok\r\n354 go\r\n"), None),
        later("the end of DATA: connection closed")
    );
}

#[test]
fn answers_are_bounded_and_have_to_be_some() {
    for (says, why) in [
        ("", "greeting: connection closed"),
        ("HTTP/1.1 400 Bad Request\r\n", "greeting: no SMTP is spoken there"),
        ("220-a\r\n250 b\r\n", "greeting: no SMTP is spoken there"),
        ("999 x\r\n", "greeting: no SMTP is spoken there"),
    ] {
        assert_eq!(talk(says, None, &["a@b"]).0.unwrap_err().why(), why, "{says}");
    }
    assert_eq!(
        talk(&"x".repeat(1 << 20), None, &["a@b"]).0.unwrap_err().why(),
        "greeting: a line without end"
    );
    let endless = "220-x\r\n".repeat(100_000);
    assert_eq!(talk(&endless, None, &["a@b"]).0.unwrap_err().why(), "greeting: an answer without end");
}
