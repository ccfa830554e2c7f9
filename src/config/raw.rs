//! TOML text as a tree in which every key and value knows its place. No meaning yet.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, quoted};
use super::origin::Origin;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub value: Raw,
    pub at: Origin,
}

/// A key, its place and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: Origin,
    pub value: Located,
}

#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Located>),
    Table(Vec<Entry>),
    /// Of a type that no key takes, or beyond its range.
    Odd(&'static str),
}

impl Raw {
    /// What was found instead of what was expected: short, and without the inside of tables.
    pub fn described(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(word) => word.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Odd(what) => (*what).to_owned(),
        }
    }
}

/// Beyond so many, a file is no TOML and its errors no help.
const MOST_SYNTAX_ERRORS: usize = 20;

/// Reads a file's text. A line that cannot be read is reported and left out; the rest is read all
/// the same, so that one slip does not hide another.
pub(super) fn read_text(path: &Path, text: &str, errors: &mut Vec<ConfigError>) -> Vec<Entry> {
    let index = LineIndex::new(path, text);
    let mut text = text.to_owned();
    for _ in 0..MOST_SYNTAX_ERRORS {
        let error = match DeTable::parse(&text) {
            Ok(table) => return entries(table.into_inner(), &|span| index.origin(span.start)),
            Err(error) => error,
        };
        let at = error.span().map_or(text.len(), |span| span.start).min(text.len());
        let hint = match error.message() {
            "duplicate key" => "; a key or table may come once in a file",
            _ => "",
        };
        let message = format!("not TOML: {}{hint}", error.message().trim());
        errors.push(ConfigError::at(index.origin(at), message));
        // Where the next pass would meet the same error, there is nothing more to find.
        if !blank(&mut text, at) {
            break;
        }
    }
    Vec::new()
}

/// Reads one value, as it stands in an environment variable.
pub(super) fn read_value(text: &str, origin: &Origin) -> Result<Located, String> {
    let value = DeValue::parse(text).map_err(|error| error.message().trim().to_owned())?;
    Ok(Located { value: raw(value.into_inner(), &|_| origin.clone()), at: origin.clone() })
}

/// Overwrites the line at `at` by blanks, so that all other places stay what they are; with a
/// table's header, all of its lines, which would otherwise count to the table before. False when
/// there was nothing left to blank.
fn blank(text: &mut String, at: usize) -> bool {
    let bytes = text.as_bytes();
    // An error at the end of a line may point behind its newline; it means what stands before.
    let mut at = at;
    while at > 0 && (at == bytes.len() || bytes[at].is_ascii_whitespace()) {
        at -= 1;
    }
    let start = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let end_of_line =
        |from: usize| bytes[from..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| from + n);
    let is_header =
        |from: usize| bytes[from..].iter().find(|b| !matches!(b, b' ' | b'\t')).is_some_and(|b| *b == b'[');
    let mut end = end_of_line(start);
    if is_header(start) {
        while end < bytes.len() && !is_header(end + 1) {
            end = end_of_line(end + 1);
        }
    }
    let mut blanked = Vec::with_capacity(bytes.len());
    blanked.extend_from_slice(&bytes[..start]);
    blanked.extend(bytes[start..end].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
    blanked.extend_from_slice(&bytes[end..]);
    if blanked == bytes {
        return false;
    }
    // Whole lines were replaced, so no character was cut.
    match String::from_utf8(blanked) {
        Ok(blanked) => {
            *text = blanked;
            true
        }
        Err(_) => false,
    }
}

fn entries(table: DeTable<'_>, place: &dyn Fn(Range<usize>) -> Origin) -> Vec<Entry> {
    let mut all: Vec<(usize, Entry)> = table
        .into_iter()
        .map(|(key, value)| {
            let span = key.span();
            let entry = Entry {
                key: key.into_inner().into_owned(),
                at: place(span.clone()),
                value: Located { at: place(value.span()), value: raw(value.into_inner(), place) },
            };
            (span.start, entry)
        })
        .collect();
    all.sort_by_key(|(start, _)| *start);
    all.into_iter().map(|(_, entry)| entry).collect()
}

fn raw(value: DeValue<'_>, place: &dyn Fn(Range<usize>) -> Origin) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Odd("a number beyond 64 bits"), Raw::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Raw::Odd("a number out of range"), Raw::Float)
        }
        DeValue::Boolean(word) => Raw::Boolean(word),
        DeValue::Datetime(_) => Raw::Odd("a date or time"),
        DeValue::Array(list) => Raw::List(
            list.into_iter()
                .map(|item| Located { at: place(item.span()), value: raw(item.into_inner(), place) })
                .collect(),
        ),
        DeValue::Table(table) => Raw::Table(entries(table, place)),
    }
}

/// Turns offsets into lines and columns.
pub(super) struct LineIndex<'a> {
    path: PathBuf,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    pub fn new(path: &Path, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path: path.to_owned(), text, starts }
    }

    /// Line and column from 1, the column in characters. An offset behind the end is the end's.
    pub fn origin(&self, offset: usize) -> Origin {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        // Counting is linear, and a file of one long line would make it quadratic: behind its first
        // thousand a column is counted in bytes.
        let start = self.starts[line - 1];
        let mut exact = offset.min(start + 1_000);
        while !self.text.is_char_boundary(exact) {
            exact -= 1;
        }
        let column = self.text[start..exact].chars().count() + (offset - exact) + 1;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Origin::File { path: self.path.clone(), line: number(line), column: number(column) }
    }
}
