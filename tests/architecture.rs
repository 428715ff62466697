//! What must stay absent: the sentences of `ARCHITECTURE.md` that a machine can check.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BACKENDS: [&str; 4] = ["livecode-sqlx", "livecode-redis", "livecode-process", "livecode-docker"];
const DRIVERS: [&str; 9] =
    ["sqlx", "libsqlite3-sys", "redis", "bollard", "rustix", "libc", "nix", "axum", "hyper"];

/// The names of the crates that `package` is built from, all its features on.
fn dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
            "--all-features",
            "--offline",
            "-p",
            package,
        ])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

/// All Rust files of ours.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = ["src", "crates", "examples", "benches", "tests"]
        .iter()
        .map(|name| Path::new(ROOT).join(name))
        .collect();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn the_core_names_no_backend_and_no_driver() {
    // What tokio needs of the system isn't the core's doing.
    let found: Vec<String> = dependencies("livecode-core")
        .into_iter()
        .filter(|name| DRIVERS.contains(&name.as_str()) && name != "libc" || name.starts_with("livecode-"))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn no_backend_names_another() {
    for backend in BACKENDS {
        let others: Vec<String> = dependencies(backend)
            .into_iter()
            .filter(|name| name.starts_with("livecode") && name != "livecode-core" && name != backend)
            .collect();
        assert!(others.is_empty(), "{backend} names {others:?}");
    }
}

#[test]
fn the_facade_holds_no_logic() {
    let facade = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    for line in facade.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let allowed = ["//", "#[", "#!", "pub use "].iter().any(|start| line.starts_with(start));
        assert!(allowed, "{line}");
    }
}

#[test]
fn unsafe_code_is_only_where_it_belongs() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let is_root = path.ends_with("src/lib.rs") || path.ends_with("examples/runner/src/main.rs");
        let may = path.starts_with(Path::new(ROOT).join("crates/livecode-process"));
        if is_root && !may {
            assert!(text.contains("#![forbid(unsafe_code)]"), "{}", path.display());
        }
    }
}

#[test]
fn a_file_says_one_thing() {
    for path in sources() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{}: {lines} lines", path.display());
    }
}

/// All words of our code, comments aside.
fn words() -> HashSet<String> {
    let texts = sources().into_iter().map(|path| fs::read_to_string(path).unwrap());
    let mut words = HashSet::new();
    for text in texts {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            words.extend(line.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_test_that_the_specification_names_is_there() {
    let specification = fs::read_to_string(Path::new(ROOT).join("SPECIFICATION.md")).unwrap();
    let (sources, words) = (sources(), words());
    let mut checked = 0;
    let held_by = specification.lines().filter(|line| line.starts_with('|'));
    for cell in held_by.filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next()) {
        for name in cell.split('`').skip(1).step_by(2) {
            let is_there = if name.contains('/') || name.ends_with(".rs") {
                let below = |directory: &str| Path::new(ROOT).join(directory).join(name).exists();
                below("") || below("crates") || sources.iter().any(|path| path.ends_with(name))
            } else {
                // Of several names their common beginning may stand there. What has another shape is no name of ours.
                let name = name.rsplit("::").next().unwrap_or(name);
                let start = name.strip_suffix('…').unwrap_or(name);
                let is_start = start != name || name.ends_with('_');
                name.contains(['-', ' ', '*', '(', '=', ':', '.', ','])
                    || words.contains(name)
                    || is_start && words.iter().any(|word| word.starts_with(start))
            };
            assert!(is_there, "SPECIFICATION.md names `{name}`, which isn't there:{cell}");
            checked += 1;
        }
    }
    assert!(checked > 200, "the tables are found: {checked} names");
}

/// Where tokio may choose between several that are ready it does so by a chance that nobody can repeat.
#[test]
fn the_core_leaves_no_choice_to_chance() {
    for path in
        sources().iter().filter(|path| path.starts_with(Path::new(ROOT).join("crates/livecode-core/src")))
    {
        let text = fs::read_to_string(path).unwrap();
        for (_, body) in text.match_indices("select! {").map(|(at, found)| (at, &text[at + found.len()..])) {
            let first = body.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("//"));
            assert_eq!(first, Some("biased;"), "{}: a simulation has to be repeatable", path.display());
        }
    }
}

#[test]
fn wall_time_and_ids_have_one_owner_each() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let suppressions = text.matches("expect(clippy::disallowed_methods").count();
        let is_owner =
            path.ends_with("livecode-core/src/clock.rs") || path.ends_with("livecode-core/src/id.rs");
        let itself = path.ends_with("tests/architecture.rs");
        assert!(suppressions == usize::from(is_owner) || itself, "{}", path.display());
    }
}
