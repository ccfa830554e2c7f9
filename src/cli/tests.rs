//! What is told about the commands, by the manual and by the completions of shells, against the
//! commands themselves.

mod completions;
mod manual;
pub(super) mod shapes;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::CommandFactory as _;

/// A command that people type: none that is hidden, nor `help`.
struct Typed {
    /// Its words behind `app-monitor`; none of the program itself.
    path: Vec<String>,
    /// As they are typed: `--json`, `-n`.
    options: BTreeSet<String>,
    /// The commands below it, `help` among them.
    below: BTreeSet<String>,
    /// It does something by itself, without a command below it.
    runs: bool,
    /// What its argument is called.
    argument: Option<String>,
}

impl Typed {
    /// `config check`.
    fn name(&self) -> String {
        self.path.join(" ")
    }
}

fn commands() -> Vec<Typed> {
    let mut root = super::Arguments::command();
    root.build();
    let mut found = Vec::new();
    visit(&root, &[], &mut found);
    found
}

fn visit(command: &clap::Command, path: &[String], found: &mut Vec<Typed>) {
    let visible = || command.get_subcommands().filter(|one| !one.is_hide_set());
    let arguments = || command.get_arguments().filter(|one| !one.is_hide_set());
    let long = arguments().filter_map(|one| Some(format!("--{}", one.get_long()?)));
    let short = arguments().filter_map(|one| Some(format!("-{}", one.get_short()?)));
    found.push(Typed {
        path: path.to_vec(),
        options: long.chain(short).collect(),
        below: visible().map(|one| one.get_name().to_owned()).collect(),
        runs: !command.is_subcommand_required_set(),
        argument: arguments().find(|one| one.is_positional()).map(|one| one.get_id().to_string()),
    });
    for below in visible().filter(|one| one.get_name() != "help") {
        let path: Vec<String> = path.iter().cloned().chain([below.get_name().to_owned()]).collect();
        visit(below, &path, found);
    }
}

/// A file of the tree.
fn tree(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn words(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}
