//! `--max-time` where somebody else holds everything up.

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::harness::{Output, Program, noise};
use crate::place::Place;

#[track_caller]
fn ended_in_time(output: Output) {
    let output = output.expect_code(14);
    let said = "not finished within the time limit";
    assert!(output.stderr.contains(said), "{}", output.stderr);
}

#[test]
fn a_list_that_nobody_writes_is_not_waited_for_beyond_the_time_for_everything() {
    let place = Place::with([("a", "1")]);
    let fifo = place.here.join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("a FIFO");
    let reads = [
        &["-i", "fifo", "-d", "o"][..],
        &["-i", "fifo", "-d", "o", "--preflight"],
        &["-r", "--exclude-from", "fifo", "-d", "o"],
    ];
    let running = reads.map(|args| {
        let client = place.ftget().args(["--max-time", "0.1"]).args(args);
        client.arg(place.server.source("a")).start()
    });
    running
        .into_iter()
        .for_each(|client| ended_in_time(client.wait()));
}

#[test]
fn an_output_that_nobody_reads_is_not_waited_for_beyond_the_time_for_everything() {
    let long = "n".repeat(200);
    let names = (0..600).map(|number| format!("d/{long}{number}"));
    let mut files: Vec<_> = names.map(|name| (name, vec![b'1'])).collect();
    files.push(("large".to_owned(), noise(1, 1_000_000)));
    let place = Place::with(files);
    // A pipe that it could read itself, so that it is never closed.
    let unread = r#"mkfifo "$0" && exec 3<>"$0" && exec "$@" >&3 3<&-"#;
    let writes = [
        (&["-o", "-"][..], "large"),
        (&["--list=json", "-r"], "d"),
        (&["-n", "-r"], "d"),
        (&["--check", "-r"], "d"),
        (&["--json", "-r", "-d", "o"], "d"),
    ];
    let running = writes.map(|(args, name)| {
        let fifo = format!("./fifo{}", args.concat());
        let client = Program::system("sh", "dash").in_folder(place.here.path());
        let client = client.args(["-c", unread, &fifo]);
        let client = client
            .arg(env!("CARGO_BIN_EXE_ftget"))
            .args(["--max-time", "1"]);
        client.args(args).arg(place.server.source(name)).start()
    });
    running
        .into_iter()
        .for_each(|client| ended_in_time(client.wait()));
}

#[test]
fn an_output_that_is_a_fifo_is_not_called_standard_output() {
    let place = Place::with([("a", "1")]);
    let fifo = place.here.join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("a FIFO");
    let client = place.ftget().args(["--max-time", "0.1", "-o", "fifo"]);
    let output = client.arg(place.server.source("a")).run();
    assert!(
        output.stderr.ends_with(": the output is not read\n"),
        "{}",
        output.stderr
    );
    ended_in_time(output);
}
