//! The manual has every command and option, and none that is not there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Typed, commands, tree};
use crate::judge::CheckKind;

/// A page as plain text; requests of roff stay, escapes go.
pub(super) fn page(name: &str) -> String {
    let path = tree("packaging/man").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut plain = text.replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", "");
    for font in ["\\fB", "\\fI", "\\fR", "\\fP"] {
        plain = plain.replace(font, "");
    }
    plain.replace('"', "")
}

/// One section of a page.
pub(super) fn section(page: &str, title: &str) -> String {
    let from = page.split_once(&format!("\n.SH {title}\n")).map_or("", |(_, rest)| rest);
    from.split("\n.SH ").next().unwrap_or_default().to_owned()
}

/// All that looks like an option.
fn options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| {
            let long = word
                .strip_prefix("--")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
            let short = word.len() == 2 && word.starts_with('-') && word.as_bytes()[1].is_ascii_alphabetic();
            long || short
        })
        .map(str::to_owned)
        .collect()
}

/// Pages about commands, each with the names it goes by, without `app-monitor-`; the first is its own.
pub(super) fn pages() -> BTreeMap<String, Vec<String>> {
    let mut pages = BTreeMap::new();
    for file in std::fs::read_dir(tree("packaging/man")).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        if file == "app-monitor.8" || !file.ends_with(".8") {
            continue;
        }
        let text = page(&file);
        let name = section(&text, "NAME");
        let names = name.split(" - ").next().unwrap_or_default();
        let names =
            names.split(", ").map(|name| name.trim_start_matches("app-monitor-").to_owned()).collect();
        pages.insert(file, names);
    }
    pages
}

#[test]
fn every_command_has_one_page_with_its_options_and_no_other() {
    let all = commands();
    let mut described: Vec<String> = pages().into_values().flatten().collect();
    described.sort();
    let mut typed: Vec<String> = all[0].below.iter().cloned().collect();
    // What systemd runs, and what explains itself.
    typed.retain(|name| name != "run" && name != "help");
    assert_eq!(described, typed);

    for (file, names) in pages() {
        let text = page(&file);
        let of: Vec<&Typed> =
            all.iter().filter(|one| one.path.first().is_some_and(|first| names.contains(first))).collect();
        let expected: BTreeSet<String> = of.iter().flat_map(|one| one.options.clone()).collect();
        assert_eq!(options(&text), expected, "{file}");
        for leaf in of.iter().filter(|one| one.runs) {
            let begins = format!("app-monitor {}", leaf.name());
            let synopsis = section(&text, "SYNOPSIS");
            assert!(synopsis.contains(&begins), "{file}: {begins} in {synopsis}");
        }
    }
}

#[test]
fn the_overview_lists_every_command_and_option_and_no_other() {
    let all = commands();
    let text = page("app-monitor.8");
    let listed: BTreeMap<String, BTreeSet<String>> = format!("\n{}", section(&text, "COMMANDS"))
        .split("\n.TP\n")
        .filter_map(|entry| {
            let head = entry.lines().next()?.trim_start_matches(".BR ").trim_start_matches(".B ");
            let plain = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase());
            let name: Vec<&str> = head.split_whitespace().take_while(plain).collect();
            Some((name.join(" "), options(head)))
        })
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let expected: BTreeMap<String, BTreeSet<String>> = all
        .iter()
        .filter(|one| one.runs)
        .map(|one| {
            // These are said once for all.
            let own =
                one.options.iter().filter(|option| !["--json", "--help", "-h"].contains(&option.as_str()));
            (one.name(), own.cloned().collect())
        })
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(options(&section(&text, "OPTIONS")), all[0].options);
}

#[test]
fn further_names_of_a_page_are_links_in_the_package() {
    let links = std::fs::read_to_string(tree("debian/app-monitor.links")).unwrap();
    let links: BTreeSet<&str> = links.lines().filter(|line| !line.starts_with('#')).collect();
    let mut expected = BTreeSet::new();
    for (file, names) in pages() {
        assert_eq!(file, format!("app-monitor-{}.8", names[0]), "the first name is the file's");
        for other in &names[1..] {
            expected
                .insert(format!("usr/share/man/man8/{file}.gz usr/share/man/man8/app-monitor-{other}.8.gz"));
        }
    }
    assert_eq!(links, expected.iter().map(String::as_str).collect());
}

#[test]
fn each_check_is_in_the_page_of_status() {
    let shape = section(&page("app-monitor-status.8"), "JSON");
    for check in CheckKind::ALL {
        assert!(shape.contains(check.word()), "{check:?}");
    }
}
