//! The table, made of what the rows left behind.

use std::fmt::Write as _;

use app_monitor::judge::{Condition, Verdict};

use super::outcome::{self, Outcome, acts};
use super::{Place, Row, SECTIONS, SUITES};

/// Told after five minutes in which nothing can be checked: the judge's own tests let them pass.
const ELSEWHERE: [Condition; 1] = [Condition::Blind];

/// Widths of the columns before those of the suites.
const WIDTHS: [usize; 3] = [54, 24, 24];

/// Cuts or fills a cell.
fn cell(text: &str, width: usize) -> String {
    if text.chars().count() > width {
        let cut: String = text.chars().take(width - 1).collect();
        return cut + "…";
    }
    format!("{text:<width$}")
}

fn line(cells: [&str; 3], marks: &str, actions: &str) -> String {
    let cells: Vec<String> = cells.iter().zip(WIDTHS).map(|(text, width)| cell(text, width)).collect();
    format!("{}  {marks}  {actions}\n", cells.join("  "))
}

/// How a row came out on all its suites.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Well,
    Wrong,
    /// A virtual machine's, which is run on its own.
    NotRun,
}

/// The lines of a row: one when all suites agree.
fn shown(row: &Row) -> (String, Came) {
    let vm = matches!(row.place, Place::Vm);
    let suites: Vec<&str> = if vm { vec!["vm"] } else { SUITES.map(|suite| suite.0).to_vec() };
    let seen: Vec<Option<Outcome>> = suites.iter().map(|suite| outcome::read(suite, row.name)).collect();
    // Left by an earlier version of the row, it proves nothing.
    let current = |seen: &&Outcome| seen.fault == row.fault && seen.expected == row.expect;
    let marks: Vec<&str> = seen
        .iter()
        .map(|seen| match seen.as_ref().filter(current) {
            Some(seen) if seen.pass => "pass",
            Some(_) => "FAIL",
            None => "none",
        })
        .collect();
    let well = marks.iter().all(|mark| *mark == "pass");
    let mut text = String::new();
    match seen.iter().flatten().next() {
        Some(first) if well => {
            let marks = if vm { "vm    pass".to_owned() } else { marks.join("  ") };
            let figure = if first.note.is_empty() { String::new() } else { format!(" ({})", first.note) };
            text +=
                &line([row.fault, row.expect, &first.verdict], &marks, &(first.actions.clone() + &figure));
        }
        _ => {
            for ((seen, mark), suite) in seen.iter().zip(&marks).zip(&suites) {
                let (verdict, note) = seen.as_ref().map_or(("", String::new()), |seen| {
                    (seen.verdict.as_str(), format!("{}: {}", seen.actions, seen.note))
                });
                let note = if *mark == "none" && vm {
                    format!("not run (tests/run vm); right is: {}", acts(row.actions, row.starts))
                } else if *mark == "none" {
                    format!("did not run; right is: {}", acts(row.actions, row.starts))
                } else {
                    note
                };
                text += &line([row.fault, row.expect, verdict], &format!("{suite:<4}  {mark}"), &note);
            }
        }
    }
    let came = match marks[..] {
        _ if well => Came::Well,
        ["none"] if vm => Came::NotRun,
        _ => Came::Wrong,
    };
    (text, came)
}

/// Prints the table, and keeps it as target/matrix/table.txt. Fails when a row is missing or wrong,
/// or a verdict or condition has no row. Run by `tests/run matrix` when the rows are done.
#[test]
#[ignore = "looks at what the rows left behind, when they are done"]
fn table() {
    let mut text = line(["fault", "expected", "verdict"], "252   257 ", "actions taken");
    let (mut rows, mut wrong, mut not_run) = (0, 0, 0);
    for (title, section) in SECTIONS {
        let _ = writeln!(text, "\n{title}");
        for row in *section {
            let (lines, came) = shown(row);
            text += &lines;
            rows += 1;
            wrong += usize::from(came == Came::Wrong);
            not_run += usize::from(came == Came::NotRun);
        }
    }
    let words = Verdict::ALL.iter().map(|verdict| verdict.word());
    let words = words.chain(
        Condition::ALL
            .iter()
            .filter(|condition| !ELSEWHERE.contains(condition))
            .map(|condition| condition.word()),
    );
    let expected: Vec<&str> =
        SECTIONS.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.expect)).collect();
    let absent: Vec<&str> = words.filter(|word| !expected.contains(word)).collect();
    if !absent.is_empty() {
        let _ = writeln!(text, "\nwithout a row: {}", absent.join(", "));
    }
    let _ = writeln!(text, "\n{rows} rows, {wrong} wrong or missing");
    if not_run > 0 {
        let _ = writeln!(text, "{not_run} rows of virtual machines were not run: tests/run vm matrix");
    }
    std::fs::create_dir_all(outcome::folder()).expect("target/ can be written");
    std::fs::write(outcome::folder().join("table.txt"), &text).expect("target/ can be written");
    assert!(wrong == 0 && absent.is_empty(), "the matrix has gaps:\n{text}");
}
