//! What a person sees of a run: lines, bars and totals.

use std::net::TcpListener;

use crate::harness::{Output, Program};
use crate::place::Place;

/// What a terminal of so many columns gets from `ftget` that succeeds with these arguments.
fn on_terminal(place: &Place, columns: u32, term: &str, args: &str) -> String {
    terminal(place, columns, term, args).expect_code(0).text()
}

/// Runs `ftget` on a terminal of so many columns.
fn terminal(place: &Place, columns: u32, term: &str, args: &str) -> Output {
    let ftget = env!("CARGO_BIN_EXE_ftget");
    let command = format!("stty rows 24 cols {columns}; exec {ftget} --index off {args}");
    let script = Program::system("script", "bsdutils").in_folder(place.here.path());
    let script = script
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", term);
    script.run()
}

fn place() -> Place {
    Place::with((0..30).map(|number| {
        (
            format!("d/a file with quite a long name {number}"),
            "content",
        )
    }))
}

/// The last line for people.
fn last_line(shown: &str) -> String {
    let lines = shown.trim_end().rsplit(['\n', '\r']).map(without_escapes);
    let mut full = lines.filter(|line| line.starts_with("ftget: "));
    full.next().expect("a line")
}

#[test]
fn a_terminal_ends_with_the_totals() {
    let place = place();
    let source = place.server.source("d");
    let args = format!("-r -d copy {}", source.to_str().expect("text"));
    let shown = on_terminal(&place, 100, "xterm", &args);
    let last = last_line(&shown);
    assert!(last.contains("30 files, 210 bytes in "), "{shown:?}");
    let again = on_terminal(&place, 100, "xterm", &args);
    let last = last_line(&again);
    assert!(
        last.contains("nothing to download, ") && last.ends_with(", 30 already here"),
        "{again:?}"
    );
    let quiet = on_terminal(&place, 100, "xterm", &format!("-q {args}"));
    assert_eq!(quiet, "");
}

#[test]
fn a_terminal_that_shows_no_bars_gets_plain_lines() {
    let place = place();
    let source = place.server.source("d");
    let args = format!("-r -d copy {}", source.to_str().expect("text"));
    let shown = on_terminal(&place, 100, "dumb", &args);
    let escape_of_the_label = shown.matches('\u{1b}').count();
    assert_eq!(escape_of_the_label, 2, "{shown:?}");
    let to_file = place
        .ftget()
        .args(["--progress", "bar", "-r", "-d", "file"]);
    let to_file = to_file.arg(&source).run().expect_code(0).stderr;
    assert!(!to_file.contains(['\u{1b}', '\r']), "{to_file:?}");
}

#[test]
fn no_bar_is_wider_than_its_terminal() {
    let place = place();
    let source = place.server.source("d");
    for columns in [40, 20] {
        let args = format!(
            "-r -d copy{columns} --limit-rate 400 --jobs 1 {}",
            source.to_str().expect("text")
        );
        let shown = on_terminal(&place, columns, "xterm", &args);
        let bars = shown.split(['\n', '\r']).map(without_escapes);
        let bars: Vec<String> = bars.filter(|line| line.contains(['%', '…'])).collect();
        assert!(bars.len() > 1, "{shown:?}");
        for bar in bars {
            let width = bar.chars().count();
            assert!(width <= columns as usize, "{width} of {columns}: {bar:?}");
        }
    }
}

#[test]
fn once_verbose_names_changes_and_twice_verbose_names_all() {
    let place = Place::with([("d/a", "1"), ("d/b", "2")]);
    let run = |flag: &str| {
        let client = place.ftget().args([flag, "-r", "-d", "."]);
        let client = client.arg(place.server.source("d/"));
        client.run().expect_code(0).stderr
    };
    assert_eq!(run("-v").matches(": fetched, 1 byte in").count(), 2);
    place.here.write("a", "other");
    let changed = run("-v");
    assert_eq!(changed.lines().count(), 1, "{changed}");
    assert!(changed.starts_with("ftget: d/a: fetched"), "{changed}");
    assert_eq!(run("-v"), "");
    assert_eq!(run("-vv").matches(": identical, 1 byte in").count(), 2);
    for (value, lines) in [("true", 0), ("1", 0), ("2", 2), ("no", 0)] {
        let client = place
            .ftget()
            .env("FTGET_VERBOSE", value)
            .args(["-r", "-d", "."]);
        let told = client
            .arg(place.server.source("d/"))
            .run()
            .expect_code(0)
            .stderr;
        assert_eq!(told.lines().count(), lines, "{value}: {told}");
    }
}

/// A line without its control sequences (ECMA-48, 5.4).
fn without_escapes(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|character: char| character.is_ascii_alphabetic());
        text += &part[end.map_or(0, |end| end + 1)..];
    }
    text
}

#[test]
fn a_terminal_shows_that_a_silent_server_is_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let place = place();
    for args in ["", "-r", "--list", "-n -r", "--check -r"] {
        // Longer than a program may show nothing.
        let args = format!("--timeout 3 --retry 0 {args} {address}/d");
        let shown = terminal(&place, 80, "xterm", &args).expect_code(14).text();
        assert!(
            shown.contains("waiting for the server"),
            "{args}: {shown:?}"
        );
    }
    let args = format!("--timeout 3 --retry 0 {address}/d");
    let shown = terminal(&place, 80, "dumb", &args).expect_code(14).text();
    assert!(shown.contains("waiting for the server\r\n"), "{shown:?}");
    let quiet = terminal(&place, 80, "xterm", &format!("-q {args}"));
    assert!(!quiet.expect_code(14).text().contains("waiting"));
}
