//! What the terminal can do: colour, width.

use std::io::IsTerminal;

use crate::plain::{cut, on_one_line};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Colours are wanted and understood (NO_COLOR, no-color.org; TERM=dumb).
    pub colour: bool,
    /// Columns; none where the output is no terminal, and lines are left as long as they are.
    pub width: Option<usize>,
    /// The output is a terminal.
    pub is_terminal: bool,
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

impl Terminal {
    /// A pipe.
    #[cfg(test)]
    pub const PLAIN: Self = Self { colour: false, width: None, is_terminal: false };

    /// What stdout is.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let is_terminal = stdout.is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Self {
            colour: is_terminal && wanted && !dumb,
            width: width.filter(|width| *width >= 40),
            is_terminal,
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
        match self.width {
            Some(width) => cut(line, width),
            None => on_one_line(line),
        }
    }
}
