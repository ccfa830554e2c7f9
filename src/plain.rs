//! Text of strangers as it may be shown: nothing in it moves a cursor, hides or reorders text.

/// Whether a character has no place in text for a terminal or a line of the journal: control
/// characters, and what reorders or hides what stands beside it (bidi marks, zero width, line
/// separators, the byte order mark, Unicode's tags).
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line: what is hidden becomes a blank.
#[must_use]
pub fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

/// The same, but the lines stay lines.
#[must_use]
pub fn on_lines(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) && c != '\n' { ' ' } else { c }).collect()
}

/// JSON that says the same: what is hidden stands in it as an escape.
#[must_use]
pub fn in_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Line breaks are between values; within a string they are escaped already.
        if is_hidden(c) && c != '\n' {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// On one line, cut to so many characters, the last of which is an ellipsis then.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    let mut chars = text.chars().map(|c| if is_hidden(c) { ' ' } else { c });
    let mut out: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        out.pop();
        out.push('…');
    }
    out
}

/// A word as a shell reads it: nothing in it is expanded or ends it.
#[must_use]
pub fn in_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A line for a shell, with these words in the places of `{}`. It is a comment where one of them would be
/// shown as another than it is, or be taken for an option.
#[must_use]
pub fn command(line: &str, words: &[&str]) -> String {
    let mut parts = line.split("{}");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (part, word) in parts.zip(words) {
        out.push_str(&in_shell(word));
        out.push_str(part);
    }
    // U+FFFD stands where bytes were no text.
    let other = |word: &&str| word.starts_with('-') || word.contains(|c| is_hidden(c) || c == '\u{fffd}');
    if words.iter().any(other) {
        return format!("# by hand, with the name as it really is: {}", on_one_line(&out));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        for (word, expected) in [
            ("/srv/web/50%off.js", "/srv/web/50%off.js"),
            ("web@1.service", "web@1.service"),
            ("", "''"),
            ("a b", "'a b'"),
            ("`reboot`$(reboot);\"", "'`reboot`$(reboot);\"'"),
            ("it's", "'it'\\''s'"),
            ("~root", "'~root'"),
            ("a\\x2db.service", "'a\\x2db.service'"),
            ("#x", "'#x'"),
        ] {
            assert_eq!(in_shell(word), expected);
        }
        assert_eq!(command("chmod +x {} {}  # so", &["/a", "/b c"]), "chmod +x /a '/b c'  # so");
        for word in ["/a\nreboot", "-H.service", "/a\u{202e}b", "/a\u{fffd}b"] {
            let line = command("systemctl stop {}", &[word]);
            assert!(line.starts_with("# ") && !line.contains(is_hidden), "{line}");
        }
    }

    #[test]
    fn nothing_hidden_is_left() {
        assert_eq!(on_one_line("a\u{1b}[31mb\u{9b}2J\r\nc\u{202e}d\u{200b}\t"), "a [31mb 2J  c d  ");
        assert_eq!(on_lines("a\u{1b}b\nc\r\n"), "a b\nc \n");
        let text = "\u{1b}\u{9b}\u{7f}\u{202e}\u{e0041}\r\nä";
        let json = in_json(&serde_json::to_string_pretty(&[text]).unwrap());
        assert!(!json.contains(|c| is_hidden(c) && c != '\n'), "{json}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [text]);
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("ab\u{7}d", 3), "ab…");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
