//! The floors of `ARCHITECTURE.md`, kept: every import goes down, never up, never past a
//! floor's front door. The checker reads the text of a file, so it is itself run on planted
//! bad examples, each of which it must refuse.

use std::fs;
use std::path::Path;

#[test]
#[expect(
    clippy::print_stdout,
    reason = "a figure for people, shown by --nocapture"
)]
fn every_file_keeps_to_its_floor() {
    let files = source_files();
    println!("{}", lengths(&files));
    assert!(
        files.len() > FLOORS.len(),
        "only {} files found",
        files.len()
    );
    let broken: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| violations(path, text))
        .collect();
    assert!(
        broken.is_empty(),
        "{} violations:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn the_table_itself_only_goes_down() {
    for (height, (floor, below)) in FLOORS.iter().enumerate() {
        for lower in *below {
            let found = FLOORS.iter().position(|(name, _)| name == lower);
            assert!(
                found.is_some_and(|at| at < height),
                "{floor} may name {lower}"
            );
        }
    }
}

#[test]
fn refuses_each_planted_bad_example() {
    let long = "//\n".repeat(FILE_LINES_MAX + 1);
    let tall_program = "//\n".repeat(PROGRAM_LINES_MAX);
    let planted: &[(&str, &str, &str)] = &[
        (
            "src/wire/frame.rs",
            "use crate::store::Store;",
            "wire may not name store",
        ),
        (
            "src/digest/stream.rs",
            "use crate::net::{Address, Stream};",
            "digest may not name net",
        ),
        (
            "src/net/stream.rs",
            "use crate::{store, wire};",
            "net may not name store",
        ),
        (
            "src/net/stream.rs",
            "use crate::{\n    wire::Range,\n    digest::*,\n};",
            "net may not",
        ),
        (
            "src/client/session.rs",
            "use crate::server::Server;",
            "client may not name server",
        ),
        (
            "src/server/body.rs",
            "fn f() { crate::client::fetch() }",
            "server may not name client",
        ),
        (
            "src/server/body.rs",
            "pub use super::super::cli::ExitCode;",
            "server may not name cli",
        ),
        (
            "src/store/mod.rs",
            "use super::server;",
            "store may not name server",
        ),
        (
            "src/wire/mod.rs",
            "mod a { use super::super::net::Wait; }",
            "wire may not name net",
        ),
        (
            "src/wire/a.rs",
            "mod tests { use super::super::super::cli; }",
            "wire may not name cli",
        ),
        (
            "src/wire/a.rs",
            "type T = Vec<crate::cli::ExitCode>;",
            "wire may not name cli",
        ),
        (
            "src/store/local.rs",
            "use crate::wire::frame::encode;",
            "past the mod.rs of wire",
        ),
        (
            "src/store/local.rs",
            "fn f() { crate::wire::limits::X; }",
            "past the mod.rs of wire",
        ),
        (
            "src/cli/get.rs",
            "use crate::wire::{frame::{encode}, Range};",
            "past the mod.rs of wire",
        ),
        (
            "src/cli/index.rs",
            "use crate::cli::serve::Failure;",
            "index may not name serve",
        ),
        (
            "src/cli/settings/file.rs",
            "use super::super::get::Typed;",
            "settings may not name get",
        ),
        (
            "src/store/local.rs",
            "use crate::Server;",
            "through the crate root",
        ),
        (
            "src/store/mod.rs",
            "use super::*;",
            "through the crate root",
        ),
        ("src/store/mod.rs", "pub mod local;", "mod.rs decides"),
        (
            "src/store/mod.rs",
            "pub(crate) mod local;",
            "mod.rs decides",
        ),
        ("src/net/stream.rs", "fn f() { unsafe { g() } }", "unsafe"),
        ("src/net/stream.rs", "#![allow(unsafe_code)]", "unsafe"),
        (
            "src/net/stream.rs",
            "#[cfg(test)]\nmod tests { unsafe fn f() {} }",
            "unsafe",
        ),
        (
            "src/client/mod.rs",
            "fn f() { println!(\"done\") }",
            "println",
        ),
        (
            "src/server/mod.rs",
            "fn f() { std::eprintln!(\"x\") }",
            "eprintln",
        ),
        ("src/server/mod.rs", "use std::{env, io};", "environment"),
        (
            "src/server/mod.rs",
            "fn f() { std::env::var(\"X\"); }",
            "environment",
        ),
        (
            "src/server/mod.rs",
            "fn f() { std::process::exit(1) }",
            "ends the process",
        ),
        (
            "src/server/mod.rs",
            "use std::process; fn f() { process::exit(1) }",
            "ends the process",
        ),
        (
            "src/server/mod.rs",
            "use std::process::ExitCode;",
            "picks an exit code",
        ),
        (
            "src/client/mod.rs",
            "fn f() { std::io::stdout(); }",
            "standard output",
        ),
        (
            "src/client/mod.rs",
            "use std::io::{self, Stderr, stderr};",
            "standard error",
        ),
        (
            "src/client/mod.rs",
            "#[cfg(test)]\nuse a::b;\nfn f() { print!(\"\") }",
            "print",
        ),
        ("src/error.rs", "", "belongs to no floor"),
        ("src/config.rs", "", "belongs to no floor"),
        ("src/util/mod.rs", "", "belongs to no floor"),
        ("src/wire/frame.rs", &long, "lines before its tests"),
        ("bin/ftget.rs", &tall_program, "lines, a program has fewer"),
        (
            "bin/ftget.rs",
            "use ftserve::client::fetch;",
            "a program names only cli",
        ),
    ];
    for (path, text, sentence) in planted {
        let found = violations(path, text);
        assert!(
            found.iter().any(|violation| violation.contains(sentence)),
            "{path}: {text:.80}\nwanted: {sentence}\nfound: {found:?}"
        );
    }
}

#[test]
fn accepts_what_is_odd_but_right() {
    let planted: &[(&str, &str)] = &[
        (
            "src/lib.rs",
            "pub mod wire; pub use cli::ExitCode; pub use self::net::Address;",
        ),
        (
            "src/wire/frame.rs",
            "use super::Range; use crate::wire::limits::X;",
        ),
        (
            "src/wire/verb/get.rs",
            "use super::super::Range; use super::Verb;",
        ),
        (
            "src/wire/frame.rs",
            "/// [`crate::server::Server`]\n// use crate::cli;\nfn f() {}",
        ),
        (
            "src/wire/frame.rs",
            "/* use crate::cli; /* nested */ use crate::net; */ fn f() {}",
        ),
        (
            "src/wire/frame.rs",
            "const S: &str = \"use crate::cli::X;\";",
        ),
        (
            "src/wire/frame.rs",
            "const S: &str = r#\"\"crate::cli::X\"\"#; const C: char = '\"';",
        ),
        (
            "src/wire/frame.rs",
            "fn f<'a>(x: &'a str) -> char { '\\'' }",
        ),
        (
            "src/wire/frame.rs",
            "pub(in crate::wire) fn f() {} pub(crate) fn g() {}",
        ),
        (
            "src/wire/mod.rs",
            "mod frame; pub use frame::encode; #[cfg(test)]\nmod tests {}",
        ),
        (
            "src/wire/a.rs",
            "#[cfg(test)]\nmod tests { use super::*; fn f() { println!() } }",
        ),
        (
            "src/server/mod.rs",
            "use crate::{digest::Pools, net, store::{Store, self}, wire};",
        ),
        (
            "src/server/mod.rs",
            "use crate::wire::MAX as LIMIT; fn f() { crate::net::g::<u8>() }",
        ),
        (
            "src/server/mod.rs",
            "const V: &str = env!(\"CARGO_PKG_VERSION\"); use std::process;",
        ),
        (
            "src/net/socket_info.rs",
            "#![allow(unsafe_code)] fn f() { unsafe { g() } }",
        ),
        (
            "src/cli/get.rs",
            "fn f() { println!(\"x\"); std::process::exit(crate::client::g()) }",
        ),
        ("src/cli/mod.rs", "pub use self::get::get;"),
        (
            "src/cli/serve/beside.rs",
            "use crate::cli::digests::Opened;",
        ),
        ("src/cli/get/list.rs", "use crate::cli::get::Typed;"),
        (
            "bin/ftget.rs",
            "fn main() -> std::process::ExitCode { ftserve::cli::get() }",
        ),
    ];
    for (path, text) in planted {
        assert_eq!(
            violations(path, text),
            Vec::<String>::new(),
            "{path}: {text}"
        );
    }
}

/// What is wrong with the file at `path` (relative to the repository) that holds `text`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let tokens = lex(text);
    let mut found = Vec::new();
    if path.starts_with("bin/") {
        program(text, &tokens, &mut found);
    } else if path != "src/lib.rs" {
        let module = module_of(path);
        match FLOORS.iter().find(|(name, _)| module.first() == Some(name)) {
            Some((floor, below)) => {
                paths(&module, &tokens).iter().for_each(|named| {
                    imports(floor, below, named, &mut found);
                    commands(&module, named, &mut found);
                });
                front_door(path, &tokens, &mut found);
                let end = if is_test_file(path) {
                    0
                } else {
                    tests_start(&tokens)
                };
                if *floor != "cli" {
                    library_manners(&module, &tokens[..end], &mut found);
                }
            }
            None => found.push((1, "belongs to no floor".to_owned())),
        }
    }
    let lines = lines_before_tests(&tokens, text);
    if lines > FILE_LINES_MAX && !is_test_file(path) {
        found.push((
            lines,
            format!("{lines} lines before its tests, the most is {FILE_LINES_MAX}"),
        ));
    }
    if !UNSAFE_FILES.contains(&path) {
        for token in tokens
            .iter()
            .filter(|token| token.text.starts_with("unsafe"))
        {
            found.push((
                token.line,
                format!("{} outside {}", token.text, UNSAFE_FILES.join(" and ")),
            ));
        }
    }
    found
        .into_iter()
        .map(|(line, sentence)| format!("{path}:{line}: {sentence}"))
        .collect()
}

/// A line of the file, and what is wrong there.
type Found = Vec<(usize, String)>;

fn program(text: &str, tokens: &[Token<'_>], found: &mut Found) {
    let lines = text.lines().count();
    if lines >= PROGRAM_LINES_MAX {
        found.push((
            lines,
            format!("{lines} lines, a program has fewer than {PROGRAM_LINES_MAX}"),
        ));
    }
    for named in paths(&["ftserve"], tokens) {
        if named.parts[0] == "ftserve" && named.parts.get(1) != Some(&"cli") {
            found.push((
                named.line,
                format!("{}: a program names only cli", named.text()),
            ));
        }
    }
}

fn imports(floor: &str, below: &[&str], named: &Named<'_>, found: &mut Found) {
    let target = named.parts[0];
    if target == "std" {
        return;
    }
    if !FLOORS.iter().any(|(name, _)| *name == target) {
        found.push((
            named.line,
            format!("{} goes through the crate root", named.text()),
        ));
    } else if target != floor && !below.contains(&target) {
        found.push((
            named.line,
            format!("{floor} may not name {target}: {}", named.text()),
        ));
    } else if target != floor && named.parts.len() > 2 && named.parts[1].starts_with(is_lower) {
        let sentence = format!("{} reaches past the mod.rs of {target}", named.text());
        found.push((named.line, sentence));
    }
}

/// The commands of the highest floor share what is beside them, which knows none of them.
fn commands(module: &[&str], named: &Named<'_>, found: &mut Found) {
    let (["cli", own, ..], ["cli", other, ..]) = (module, &named.parts[..]) else {
        return;
    };
    let is_command = |word: &str| COMMANDS.iter().any(|(command, _)| *command == word);
    let may = COMMANDS.iter().find(|(command, _)| command == own);
    let is_allowed = may.is_some_and(|(_, others)| others.contains(other));
    if is_command(other) && own != other && !is_allowed {
        found.push((
            named.line,
            format!("{own} may not name {other}: {}", named.text()),
        ));
    }
}

/// A floor's own mod.rs re-exports what others may use; its modules stay private.
fn front_door(path: &str, tokens: &[Token<'_>], found: &mut Found) {
    if path.split('/').count() != 3 || !path.ends_with("/mod.rs") {
        return;
    }
    for (at, token) in tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == "mod")
    {
        let before = at.checked_sub(1).map(|before| tokens[before].text);
        if matches!(before, Some("pub" | ")")) {
            found.push((
                token.line,
                "pub mod: the floor's mod.rs decides what is public".into(),
            ));
        }
    }
}

/// The library never prints, exits, reads the environment or picks an exit code.
fn library_manners(module: &[&str], tokens: &[Token<'_>], found: &mut Found) {
    for named in paths(module, tokens) {
        let sentence = match named.parts[..] {
            ["std", "env", ..] => "reads the environment",
            ["std", "process", "exit" | "abort", ..] => "ends the process",
            ["std", "process", "ExitCode", ..] => "picks an exit code",
            ["std", "io", "stdout" | "Stdout", ..] => "takes standard output",
            ["std", "io", "stderr" | "Stderr", ..] => "takes standard error",
            _ => continue,
        };
        found.push((
            named.line,
            format!("{} {sentence}; only cli does", named.text()),
        ));
    }
    for window in tokens.windows(3) {
        let line = window[0].line;
        match [window[0].text, window[1].text, window[2].text] {
            [
                name @ ("println" | "eprintln" | "print" | "eprint" | "dbg"),
                "!",
                _,
            ] => {
                found.push((line, format!("{name}!; only cli prints")));
            }
            ["process", "::", "exit" | "abort"] => {
                found.push((line, "ends the process; only cli does".to_owned()));
            }
            ["io", "::", name @ ("stdout" | "stderr")] => {
                found.push((line, format!("io::{name}; only cli prints")));
            }
            _ => {}
        }
    }
}

/// One path that the code names: `parts` start with a floor, `std` or `ftserve`.
struct Named<'a> {
    line: usize,
    parts: Vec<&'a str>,
}

impl Named<'_> {
    fn text(&self) -> String {
        self.parts.join("::")
    }
}

/// Every path that begins with a root we can resolve, groups taken apart, `self` and `super`
/// made absolute.
fn paths<'a>(module: &[&'a str], tokens: &[Token<'a>]) -> Vec<Named<'a>> {
    let mut found = Vec::new();
    let mut module: Vec<&str> = module.to_vec();
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let next = tokens.get(at + 1).map(|token| token.text);
        match tokens[at].text {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            "mod" if tokens.get(at + 2).is_some_and(|token| token.text == "{") => {
                inline.push(depth);
                module.push(tokens[at + 1].text);
            }
            "crate" | "self" | "super" | "std" | "ftserve"
                if next == Some("::") && (at == 0 || tokens[at - 1].text != "::") =>
            {
                let first = found.len();
                at = tree(tokens, at, &[], &mut found);
                found[first..]
                    .iter_mut()
                    .for_each(|named| absolute(&module, &mut named.parts));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one path or use-tree from `at` on and returns where it ends.
fn tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    found: &mut Vec<Named<'a>>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    if text(at) == "{" {
        at += 1;
        while at < tokens.len() && text(at) != "}" {
            at = if text(at) == "," {
                at + 1
            } else {
                tree(tokens, at, prefix, found)
            };
        }
        return at + 1;
    }
    let mut parts = prefix.to_vec();
    parts.push(text(at));
    if text(at + 1) == "::" && text(at + 2).starts_with(|c: char| is_word(c) || "{*".contains(c)) {
        return tree(tokens, at + 2, &parts, found);
    }
    found.push(Named {
        line: tokens[at].line,
        parts,
    });
    if text(at + 1) == "as" { at + 3 } else { at + 1 }
}

fn absolute<'a>(module: &[&'a str], parts: &mut Vec<&'a str>) {
    let supers = parts.iter().take_while(|part| **part == "super").count();
    match parts[0] {
        "crate" => drop(parts.remove(0)),
        "self" => drop(parts.splice(..1, module.iter().copied())),
        "super" => {
            let parent = module.len().saturating_sub(supers);
            drop(parts.splice(..supers, module[..parent].iter().copied()));
        }
        _ => {}
    }
}

/// `src/wire/frame.rs` is `[wire, frame]`.
fn module_of(path: &str) -> Vec<&str> {
    let path = path
        .strip_prefix("src/")
        .unwrap_or(path)
        .trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod").collect()
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// How long the files are that are not tests themselves, in a sentence.
fn lengths(files: &[(String, String)]) -> String {
    let lines = |text: &str| lines_before_tests(&lex(text), text);
    let code = files.iter().filter(|(path, _)| !is_test_file(path));
    let mut lengths: Vec<(usize, &str)> = code
        .map(|(path, text)| (lines(text), path.as_str()))
        .collect();
    lengths.sort_unstable();
    let (median, (largest, path)) = (lengths[lengths.len() / 2].0, lengths[lengths.len() - 1]);
    format!(
        "{} files, lines before tests: median {median}, largest {largest} ({path})",
        lengths.len()
    )
}

fn lines_before_tests(tokens: &[Token<'_>], text: &str) -> usize {
    match tokens.get(tests_start(tokens)) {
        Some(token) => token.line - 1,
        None => text.lines().count(),
    }
}

/// Where `#[cfg(test)] mod` begins, else the end of the file.
fn tests_start(tokens: &[Token<'_>]) -> usize {
    let start = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let is_start = |window: &[Token<'_>]| window.iter().map(|token| token.text).eq(start);
    tokens
        .windows(start.len())
        .position(is_start)
        .unwrap_or(tokens.len())
}

/// A word, `::`, or one character of punctuation.
struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// The code of a file: no comments, no strings, no characters, no lifetimes.
fn lex(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => block_comment_len(rest),
            '"' => quoted_len(rest, '"'),
            '\'' if is_character(rest) => quoted_len(rest, '\''),
            '\'' => 1 + word_len(&rest[1..]),
            _ if rest.starts_with("::") => 2,
            _ if is_word(first) => raw_string_len(rest).unwrap_or_else(|| word_len(rest)),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(taken);
        let is_code = token == "::"
            || (is_word(first) && !token.contains('"'))
            || (token.len() == first.len_utf8() && !first.is_whitespace());
        if is_code {
            tokens.push(Token { line, text: token });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`: the whole of it, if `text` begins with one.
fn raw_string_len(text: &str) -> Option<usize> {
    let start = text
        .find('r')
        .filter(|at| *at <= 1 && (*at == 0 || "bc".contains(&text[..1])))?;
    let hashes = text[start + 1..].chars().take_while(|c| *c == '#').count();
    let open = start + 1 + hashes;
    text[open..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..]
        .find(&close)
        .map(|at| open + 1 + at + close.len())
}

/// Whether a quote begins a character and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    after.next() == Some('\\') || after.next() == Some('\'')
}

fn word_len(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_lower(c: char) -> bool {
    c.is_lowercase() && c != '_'
}

/// Every `.rs` file of the library and the programs, with its path from the repository.
fn source_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("bin")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root)
                    .expect("below the root")
                    .to_str()
                    .expect("UTF-8");
                files.push((
                    name.to_owned(),
                    fs::read_to_string(&path).expect("source text"),
                ));
            }
        }
    }
    files.sort();
    files
}

/// Each floor and the floors it may name; lower ones first.
const FLOORS: [(&str, &[&str]); 8] = [
    ("wire", &[]),
    ("digest", &["wire"]),
    ("store", &["wire", "digest"]),
    ("process", &[]),
    ("net", &["wire"]),
    ("server", &["wire", "digest", "store", "process", "net"]),
    ("client", &["wire", "digest", "store", "net"]),
    (
        "cli",
        &[
            "wire", "digest", "store", "process", "net", "server", "client",
        ],
    ),
];
/// Each command, and the others it may name.
const COMMANDS: [(&str, &[&str]); 3] = [("get", &[]), ("index", &[]), ("serve", &["index"])];
const FILE_LINES_MAX: usize = 400;
const PROGRAM_LINES_MAX: usize = 40;
const UNSAFE_FILES: [&str; 7] = [
    "src/digest/lanes/avx2.rs",
    "src/digest/lanes/avx512.rs",
    "src/digest/lanes/kernel.rs",
    "src/net/socket_info.rs",
    "src/process/at_start.rs",
    "src/store/lease.rs",
    "src/store/staged/closing.rs",
];
