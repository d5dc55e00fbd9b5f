//! What scripts build on: commands beside a batch and after it, and the summary of it.

use std::fs::OpenOptions;
use std::io::Write;

use crate::harness::{Output, Program, Scratch, at_some_pace, noise};
use crate::place::Place;

fn fetch(place: &Place, args: &[&str], names: &[&str]) -> Output {
    let sources = names.iter().map(|name| place.server.source(name));
    place.ftget().args(args).args(sources).run()
}

#[test]
fn a_command_runs_once_when_all_is_over_and_knows_how_it_went() {
    let place = Place::with([("a", "1"), ("b", "22"), ("c", "333")]);
    let report = "sh -c 'echo $FTGET_DONE $FTGET_FAILED $FTGET_BYTES $FTGET_FETCHED $FTGET_CODE'";
    let ended = fetch(&place, &["--on-complete", report], &["a", "b", "nothing"]);
    assert_eq!(ended.expect_code(11).text(), "2 1 3 2 11\n");
    let again = fetch(&place, &["--on-complete", report], &["a", "b"]);
    assert_eq!(again.expect_code(0).text(), "2 0 0 0 0\n");
    // Also if nobody is there, and when the bytes go into a pipe, which it stays out of.
    let unreached = place
        .ftget()
        .args(["--on-complete", report, "127.0.0.1:1/a"]);
    assert_eq!(unreached.run().expect_code(4).text(), "0 1 0 0 4\n");
    let piped = fetch(&place, &["-o", "-", "--on-complete", report], &["c"]).expect_code(0);
    assert_eq!(
        (piped.text(), &*piped.stderr),
        ("333".to_owned(), "1 0 3 1 0\n")
    );
    for args in [["-n", "-q"], ["--list", "-q"]] {
        let args = [&["--on-complete", report], &args[..]].concat();
        fetch(&place, &args, &["a"]).expect_code(2);
    }
    // One that calls ftget does not call itself.
    let env = place
        .ftget()
        .env("FTGET_ON_COMPLETE", "env")
        .arg(place.server.source("a"));
    let env = env.run().expect_code(0).text();
    assert!(
        env.contains("\nFTGET_IDENTICAL=1\n") && !env.contains("FTGET_ON_COMPLETE"),
        "{env}"
    );
}

#[test]
fn a_last_command_that_fails_is_said_and_counts() {
    let place = Place::with([("a", "1")]);
    for (command, status, words) in [
        (
            "sh -c 'echo noise; exit 7'",
            7,
            "--on-complete ended with 7",
        ),
        ("sh -c 'kill -9 $$'", 137, "--on-complete ended with 137"),
        (
            "/nothing/here",
            127,
            "--on-complete cannot be run: No such file",
        ),
    ] {
        let args = ["--json", "--on-complete", command];
        let ended = fetch(&place, &args, &["a"]).expect_code(1);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        let events = ended.json_lines();
        let summary = events.last().expect("a summary");
        assert_eq!(summary["complete_status"], status);
        assert_eq!(
            (&summary["code"], &summary["causes"]["1"]),
            (&1.into(), &1.into())
        );
        // With another failure the code is that of several.
        fetch(&place, &args, &["a", "nothing"]).expect_code(23);
    }
    for bad in ["  ", "sh -c 'open"] {
        fetch(&place, &["--on-complete", bad], &["a"]).expect_code(2);
    }
}

#[test]
fn the_summary_counts_what_was_done_and_why_what_failed() {
    let place = Place::with([("a", "1"), ("b", "22"), ("c", "333")]);
    place.here.write("b", "22");
    place
        .here
        .write("list", "a\nb\nnothing\nnowhere/either\na//c\n");
    let fetch = place.ftget().args(["--json", "-i", "list"]);
    let events = fetch
        .arg(place.server.source(""))
        .run()
        .expect_code(23)
        .json_lines();
    let summary = events.last().expect("a summary");
    for (key, count) in [
        ("done", 2),
        ("failed", 3),
        ("fetched", 1),
        ("identical", 1),
        ("resumed", 0),
        ("skipped", 0),
        ("bytes", 1),
        ("code", 23),
    ] {
        assert_eq!(summary[key], count, "{key} in {summary}");
    }
    assert_eq!(summary["causes"], serde_json::json!({"2": 1, "11": 2}));
}

#[test]
fn a_command_that_takes_its_time_stops_no_transfer() {
    let place = Place::with([("a", "1"), ("b", "2")]);
    for fifo in ["list", "gate"] {
        let mkfifo = Program::system("mkfifo", "coreutils").arg(place.here.join(fifo));
        mkfifo.run().expect_code(0);
    }
    let command = "sh -c 'echo $1 begins; test $1 != ./a || cat gate; echo $1 ends' it";
    let fetch = place.ftget().args(["-v", "-i", "list", "--exec", command]);
    let fetch = fetch.arg(place.server.source("")).start();
    let open = |fifo| {
        OpenOptions::new()
            .write(true)
            .open(place.here.join(fifo))
            .expect("a FIFO")
    };
    let mut list = open("list");
    writeln!(list, "a").expect("a line");
    fetch
        .stdout()
        .wait_until("a command", |text| text == "./a begins\n");
    writeln!(list, "b").expect("a line");
    drop(list);
    fetch
        .stderr()
        .wait_until("the other file", |text| text.contains("b: fetched"));
    assert_eq!(fetch.stdout().text(), "./a begins\n");
    drop(open("gate"));
    let ended = fetch.wait().expect_code(0);
    assert_eq!(ended.text(), "./a begins\n./a ends\n./b begins\n./b ends\n");
}

#[test]
fn commands_do_not_run_beyond_the_time_for_everything() {
    // What is to be fetched before them takes no time, on a machine that has some.
    at_some_pace(|factor| {
        let place = Place::with([("d/a", "1"), ("e/a", "2")]);
        // The shell waits for another process, which ends with it.
        let hang = "sh -c 'echo begins; sleep 600; echo never'";
        let limit = factor.to_string();
        let args = ["-r", "--max-time", &limit, "--json", "--exec", hang];
        let after = ["--on-complete", "sh -c 'echo code $FTGET_CODE >&2'"];
        let ended = fetch(&place, &[&args[..], &after].concat(), &["d", "e"]).expect_code(14);
        let last = fetch(
            &place,
            &["--max-time", &limit, "--on-complete", hang],
            &["d/a"],
        );
        last.expect_code(14);
        for told in [
            "d/a: --exec has no time left",
            "e/a: --exec has no time left",
            "code 14\n",
        ] {
            assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("never"), "{}", ended.stderr);
        let events = ended.json_lines();
        let ends: Vec<_> = events
            .iter()
            .filter_map(|event| event["exec_status"].as_i64())
            .collect();
        assert_eq!(ends, [124, 124]);
        // One that is in time is as ever.
        let args = ["--max-time", "600", "--exec", "sh -c 'exit 3'"];
        let ended = fetch(&place, &args, &["e/a"]).expect_code(1);
        assert_eq!(ended.stderr, "ftget: a: --exec ended with 3\n");
    });
}

#[test]
fn plain_progress_is_a_line_a_second_for_all_together() {
    let big = noise(1, 1_200_000);
    let place = Place::with([("t/big", &big[..]), ("t/bigger", &big), ("t/small", b"1")]);
    at_some_pace(|_| {
        let args = [
            "-r",
            "-d",
            "all",
            "--progress",
            "plain",
            "--limit-rate",
            "1M",
        ];
        let here = Scratch::new();
        let fetch = place.ftget().args(args).in_folder(here.path());
        let fetched = fetch.arg(place.server.source("t/")).run().expect_code(0);
        let lines: Vec<&str> = fetched.stderr.lines().collect();
        // 2.4 MB at 1 MiB a second.
        assert!((1..=4).contains(&lines.len()), "{}", fetched.stderr);
        let fits = lines
            .iter()
            .all(|line| line.contains("/3 files, ") && line.contains(" of 2.29 MiB, "));
        assert!(fits, "{}", fetched.stderr);
        assert!(
            lines[0].contains("t/big") && lines[0].contains(" s left"),
            "{}",
            lines[0]
        );
    });
}
