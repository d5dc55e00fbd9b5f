//! The texts for users stay short, and name every option.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::harness::Program;

#[test]
fn the_readme_is_read_in_one_go() {
    let lines = document("README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "{lines} lines");
}

#[test]
fn the_short_help_fits_on_a_page() {
    for columns in ["80", "100"] {
        for program in [Program::ftget(), Program::ftserve()] {
            let help = program.arg("-h").env("COLUMNS", columns).run();
            let text = help.expect_code(0).text();
            let lines = text.lines().count();
            assert!(lines <= HELP_LINES_MAX, "{lines} lines:\n{text}");
        }
    }
}

#[test]
fn the_first_line_of_each_option_is_short() {
    for program in ["ftget", "ftserve"] {
        for (option, effect) in options_of_the_help(program) {
            let length = effect.chars().count();
            assert!(length <= EFFECT_CHARS_MAX, "{option}: {effect}");
        }
    }
}

#[test]
fn the_guide_and_the_manual_page_have_the_options_of_the_help() {
    for program in ["ftget", "ftserve"] {
        let in_help = options_of_the_help(program);
        assert!(in_help.len() > 20, "{program}: {in_help:?}");
        let guide = document(&format!("src/guide/{program}.md"));
        let (_, table) = guide.split_once("\n## All options\n").expect("a table");
        let rows = table.lines().filter_map(|row| {
            let row = row.strip_prefix("| `")?.strip_suffix(" |")?;
            let (option, effect) = row.rsplit_once(" | ")?;
            Some((option.replace(['`', '\\'], ""), effect.replace('\\', "")))
        });
        assert_eq!(rows.collect::<Vec<_>>(), in_help, "{program}");
        let page = of(program).arg("--man").run().expect_code(0).text();
        let page = page.replace("\\-", "-");
        let flat = page.replace("\\fR", "").replace("\\*(Aq", "'");
        for (option, effect) in in_help {
            let (_, name) = option.rsplit_once("--").expect("a long name");
            let name: String = name.chars().take_while(|&at| is_of_name(at)).collect();
            assert!(page.contains(&format!("--{name}")), "{program}: --{name}");
            assert!(
                flat.contains(&effect),
                "{program}: --{name} has no {effect:?}"
            );
        }
    }
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "figures for people, shown by --nocapture"
)]
fn sentences_for_users_are_short() {
    let mut too_long = String::new();
    for path in DOCUMENTS {
        let sentences = sentences(&document(path));
        let words = |sentence: &String| sentence.split_whitespace().count();
        let all: usize = sentences.iter().map(words).sum();
        let longest = sentences.iter().map(words).max().expect("a sentence");
        println!(
            "{path}: {} sentences, {} words each, {longest} at most",
            sentences.len(),
            all / sentences.len()
        );
        for sentence in sentences.iter().filter(|of| words(of) > WORDS_MAX) {
            writeln!(too_long, "{path}: {sentence}").expect("a string takes any text");
        }
        assert!(all / sentences.len() <= WORDS_MEAN_MAX, "{path}");
    }
    assert!(too_long.is_empty(), "{too_long}");
}

#[test]
fn a_sentence_ends_with_its_mark_or_its_paragraph() {
    let text = "# Title\n\nOne `a.b` two. Three\nfour:\n\n```sh\nnot this.\n```\n\n- five\n- six. Seven?\n\n| row |\n";
    let expected = [
        "Title",
        "One a.b two.",
        "Three four:",
        "five",
        "six.",
        "Seven?",
    ];
    assert_eq!(sentences(text), expected);
}

/// The sentences of a document, without its commands, outputs and tables.
fn sentences(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut is_block = false;
    for line in text.lines() {
        is_block ^= line.starts_with("```");
        let is_prose = !is_block && !line.starts_with("```") && !line.starts_with('|');
        let starts_anew = line.is_empty() || line.starts_with("- ") || line.starts_with('#');
        if starts_anew || !is_prose {
            found.push(String::new());
        }
        if !is_prose || line.starts_with("<!--") {
            continue;
        }
        for word in line.trim_start_matches(['-', '#', ' ']).split_whitespace() {
            let last = found.last_mut().expect("there is always one");
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(&word.replace(['`', '*'], ""));
            if word
                .trim_end_matches(['`', '*', ')'])
                .ends_with(['.', '?', '!'])
            {
                found.push(String::new());
            }
        }
    }
    found.retain(|sentence| !sentence.is_empty());
    found
}

/// The options of `--help`, each with the first line about it.
fn options_of_the_help(program: &str) -> Vec<(String, String)> {
    let help = of(program).arg("--help").run().expect_code(0).text();
    let lines: Vec<&str> = help.lines().collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let option = pair[0].trim();
        let is_option = option.starts_with('-') && pair[0].starts_with("  ");
        let effect = pair[1].strip_prefix("          ")?;
        is_option.then(|| (option.to_owned(), effect.trim().to_owned()))
    });
    pairs
        .filter(|(option, _)| !option.starts_with("- "))
        .collect()
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-'
}

fn of(program: &str) -> Program {
    match program {
        "ftget" => Program::ftget(),
        _ => Program::ftserve(),
    }
}

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(path).expect("a document")
}

const DOCUMENTS: [&str; 4] = [
    "README.md",
    "src/guide/ftget.md",
    "src/guide/ftserve.md",
    "src/guide/clients.md",
];
const README_LINES_MAX: usize = 200;
const HELP_LINES_MAX: usize = 60;
const EFFECT_CHARS_MAX: usize = 60;
const WORDS_MAX: usize = 32;
const WORDS_MEAN_MAX: usize = 13;
