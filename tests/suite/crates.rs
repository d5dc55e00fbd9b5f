//! What the programs are made of besides our own code: few crates, each with its reason, all
//! under licences that let anybody use the result.

use std::collections::{BTreeMap, BTreeSet};
use std::env::consts::ARCH;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::Program;

#[test]
#[expect(
    clippy::print_stdout,
    reason = "a figure for people, shown by --nocapture"
)]
fn the_programs_are_made_of_few_crates() {
    let crates = normal_crates();
    println!("{} crates: {:?}", crates.len(), crates.keys());
    assert!(crates.len() > 10, "only {} crates found", crates.len());
    assert!(
        crates.len() <= CRATES_MAX,
        "{} crates, the most is {CRATES_MAX}",
        crates.len()
    );
}

#[test]
fn every_licence_lets_anybody_use_the_result() {
    for (name, licence) in normal_crates() {
        assert!(is_allowed(&licence), "{name} is under {licence:?}");
    }
}

#[test]
fn every_direct_dependency_has_its_reason_in_the_line_above() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(path).expect("Cargo.toml");
    let section = manifest
        .split("\n[dependencies]\n")
        .nth(1)
        .expect("a section of dependencies");
    let section = section.split("\n[").next().expect("its lines");
    let mut reason = "";
    let mut named = 0;
    for line in section.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            reason = line;
            continue;
        }
        assert!(reason.len() > "# why".len(), "no reason above: {line}");
        reason = "";
        named += 1;
    }
    assert!(named >= 5, "only {named} dependencies found");
}

#[test]
fn tells_free_licences_from_others() {
    let free = [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "GPL-3.0-only OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "MIT OR GPL-2.0 AND LGPL-2.1",
    ];
    for free in free {
        assert!(is_allowed(free), "{free}");
    }
    for other in [
        "",
        "GPL-3.0-only",
        "AGPL-3.0",
        "MIT AND GPL-2.0",
        "(MIT OR ISC) AND LGPL-2.1",
    ] {
        assert!(!is_allowed(other), "{other}");
    }
}

/// The crates that the library and the programs are built from, build scripts' and tests'
/// excluded, with their licences.
fn normal_crates() -> BTreeMap<String, String> {
    let metadata = metadata();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let array = |value: &Value| value.as_array().expect("an array").clone();
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in array(&metadata["resolve"]["nodes"]) {
        let normal = array(&node["deps"]).into_iter().filter(|dependency| {
            array(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null())
        });
        edges.insert(
            text(&node["id"]),
            normal.map(|dependency| text(&dependency["pkg"])).collect(),
        );
    }
    let root = text(&metadata["resolve"]["root"]);
    let mut reached = BTreeSet::new();
    let mut waiting = edges[&root].clone();
    while let Some(id) = waiting.pop() {
        waiting.extend(
            edges[&id]
                .iter()
                .filter(|next| !reached.contains(*next))
                .cloned(),
        );
        reached.insert(id);
    }
    array(&metadata["packages"])
        .iter()
        .filter(|package| reached.contains(&text(&package["id"])))
        .map(|package| {
            let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
            (name, text(&package["license"]))
        })
        .collect()
}

fn metadata() -> Value {
    let cargo = Program::system(env!("CARGO"), "cargo");
    let output = cargo
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &format!("{ARCH}-unknown-linux-gnu")])
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .env(
            "CARGO_HOME",
            std::env::var_os("CARGO_HOME").unwrap_or_default(),
        )
        .in_folder(env!("CARGO_MANIFEST_DIR"))
        .run()
        .expect_code(0);
    serde_json::from_slice(&output.stdout).expect("JSON from cargo metadata")
}

/// Whether an SPDX expression leaves us a choice of allowed licences only.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    // AND binds tighter than OR.
    if let Some((left, right)) = split(expression, &[" OR ", "/"]) {
        return is_allowed(left) || is_allowed(right);
    }
    if let Some((left, right)) = split(expression, &[" AND "]) {
        return is_allowed(left) && is_allowed(right);
    }
    match expression
        .strip_prefix('(')
        .and_then(|inner| inner.strip_suffix(')'))
    {
        Some(inner) => is_allowed(inner),
        None => ALLOWED.contains(&expression),
    }
}

/// Splits at the first of these words that is in no brackets.
fn split<'a>(expression: &'a str, words: &[&str]) -> Option<(&'a str, &'a str)> {
    let mut depth = 0;
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        let word = words
            .iter()
            .find(|word| expression[at..].starts_with(**word));
        if let (0, Some(word)) = (depth, word) {
            return Some((&expression[..at], &expression[at + word.len()..]));
        }
    }
    None
}

const ALLOWED: [&str; 9] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
const CRATES_MAX: usize = 75;
