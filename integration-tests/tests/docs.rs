//! What the documentation says is there: paths, links, tests that show guarantees, commands. (Rust snippets are
//! compiled: `src/lib.rs` takes the pages in as documentation tests.)

use clap::Parser as _;
use millstream_integration_tests::sources;
use std::path::{Path, PathBuf};

/// Pages for people: the README and its like, and all of docs/.
fn pages() -> Vec<PathBuf> {
    let mut pages = sources::files("docs", "md");
    pages.extend(["README.md", "CONTRIBUTING.md"].map(PathBuf::from));
    pages
}

/// The text outside fenced code blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Fenced code blocks in this language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

/// Targets of `[text](target)` that are not on the web.
fn links(text: &str) -> Vec<&str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = sources::read(&page);
        for link in links(&prose(&text)) {
            let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.with_file_name("").join(file)
            };
            let there = sources::root().join(&target);
            assert!(
                there.exists(),
                "{} links to {link}, which does not exist",
                page.display()
            );
            if !wanted.is_empty() {
                let headings = sources::read(&target);
                let found = headings
                    .lines()
                    .filter(|l| l.starts_with('#'))
                    .any(|l| anchor(l.trim_start_matches('#')) == wanted);
                assert!(found, "{} links to {link}: there is no such heading", page.display());
            }
        }
    }
}

/// A name in backticks that looks like a path of this repository is one.
#[test]
fn paths_exist() {
    const ENDINGS: [&str; 8] = [".rs", ".md", ".toml", ".sh", ".xml", ".json", ".xz", "/"];
    for page in pages() {
        let text = prose(&sources::read(&page));
        for name in text.split('`').skip(1).step_by(2) {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
            let is_path = plain && name.contains('/') && ENDINGS.iter().any(|ending| name.ends_with(ending));
            let there = sources::root().join(name).exists();
            assert!(
                !is_path || there,
                "{} names {name}, which does not exist",
                page.display()
            );
        }
    }
}

/// The record's way through the code names its files; a page that lost its paths would pass the test above.
#[test]
fn the_architecture_page_names_every_room() {
    let text = sources::read("docs/architecture.md");
    for room in [
        "state/src/",
        "topology/src/",
        "processor/src/",
        "cli/src/",
        "integration-tests/",
        "examples/flights/",
    ] {
        assert!(
            text.contains(&format!("`{room}")),
            "docs/architecture.md does not name a path in {room}"
        );
    }
}

/// A guarantee is worth what its test is: each row of the README's table links to a test function by its name.
#[test]
fn every_guarantee_links_to_its_test() {
    let readme = sources::read("README.md");
    let (_, section) = readme
        .split_once("\n## Guarantees")
        .expect("the README has a section Guarantees");
    let section = section.split("\n## ").next().unwrap_or_default();
    rows_link_to_tests(section, Path::new(""), 8);
}

/// So does each kind of bad input.
#[test]
fn every_kind_of_bad_input_links_to_its_test() {
    rows_link_to_tests(&sources::read("docs/bad-input.md"), Path::new("docs"), 15);
}

/// Each row of the table in `text`, whose links begin at `folder`, links to a test function by its name.
fn rows_link_to_tests(text: &str, folder: &Path, at_least: usize) {
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() >= at_least, "the table has only {} rows", rows.len());
    for row in rows {
        let tests: Vec<_> = row
            .match_indices("[`")
            .filter_map(|(at, _)| named_link(&row[at + 2..]))
            .collect();
        assert!(!tests.is_empty(), "no test in: {row}");
        for (name, path) in tests {
            let function = name.rsplit("::").next().unwrap_or(name);
            let code = sources::code(folder.join(path));
            assert!(
                code.contains(&format!("fn {function}(")),
                "{path} has no function {function}"
            );
            assert!(code.contains("#[test]"), "{path} has no tests");
        }
    }
}

/// `name` and `path` of "name`](path)...".
fn named_link(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once("`](")?;
    Some((name, rest.split_once(')')?.0))
}

#[test]
fn shell_commands_are_understood() {
    let makefile = sources::read("Makefile");
    for page in pages() {
        for line in blocks(&sources::read(&page), "sh")
            .iter()
            .flat_map(|block| block.lines())
        {
            let command = line
                .split(" #")
                .next()
                .unwrap_or_default()
                .split('|')
                .next()
                .unwrap_or_default();
            let words: Vec<&str> = command.split_whitespace().collect();
            match words.as_slice() {
                [] | ["#", ..] | ["git" | "cd", ..] => {}
                ["make", verb, ..] => assert!(makefile.contains(&format!("\n{verb}: ##")), "no make {verb}"),
                [binary, ..] if binary.ends_with("millstream") => {
                    let parsed = millstream_cli::args::Args::try_parse_from(&words);
                    assert!(
                        parsed.is_ok(),
                        "{}: {line}: {}",
                        page.display(),
                        parsed.err().map_or(String::new(), |e| e.to_string())
                    );
                }
                _ => panic!("{} shows a command that nothing checks: {line}", page.display()),
            }
        }
    }
}

#[test]
fn the_readme_can_be_read_at_once() {
    let lines = sources::read("README.md").lines().count();
    assert!(lines < 200, "README.md has {lines} lines");
}
