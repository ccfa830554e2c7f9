//! `status --watch`: the same again every second, in place on a terminal, until Ctrl-C.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::super::client::Client;
use super::super::terminal::Terminal;
use super::super::{OK, complain};
use super::{Blind, look, render, wall};

const PACE: Duration = Duration::from_secs(1);

/// A screen of its own, and back to the one before (terminfo(5), smcup and rmcup; civis and cnorm).
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";

/// Watches. A daemon that does not run when it begins ends it; one that is restarted later is waited for.
pub async fn run(app: Option<&str>) -> u8 {
    let mut client = match Client::connect().await {
        Ok(client) => Some(client),
        Err(failure) => {
            complain(&failure);
            return failure.status();
        }
    };
    let first = match &client {
        Some(client) => look(client, app).await,
        None => Ok(Vec::new()),
    };
    if let Err(blind) = first {
        return blind.complain();
    }
    let on_screen = Terminal::of_stdout().is_terminal;
    if on_screen {
        let _ = io::stdout().write_all(BEGIN.as_bytes());
    }
    let last = RefCell::new(String::new());
    until_somebody_ends_it(frames(&mut client, app, &last)).await;
    if on_screen {
        let _ = io::stdout().write_all(END.as_bytes());
        // What was seen last stays.
        let _ = io::stdout().write_all(last.borrow().as_bytes());
    }
    let _ = io::stdout().flush();
    OK
}

/// Until Ctrl-C or SIGTERM comes, or nobody reads any more.
async fn until_somebody_ends_it(frames: impl Future<Output = ()>) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return frames.await;
    };
    tokio::select! {
        () = frames => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn frames(client: &mut Option<Client>, app: Option<&str>, last: &RefCell<String>) {
    loop {
        let text = frame(client, app).await;
        let terminal = Terminal::of_stdout();
        let shown = if terminal.is_terminal { in_place(&text, terminal) } else { format!("{text}\n") };
        last.replace(text);
        let mut out = io::stdout().lock();
        if out.write_all(shown.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
        drop(out);
        tokio::time::sleep(PACE).await;
    }
}

async fn frame(client: &mut Option<Client>, app: Option<&str>) -> String {
    if client.is_none() {
        *client = Client::connect().await.ok();
    }
    let seen = match client {
        Some(client) => look(client, app).await,
        None => return "the bus does not answer; trying again\n".to_owned(),
    };
    match seen {
        Ok(views) => render(&views, Terminal::of_stdout(), wall()),
        Err(Blind::NoSuchApp(text)) => format!("{text}\n"),
        Err(Blind::Failed(failure)) => {
            // The bus itself may have been restarted.
            *client = None;
            format!("{failure}; trying again\n")
        }
    }
}

/// The text over what was there before, cut to the height of the terminal.
fn in_place(text: &str, terminal: Terminal) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = terminal.height.unwrap_or(usize::MAX).max(2) - 1;
    let mut out = String::from("\x1b[H");
    let cut = lines.len() > room;
    let most = if cut { room - 1 } else { lines.len() };
    for line in &lines[..most] {
        out.push_str(line);
        out.push_str("\x1b[K\r\n");
    }
    if cut {
        let more = format!("… {} more lines; app-monitor status shows them all", lines.len() - most);
        out.push_str(&terminal.fit(&more));
        out.push_str("\x1b[K\r\n");
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_lines_than_the_terminal_has() {
        let terminal = Terminal { height: Some(5), width: Some(80), is_terminal: true, ..Terminal::PLAIN };
        let text: String = (1..=9).map(|line| format!("line {line}\n")).collect();
        let shown = in_place(&text, terminal);
        assert_eq!(shown.matches("\r\n").count(), 4, "{shown:?}");
        assert!(shown.contains("line 3") && shown.contains("… 6 more lines"), "{shown:?}");
        assert!(!in_place("one\n", terminal).contains("more lines"));
    }
}
