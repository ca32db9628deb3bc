//! House rules that no compiler holds. A rule that nothing checks does not last.

use millstream_integration_tests::sources;
use std::path::{Path, PathBuf};

const LONGEST_FUNCTION: usize = 70;
const LONGEST_FILE: usize = 600;

/// The audited modules that may say `unsafe`, with what for.
const UNSAFE: &[(&str, &str)] = &[
    ("benches/src/allocations.rs", "an allocator that counts"),
    ("cli/src/memory.rs", "a setting of the C library's allocator"),
    ("processor/src/broker/kafka/ffi/produce.rs", "the same, to produce"),
    (
        "processor/src/broker/kafka/ffi.rs",
        "what the Kafka client's safe interface lacks",
    ),
    ("topology/tests/no_allocation.rs", "an allocator that counts"),
];

/// Where sleeping is no guess: polls that end when the awaited thing is there, and fail after a limit.
const SLEEPS: &[&str] = &[
    // Looks at a system under test until it is done, and sends at the pace of the clock.
    "benches/src/bin/peer/latency.rs",
    "benches/src/bin/peer/process.rs",
    // Looks at the process until its background work is done.
    "benches/src/bin/restore_cost.rs",
    // Writes records at the pace of the clock.
    "benches/src/bin/write_path.rs",
    // Replays messages at the pace of the clock.
    "cli/src/demo/feed.rs",
    // Asks another process's log until a commit is seen, then kills that process.
    "integration-tests/src/fleet_run.rs",
    "integration-tests/src/kafka.rs",
    "integration-tests/tests/kafka_harness.rs",
];

/// Rust files that are part of what we ship: no tests, no benchmarks.
fn shipped() -> impl Iterator<Item = PathBuf> {
    sources::files("", "rs").into_iter().filter(|path| {
        let is = |folder: &str| path.components().any(|c| c.as_os_str() == folder);
        !is("tests") && !is("benches") && path.file_name().is_some_and(|name| name != "tests.rs")
    })
}

/// Lines of code before the inline tests begin.
fn length(path: &Path) -> usize {
    let text = sources::read(path);
    let tests = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..tests].lines().count()
}

#[test]
fn files_can_be_read_in_one_go() {
    for path in shipped() {
        let lines = length(&path);
        assert!(
            lines <= LONGEST_FILE,
            "{} has {lines} lines, more than {LONGEST_FILE}: split it",
            path.display()
        );
    }
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    for path in shipped() {
        let code = sources::code(&path);
        for (line, lines) in functions(&code)
            .into_iter()
            .filter(|(_, lines)| *lines > LONGEST_FUNCTION)
        {
            long.push(format!("{}:{line}: {lines} lines", path.display()));
        }
    }
    assert!(
        long.is_empty(),
        "functions longer than {LONGEST_FUNCTION} lines:\n{}",
        long.join("\n")
    );
}

/// Line and length of each function with a body.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = code[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let named = code[at + 3..].starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !starts_word || !named {
            continue;
        }
        let Some(open) = code[at..].find(['{', ';']) else {
            continue;
        };
        let mut depth = 0_usize;
        for (i, c) in code[at + open..].char_indices() {
            depth = match c {
                '{' => depth + 1,
                '}' => depth.saturating_sub(1),
                _ => depth,
            };
            if depth == 0 {
                let line = code[..at].matches('\n').count() + 1;
                found.push((line, code[at..at + open + i].matches('\n').count() + 1));
                break;
            }
        }
    }
    found
}

#[test]
fn function_lengths_are_counted_right() {
    let code = "fn a() {\n}\n\ntrait T {\n fn b();\n fn c(&self) {\n  if x {\n  }\n }\n}\nlet f: fn () = a;\n";
    assert_eq!(functions(code), [(1, 2), (5, 1), (6, 4)]);
}

/// A file that no `mod` declares is compiled by nobody, and looks alive.
#[test]
fn every_source_file_is_part_of_its_crate() {
    for path in sources::files("", "rs") {
        let Some(inside) = path
            .to_string_lossy()
            .split_once("src/")
            .map(|(_, inside)| inside.to_owned())
        else {
            continue;
        };
        if matches!(&*inside, "lib.rs" | "main.rs") || inside.starts_with("bin/") {
            continue;
        }
        let module = if inside.ends_with("/mod.rs") {
            path.parent().expect("a folder").to_path_buf()
        } else {
            path.with_extension("")
        };
        let (folder, name) = (
            module.parent().expect("a folder"),
            module.file_name().expect("a name").to_string_lossy(),
        );
        let declares = |parent: PathBuf| {
            sources::root().join(&parent).is_file() && sources::code(&parent).contains(&format!("mod {name};"))
        };
        let parents = [
            folder.join("lib.rs"),
            folder.join("main.rs"),
            folder.join("mod.rs"),
            folder.with_extension("rs"),
        ];
        assert!(
            parents.into_iter().any(declares),
            "{}: no parent declares it (mod {name};)",
            path.display()
        );
    }
}

#[test]
fn unsafe_code_stays_where_it_was_audited() {
    let word = ["un", "safe"].concat();
    let says = |code: &str| {
        code.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|w| w == word)
    };
    let listed: Vec<&str> = UNSAFE.iter().map(|(module, _)| *module).collect();
    assert_eq!(
        files_with(says),
        listed,
        "{word} code, and the list in this test, must agree"
    );
}

/// The Rust files whose code is like this, in order.
fn files_with(like: impl Fn(&str) -> bool) -> Vec<String> {
    let all = sources::files("", "rs").into_iter();
    all.filter(|path| like(&sources::code(path)))
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn nothing_is_left_for_later_without_an_issue() {
    let words = ["TO\u{44}O", "FIX\u{4d}E", "XX\u{58}", "HAC\u{4b}"];
    let macros = ["todo!\u{28}", "unimplemented!\u{28}"];
    for path in sources::files("", "rs") {
        let (text, code) = (sources::read(&path), sources::code(&path));
        let word = text
            .split(|c: char| !c.is_alphanumeric())
            .find(|word| words.contains(word));
        assert_eq!(word, None, "{}: do it now, or open an issue", path.display());
        let unfinished = macros.iter().find(|m| code.contains(**m));
        assert_eq!(unfinished, None, "{} is not finished", path.display());
        // The child half of a test that kills a process is a test too, which only its other half may run.
        for line in text.lines().filter(|line| line.trim_start().starts_with("#[ignore")) {
            assert!(
                line.contains("ignore = \"run by "),
                "{}: a test is switched off: {line}",
                path.display()
            );
        }
    }
}

/// Sleeping instead of waiting makes tests slow and flaky, and code late.
#[test]
fn nobody_sleeps_and_hopes() {
    let sleeping = files_with(|code| code.contains("thread::sleep"));
    assert_eq!(sleeping, SLEEPS, "thread::sleep, and the list in this test, must agree");
}

/// Clippy reads one file, the nearest: the bans of `state` and `topology` are therefore written twice.
#[test]
fn the_bans_of_state_and_topology_are_the_same() {
    assert_eq!(
        sources::read("state/clippy.toml"),
        sources::read("topology/clippy.toml")
    );
    let common = sources::read("clippy.toml");
    assert!(
        sources::read("state/clippy.toml").contains(&common),
        "the root's clippy.toml is not part of state's"
    );
}

#[test]
fn every_crate_keeps_the_lints_and_libraries_document_everything() {
    for manifest in sources::files("", "toml")
        .iter()
        .filter(|path| path.ends_with("Cargo.toml"))
    {
        let text = sources::read(manifest);
        if text.contains("[package]") {
            // Tests and benchmarks may stop at the first surprise: only the lint against unsafe code is theirs.
            let lints = text.contains("[lints]\nworkspace = true") || text.contains("[lints.rust]\nunsafe_code");
            assert!(lints, "{}: no [lints]", manifest.display());
        }
        let lib = manifest.with_file_name("src/lib.rs");
        if sources::root().join(&lib).is_file() {
            assert!(
                sources::read(&lib).contains("#![deny(missing_docs)]"),
                "{}: no deny(missing_docs)",
                lib.display()
            );
        }
    }
}

/// What the repository says must be found in the repository: no paths of the machine it was written on, no names of
/// papers that are not part of it.
#[test]
fn nothing_refers_to_what_is_not_here() {
    let strange = [
        "/wo\u{72}k/",
        "/tmp/w\u{74}/",
        ".lib\u{72}ary/",
        "core-sha\u{70}e",
        "native-pa\u{74}h",
        "DESI\u{47}N",
        "semantics.m\u{64}",
        "../sha\u{72}ed",
    ];
    for extension in ["rs", "md", "toml", "sh", "yaml", "yml", "xml", "txt"] {
        for path in sources::files("", extension) {
            let text = sources::read(&path);
            let found = strange.iter().find(|word| text.contains(**word));
            assert_eq!(
                found,
                None,
                "{} mentions what is not in this repository",
                path.display()
            );
        }
    }
}
