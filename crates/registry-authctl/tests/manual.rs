//! The manual pages: mandoc(1) has nothing to say about them, and each has what somebody looks for.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

mod common;

use common::run;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn pages() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::TempDir::new().unwrap();
    run(&["man", folder.path().to_str().unwrap()], None).ok();
    let files = std::fs::read_dir(folder.path()).unwrap();
    let pages = files.map(|file| file.unwrap().path()).collect();
    (folder, pages)
}

/// nginx-registry-auth(5).
fn directives() -> String {
    run(&["man", "--directives"], None).ok()
}

#[test]
fn mandoc_finds_nothing_to_complain_about() {
    let (folder, mut all) = pages();
    assert!(all.len() > 30, "{all:?}");
    let page = folder.path().join("nginx-registry-auth.5");
    std::fs::write(&page, directives()).unwrap();
    all.push(page);
    let output = Command::new("mandoc")
        .args(["-Tlint", "-Wstyle"])
        .args(&all)
        .output()
        .expect("mandoc is installed");
    let said = String::from_utf8(output.stdout).unwrap();
    // The pages that these name are not installed where the tests run.
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains("referenced manual not found"))
        .collect();
    assert_eq!(complaints, [""; 0]);
}

#[test]
fn every_page_has_examples_that_are_commands_of_the_tool() {
    let (_folder, pages) = pages();
    for page in pages {
        let shown = Command::new("mandoc")
            .args(["-Tutf8"])
            .arg(&page)
            .output()
            .unwrap();
        // Bold and underlined characters are overstruck.
        let text = String::from_utf8(shown.stdout).unwrap();
        let mut plain = String::new();
        for c in text.chars() {
            match c {
                '\u{8}' => drop(plain.pop()),
                c => plain.push(c),
            }
        }
        for section in [
            "NAME",
            "SYNOPSIS",
            "ENVIRONMENT",
            "EXIT STATUS",
            "EXAMPLES",
            "SEE ALSO",
        ] {
            assert!(
                plain.lines().any(|line| line == section),
                "{section}: {}",
                page.display()
            );
        }
        let examples = plain
            .split("\nEXAMPLES\n")
            .nth(1)
            .unwrap()
            .split("\nSEE ALSO\n")
            .next()
            .unwrap();
        let stem = page.file_stem().unwrap().to_str().unwrap().to_owned();
        let verb = stem
            .replace("registry-authctl", "")
            .replace("import-", "import=")
            .replace("docker-", "docker=");
        let verb = verb.replace('-', " ").replace('=', "-");
        assert!(
            examples.contains(&format!("registry-authctl{verb}")),
            "{stem}: {examples}"
        );
    }
}

/// Each directive of the documentation has its place in the manual, with its syntax, default and context.
#[test]
fn the_manual_of_the_directives_has_all_of_the_documentation() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/directives.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    let page = directives();
    let documented: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("## registry_auth"))
        .collect();
    assert!(documented.len() > 15);
    let paged: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".SS registry_auth"))
        .collect();
    assert_eq!(paged, documented);
    for word in [
        "Syntax:   registry_auth realm | off;",
        "Context:  upstream",
        "$registry_auth_user",
    ] {
        assert!(page.contains(&word.replace('-', "\\-")), "{word}");
    }
}

/// A paragraph that follows a table begins anew, also where no other one stands between a heading and the
/// table.
#[test]
fn what_follows_a_table_is_no_part_of_it() {
    let page = directives();
    let lines: Vec<&str> = page.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with("A wrong value"))
        .expect("what follows the table of all directives");
    assert_eq!(lines[at - 1], ".PP");
}
