//! Every block of commands in `README.md` and in the guide is run as it would be pasted, in a directory
//! that holds `sample_files`, with a server listening where the text says one does.
//!
//! How a block is run is told by comments right above it, which a reader does not see:
//!
//! - none: with `ftserve sample_files` listening; it must exit with 0.
//! - `<!-- the main job -->`: from the root of the repository, as after a clone; `cargo` has
//!   nothing left to build.
//! - `<!-- the tests -->`: not run from here, since it is what runs this.
//! - `<!-- serves -->`: it serves until it is told to stop.
//! - `<!-- an address of its own -->`: no server listens yet where it begins.
//! - `<!-- types: TEXT -->`: somebody types TEXT at a terminal once it is connected.
//! - `<!-- before: COMMAND -->`: what happened before, for instance a download cut off.
//!
//! A block of `text` that follows is the output of the commands; `…` in it stands for
//! anything within a line. The only change made to a block is the port of `127.0.0.1:9521`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::process::Signal;

use crate::harness::{Program, Scratch, TestServer};

/// As a reader pastes them: one after the other, in one directory.
#[test]
fn every_example_of_the_readme_works() {
    for shell in ["bash", "sh"] {
        let directory = Rc::new(clone_of_the_repository());
        assert_examples_work("README.md", shell, || Rc::clone(&directory));
    }
}

/// Each in a directory of its own: a reader may begin anywhere.
#[test]
fn every_example_of_the_guide_works() {
    for name in ["ftget", "ftserve", "clients"] {
        let document = format!("src/guide/{name}.md");
        assert_examples_work(&document, "bash", || Rc::new(clone_of_the_repository()));
    }
}

/// Runs the examples of a document, each in the directory that `directory` gives.
#[track_caller]
fn assert_examples_work(document: &str, shell: &str, directory: impl Fn() -> Rc<Scratch>) {
    let server = TestServer::plain(repository().join("sample_files"));
    let text = fs::read_to_string(repository().join(document)).expect("a document");
    let examples = examples(&text);
    assert!(
        examples.len() > 4,
        "{document}: {} examples",
        examples.len()
    );
    let mut failures = String::new();
    for example in &examples {
        let (code, output) = example.run(&server, &directory(), shell);
        let shown = example.output.as_deref();
        if code != 0 || !shown.is_none_or(|shown| resembles(&output, shown)) {
            let (line, commands) = (example.line, &example.commands);
            let shown = shown.unwrap_or("anything\n");
            write!(
                failures,
                "{document}:{line} in {shell}\n{commands}exit code {code}, output:\n{output}expected:\n{shown}\n"
            )
            .expect("a string takes any text");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_readme_shows_the_main_job_and_the_tests_once_each() {
    let examples = examples(&readme());
    let of = |wanted: &Manner| {
        examples
            .iter()
            .filter(|example| example.manner == *wanted)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&Manner::MainJob).len(), 1);
    let tests = of(&Manner::Tests);
    assert_eq!(tests.len(), 1);
    assert_eq!(tests[0].commands, "sh setup.sh --tests cargo test\n");
}

#[test]
fn the_table_of_exit_codes_is_the_one_in_the_code() {
    let source = fs::read_to_string(repository().join("src/cli/exit_code.rs")).expect("source");
    let mut in_code = Vec::new();
    let mut meaning = "";
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            meaning = text.trim_end_matches('.');
        } else if let Some((_, number)) = line.trim_end_matches(',').split_once(" = ") {
            in_code.extend(
                number
                    .parse::<u8>()
                    .map(|number| (number, meaning.to_owned())),
            );
        }
    }
    assert!(
        in_code.len() > 10,
        "only {} exit codes found in the code",
        in_code.len()
    );
    assert_eq!(table_of_exit_codes(), in_code);
}

#[test]
fn the_help_of_both_programs_has_the_same_table_of_exit_codes() {
    for program in [Program::ftget(), Program::ftserve()] {
        let help = program.arg("--help").run().expect_code(0).text();
        let (_, table) = help
            .split_once("Exit codes:\n")
            .expect("a table of exit codes");
        let in_help = table.lines().filter_map(|line| {
            let (code, meaning) = line.trim().split_once("  ")?;
            Some((code.parse::<u8>().ok()?, meaning.to_owned()))
        });
        assert_eq!(in_help.collect::<Vec<_>>(), table_of_exit_codes());
    }
}

#[test]
fn the_client_in_python_is_the_one_of_the_protocol() {
    let read = |document: &str| fs::read_to_string(repository().join(document)).expect("a text");
    let protocol = read("src/wire/PROTOCOL.md");
    let (_, client) = protocol
        .rsplit_once("```python\n")
        .expect("a client in Python");
    let (client, _) = client.split_once("```").expect("its end");
    assert!(read("src/guide/clients.md").contains(&format!("<<'EOF'\n{client}EOF\n")));
}

#[test]
fn reads_the_comments_above_a_block_and_the_output_below_it() {
    let text = "<!-- before: mkdir a -->\n<!-- types: hello -->\n```sh\nls\n```\n\nprints\n\n\
                ```text\nb\n```\n\n```sh\npwd\n```\n# Next\n```text\nnot its output\n```\n";
    let found = examples(text);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].before, ["mkdir a"]);
    assert_eq!(found[0].manner, Manner::Types("hello".to_owned()));
    assert_eq!((found[0].line, found[0].commands.as_str()), (4, "ls\n"));
    assert_eq!(found[0].output.as_deref(), Some("b\n"));
    assert_eq!(
        (found[1].manner.clone(), &found[1].output),
        (Manner::Plain, &None)
    );
}

#[test]
fn an_ellipsis_stands_for_anything_within_a_line() {
    for (output, shown) in [
        ("a\n", "a\n"),
        ("took 3 s, ok\n", "took … s…\n"),
        ("x\n", "…\n"),
    ] {
        assert!(resembles(output, shown), "{output:?} {shown:?}");
    }
    for (output, shown) in [
        ("a\n", "b\n"),
        ("a\nb\n", "a…\n"),
        ("ab\n", "a\n"),
        ("", "a\n"),
    ] {
        assert!(!resembles(output, shown), "{output:?} {shown:?}");
    }
}

/// One block of commands.
struct Example {
    /// The line of its first command.
    line: usize,
    manner: Manner,
    before: Vec<String>,
    commands: String,
    output: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Manner {
    Plain,
    MainJob,
    Tests,
    Serves,
    OwnAddress,
    Types(String),
}

impl Example {
    /// Runs it and returns its exit code and what a person would see.
    fn run(&self, server: &TestServer, directory: &Scratch, shell: &str) -> (i32, String) {
        for command in &self.before {
            pasted(directory, shell, command).run().expect_code(0);
        }
        let address = match self.manner {
            Manner::Serves => "127.0.0.1:0".to_owned(),
            Manner::OwnAddress => address_of_this_process(),
            _ => server.addr().to_owned(),
        };
        let commands = self.commands.replace(ADDRESS, &address);
        let commands = commands.replace(&ADDRESS.replace(':', " "), &address.replace(':', " "));
        let (code, text) = match &self.manner {
            Manner::Tests => return (0, String::new()),
            Manner::Plain | Manner::MainJob | Manner::OwnAddress => {
                let output = pasted(directory, shell, &commands).run();
                (output.code, output.text())
            }
            Manner::Serves => {
                let serving = pasted(directory, shell, &format!("exec {commands}")).start();
                let text = serving.stdout().wait_until("a line to try", |text| {
                    text.contains("\ntry: ") && text.ends_with('\n')
                });
                serving.signal(Signal::TERM);
                // 128 + 15: ended by SIGTERM, as asked.
                (serving.wait().code - 143, text)
            }
            Manner::Types(text) => {
                let shown = self
                    .output
                    .as_deref()
                    .and_then(|shown| shown.lines().last());
                let typist = Program::system("expect", "expect").args(["-c", TYPIST]);
                let typist = in_directory(typist, directory)
                    .env("COMMANDS", &commands)
                    .env("TYPED", text);
                let output = typist
                    .env("LAST", shown.expect("what typing leads to"))
                    .run();
                (output.code, output.text())
            }
        };
        let text = text.replace('\r', "");
        let own = text
            .lines()
            .find_map(|line| line.strip_prefix("listening on "));
        (code, text.replace(own.unwrap_or(&address), ADDRESS))
    }
}

/// The port of the text at an address of the loopback network that no other process uses.
fn address_of_this_process() -> String {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Of 22 bits at most (proc_sys_kernel(5)), so 64 keeps it away from 127.0.0.1.
    format!("127.{}.{middle}.{low}:9521", 64 + high)
}

/// A folder as a clone of the repository is after the first command of the README.
fn clone_of_the_repository() -> Scratch {
    let folder = Scratch::new();
    for name in ["sample_files", "setup.sh", "Cargo.toml"] {
        let copy = Program::system("cp", "coreutils").arg("-r");
        copy.args([repository().join(name), folder.join(name)])
            .run()
            .expect_code(0);
    }
    folder.make_dir("target/release");
    for program in [env!("CARGO_BIN_EXE_ftserve"), env!("CARGO_BIN_EXE_ftget")] {
        let name = Path::new(program).file_name().expect("a program's name");
        symlink(program, folder.join("target/release").join(name)).expect("a link to a program");
    }
    let nothing_to_build = PathBuf::from("/bin/true");
    symlink(nothing_to_build, folder.join("target/cargo")).expect("a link to a program");
    folder
}

/// Commands as pasted into a shell, but the first that fails ends them.
fn pasted(directory: &Scratch, shell: &str, commands: &str) -> Program {
    let options = match shell {
        "bash" => "set -euo pipefail",
        _ => "set -eu",
    };
    let script = format!("exec 2>&1\n{options}\n{commands}");
    in_directory(
        Program::system(shell, "bash dash").args(["-c", &script]),
        directory,
    )
}

fn in_directory(program: Program, directory: &Scratch) -> Program {
    let system = std::env::var("PATH").expect("a PATH");
    let own = |inner: &str| directory.join(inner).display().to_string();
    program
        .in_folder(directory.path())
        .env(
            "PATH",
            format!("{}:{}:{system}", own("target/release"), own("target")),
        )
        .env("LANG", "C.UTF-8")
        // For the examples that listen on every address.
        .env("FTSERVE_PORT", "0")
}

fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut comments: Vec<&str> = Vec::new();
    let mut may_have_output = false;
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if let Some(comment) = line
            .strip_prefix("<!-- ")
            .and_then(|rest| rest.strip_suffix(" -->"))
        {
            comments.push(comment);
            continue;
        }
        if line.starts_with('#') {
            may_have_output = false;
        }
        if line.starts_with("```") {
            let block = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "```");
            let block: String = block.flat_map(|line| [line, "\n"]).collect();
            match line {
                "```sh" => {
                    found.push(example(at + 2, &comments, block));
                    may_have_output = true;
                }
                "```text" if may_have_output => {
                    found.last_mut().expect("an example").output = Some(block);
                    may_have_output = false;
                }
                _ => {}
            }
        }
        assert!(
            comments.is_empty() || line == "```sh",
            "line {at}: a comment above no block"
        );
        comments.clear();
    }
    found
}

fn example(line: usize, comments: &[&str], commands: String) -> Example {
    let mut example = Example {
        line,
        manner: Manner::Plain,
        before: Vec::new(),
        commands,
        output: None,
    };
    for comment in comments {
        match comment.split_once(": ") {
            Some(("before", command)) => example.before.push(command.to_owned()),
            Some(("types", text)) => example.manner = Manner::Types(text.to_owned()),
            _ => {
                example.manner = match *comment {
                    "the main job" => Manner::MainJob,
                    "the tests" => Manner::Tests,
                    "serves" => Manner::Serves,
                    "an address of its own" => Manner::OwnAddress,
                    _ => panic!("line {line}: unknown comment {comment:?}"),
                }
            }
        }
    }
    example
}

fn resembles(output: &str, shown: &str) -> bool {
    // What takes more than a few seconds also says how far it is.
    let is_progress = |line: &&str| {
        let count = line.split_once(" files, ").map(|(count, _)| count);
        count.is_some_and(|count| count.contains('/'))
    };
    let (output, shown): (Vec<&str>, Vec<&str>) = (
        output.lines().filter(|line| !is_progress(line)).collect(),
        shown.lines().collect(),
    );
    output.len() == shown.len()
        && output
            .iter()
            .zip(shown)
            .all(|(line, shown)| line_resembles(line, shown))
}

fn line_resembles(line: &str, shown: &str) -> bool {
    let Some((first, rest)) = shown.split_once('…') else {
        return line == shown;
    };
    let Some(mut line) = line.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('…').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match line.split_once(piece) {
            Some((_, after)) => line = after,
            None => return false,
        }
    }
    line.ends_with(last)
}

/// The rows of the README's table: a number, and what it means.
fn table_of_exit_codes() -> Vec<(u8, String)> {
    let cells = |line: &str| {
        let (number, meaning) = line
            .strip_prefix("| ")?
            .strip_suffix(" |")?
            .split_once(" | ")?;
        Some((number.parse().ok()?, meaning.to_owned()))
    };
    readme().lines().filter_map(cells).collect()
}

fn readme() -> String {
    fs::read_to_string(repository().join("README.md")).expect("README.md")
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the text says the server listens; in commands also with a blank for the colon.
const ADDRESS: &str = "127.0.0.1:9521";
/// Types one line at a terminal once the program is connected, waits for the last line of
/// what is shown, and hangs up.
const TYPIST: &str = r#"
    set timeout 50
    log_user 1
    spawn -noecho bash -c $env(COMMANDS)
    expect "Escape character" {} default { exit 1 }
    send "$env(TYPED)\r"
    expect [string range $env(LAST) end-5 end] {} default { exit 2 }
"#;
