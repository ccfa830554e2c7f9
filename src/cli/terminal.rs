//! What the terminal can do: colour, width, height, letters beyond ASCII.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use crate::plain::{cut, on_one_line};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Colours are wanted and understood (NO_COLOR, no-color.org; TERM=dumb).
    pub colour: bool,
    /// Columns; none where the output is no terminal, and lines are left as long as they are.
    pub width: Option<usize>,
    /// Lines; none where the output is no terminal.
    pub height: Option<usize>,
    /// The output is a terminal.
    pub is_terminal: bool,
    /// The locale knows no letters beyond ASCII (locale(7): LC_ALL, LC_CTYPE, LANG).
    pub ascii: bool,
}

/// How bad something is, as a colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way, or on purpose.
    Quiet,
    /// Somebody should look.
    Bad,
}

/// Nobody's terminal is narrower; one that says so is taken for that wide.
const NARROWEST: usize = 40;
/// A line that is continued has at least so much room; else what stands in front of it is left out.
const ROOM: usize = 24;

impl Terminal {
    /// A pipe.
    #[cfg(test)]
    pub const PLAIN: Self =
        Self { colour: false, width: None, height: None, is_terminal: false, ascii: false };

    /// What stdout is, now: it may be another size than a moment ago.
    pub fn of_stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    /// The same of another stream.
    pub fn of(stream: &(impl IsTerminal + AsFd)) -> Self {
        let is_terminal = stream.is_terminal();
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let size = rustix::termios::tcgetwinsize(stream).ok();
        let known = |length: u16| Some(usize::from(length)).filter(|length| *length > 0);
        let width = size.and_then(|size| known(size.ws_col)).map(|width| width.max(NARROWEST));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
        let dumb = variable("TERM").is_none_or(|term| term == "dumb");
        Self {
            colour: is_terminal && variable("NO_COLOR").is_none() && !dumb,
            width,
            height: size.and_then(|size| known(size.ws_row)),
            is_terminal,
            ascii: !is_utf8(&locale),
        }
    }

    /// The text in that tone.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Quiet => "33",
            Tone::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The line, cut to the width with an ellipsis. Much of it is others' text, so that nothing in it
    /// reaches the terminal as anything else than text; colours come later.
    pub fn fit(&self, line: &str) -> String {
        let line = self.letters(line);
        match self.width {
            Some(width) if self.ascii && line.chars().count() > width => {
                format!("{}...", line.chars().take(width - 3).collect::<String>())
            }
            Some(width) => cut(&line, width),
            None => line,
        }
    }

    /// The text behind what stands in front of it, on as many lines as it takes; each but the first begins
    /// below the beginning of the text.
    pub fn hang(&self, front: &str, text: &str) -> Vec<String> {
        let (front, text) = (self.letters(front), self.letters(text));
        let whole = format!("{front}{text}");
        let Some(width) = self.width.filter(|width| whole.chars().count() > *width) else {
            return vec![whole.trim_end().to_owned()];
        };
        // A name can be longer than a line: it is broken like a word.
        if front.chars().count() > width {
            return self.hang("", &whole);
        }
        let indent = Some(front.chars().count()).filter(|indent| indent + ROOM <= width).unwrap_or(8);
        let mut lines = vec![front];
        let mut is_empty = true;
        for word in text.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            loop {
                let line = lines.last().map_or(0, |line| line.chars().count());
                let blank = usize::from(!is_empty);
                let room = width.saturating_sub(line + blank);
                // What is longer than any line is broken anywhere.
                let fits = word.len() <= room;
                let breaks = word.len() > width - indent && room > 8;
                if let Some(last) = lines.last_mut().filter(|_| fits || breaks) {
                    if !is_empty {
                        last.push(' ');
                    }
                    last.extend(word.drain(..word.len().min(room)));
                    is_empty = false;
                }
                if word.is_empty() && (fits || breaks) {
                    break;
                }
                lines.push(" ".repeat(indent));
                is_empty = true;
            }
        }
        lines.iter().map(|line| line.trim_end().to_owned()).collect()
    }

    /// The text on one line, with letters that the locale has.
    pub fn letters(&self, text: &str) -> String {
        let text = on_one_line(text);
        if !self.ascii {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\u{25cf}' => out.push('*'),
                '\u{25cb}' => out.push('o'),
                '\u{2026}' => out.push_str("..."),
                '\u{201c}' | '\u{201d}' => out.push('"'),
                '\u{2018}' | '\u{2019}' => out.push('\''),
                c if c.is_ascii() => out.push(c),
                _ => out.push('?'),
            }
        }
        out
    }
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Terminal =
        Terminal { width: Some(40), height: Some(24), is_terminal: true, ..Terminal::PLAIN };

    #[test]
    fn long_text_hangs_below_its_beginning() {
        let lines = NARROW.hang("    port  ", "nobody listens on port 3000 of this host");
        assert_eq!(lines, ["    port  nobody listens on port 3000 of", "          this host"]);
        let lines = NARROW.hang("    a front that leaves hardly any room  ", "for the text");
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
        let lines = NARROW.hang(&format!("● {}-1: ", "n".repeat(200)), "crashed");
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
        let lines = NARROW.hang("  ", &"x".repeat(100));
        assert_eq!(lines.iter().map(|line| line.trim().len()).sum::<usize>(), 100, "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
        assert_eq!(Terminal::PLAIN.hang("a ", &"b ".repeat(100)).len(), 1, "a pipe has no width");
    }

    #[test]
    fn a_locale_without_utf8_gets_ascii() {
        for (locale, utf8) in [("C", false), ("", false), ("POSIX", false), ("de_DE.ISO-8859-1", false)]
            .into_iter()
            .chain([("C.UTF-8", true), ("de_DE.utf8", true)])
        {
            assert_eq!(is_utf8(locale), utf8, "{locale}");
        }
        let ascii = Terminal { ascii: true, ..NARROW };
        assert_eq!(ascii.fit("● web: healthy…"), "* web: healthy...");
        assert_eq!(ascii.fit(&"ä".repeat(50)), format!("{}...", "?".repeat(37)));
    }
}
