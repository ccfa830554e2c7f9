//! What commands print with `--json`: of each, a file of `shapes/` has it word for word, and its page
//! names every field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::manual::{page, pages, section};
use super::{commands, tree};

const FOLDER: &str = "src/cli/tests/shapes";

/// What is printed is what `NAME.json` has. NAME: the command's words and, where it prints several
/// things, which of them, with dashes in between.
#[track_caller]
pub(in crate::cli) fn assert_shape(name: &str, printed: &str) {
    let path = tree(FOLDER).join(format!("{name}.json"));
    if std::env::var_os("APP_MONITOR_WRITE_SHAPES").is_some() {
        std::fs::write(&path, printed).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        printed == expected,
        "{} has another shape than what is printed, which scripts rely on:\n{printed}",
        path.display()
    );
}

/// Each file, by its name.
fn shapes() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(tree(FOLDER)).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let shape = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, shape)
        })
        .collect()
}

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                found.insert(key.clone());
                fields(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        _ => {}
    }
}

#[test]
fn whatever_shows_something_takes_json_and_has_its_shape_on_file() {
    let shapes = shapes();
    let mut known = BTreeSet::new();
    // The daemon shows nothing, and what has commands below it alone neither.
    for one in commands().iter().filter(|one| one.runs && !one.path.is_empty() && one.name() != "run") {
        assert!(one.options.contains("--json"), "{}", one.name());
        let name = one.path.join("-");
        assert!(shapes.contains_key(&name), "there is no {name}.json");
        known.insert(name);
    }
    for name in shapes.keys() {
        let of = |command: &String| name == command || name.starts_with(&format!("{command}-"));
        assert!(known.iter().any(of), "{name}.json is no command's");
    }
}

#[test]
fn each_field_is_in_its_page_and_no_other() {
    let shapes = shapes();
    for (file, names) in pages() {
        let said = section(&page(&file), "JSON");
        let said: BTreeSet<&str> = said.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).collect();
        let mut expected = BTreeSet::new();
        for (name, shape) in &shapes {
            if names.iter().any(|command| Some(command.as_str()) == name.split('-').next()) {
                fields(shape, &mut expected);
            }
        }
        for field in &expected {
            assert!(said.contains(field.as_str()), "{file} says nothing of {field}");
        }
        // What has an underscore is a field, or a key of the configuration.
        for word in said.iter().filter(|word| word.contains('_') && **word != "attempts_window") {
            assert!(expected.contains(*word), "{file}: {word} is no field");
        }
    }
}
