//! `ftget` when the transfer is cut: resumed, retried, or ended with the right code.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::cases::NamedCase;
use crate::harness::{Program, Proxy, Scratch, TestServer, md5_hex, noise};
use crate::place::{Place, event};

#[test]
fn a_cut_transfer_is_resumed_within_one_run_and_across_two() {
    let content = noise(1, 6_000_000);
    for cut in [0, 100, 300_000, 3_000_000, 5_999_999] {
        let _case = NamedCase(format!("cut after {cut} bytes"));
        let place = Place::with([("big", &content)]);
        // Within one run: the second attempt goes on.
        let proxy = Proxy::to(place.server.addr()).cut_first(cut).start();
        let source = format!("{}/big", proxy.addr());
        place
            .ftget()
            .args(["--retry-delay", "10ms", &source])
            .run()
            .expect_code(0);
        place.assert_only(&[("big", &content)]);
        fs::remove_file(place.here.join("big")).expect("a removal");
        // Across two runs: the first fails and leaves no file of that name.
        let proxy = Proxy::to(place.server.addr()).cut_first(cut).start();
        let source = format!("{}/big", proxy.addr());
        place
            .ftget()
            .args(["--retry", "0", &source])
            .run()
            .expect_code(4);
        assert!(
            !place.here.join("big").exists(),
            "a file under its final name that was not verified"
        );
        let output = place
            .ftget()
            .arg("--json")
            .arg(place.server.source("big"))
            .run()
            .expect_code(0);
        let events = output.json_lines();
        let done = event(&events, "done");
        if cut > 1_000_000 {
            assert_eq!(done["action"], "resumed", "{done}");
            assert!(
                done["resumed_from"]
                    .as_u64()
                    .is_some_and(|from| from > 100_000 && from < cut as u64),
                "{done}"
            );
        }
        place.assert_only(&[("big", &content)]);
    }
}

#[test]
fn without_resume_a_cut_transfer_begins_again() {
    let content = noise(1, 3_000_000);
    let place = Place::with([("big", &content)]);
    let proxy = Proxy::to(place.server.addr()).cut_first(2_000_000).start();
    place
        .ftget()
        .args(["--retry", "0", &format!("{}/big", proxy.addr())])
        .run()
        .expect_code(4);
    let output = place
        .ftget()
        .args(["--json", "--no-resume"])
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    assert_eq!(event(&output.json_lines(), "done")["action"], "fetched");
    place.assert_only(&[("big", &content)]);
}

#[test]
fn a_resume_never_splices_two_versions() {
    let (old, new) = (noise(1, 3_000_000), noise(2, 3_000_000));
    let place = Place::with([("big", &old)]);
    let proxy = Proxy::to(place.server.addr()).cut_first(2_000_000).start();
    place
        .ftget()
        .args(["--retry", "0", &format!("{}/big", proxy.addr())])
        .run()
        .expect_code(4);
    place.root.write("big", &new);
    let output = place
        .ftget()
        .arg("--json")
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    assert_eq!(event(&output.json_lines(), "done")["md5"], md5_hex(&new));
    place.assert_only(&[("big", &new)]);
}

#[test]
fn a_server_that_dies_and_returns_costs_a_retry() {
    let content = noise(1, 40_000_000);
    let root = Scratch::with_files([("big", &content)]);
    let mut server = TestServer::plain(root.path());
    let here = Scratch::new();
    let address = server.addr().to_owned();
    let running = Program::ftget()
        .args(["--retry", "50", "--retry-delay", "50ms"])
        .arg(server.source("big"))
        .in_folder(here.path())
        .start();
    // Somewhere in the transfer, or before it: it must end well either way.
    server.kill();
    let _next = TestServer::builder(root.path()).bind(&address).start();
    running.wait().expect_code(0);
    assert_eq!(here.names(), ["big"]);
    assert!(here.read("big") == content, "the file differs");
}

#[test]
fn an_interrupt_leaves_no_file_and_the_next_run_goes_on() {
    let content = noise(1, 3_000_000);
    let place = Place::with([("big", &content)]);
    let proxy = Proxy::to(place.server.addr())
        .stall_first(2_000_000)
        .start();
    let running = place.ftget().arg(format!("{}/big", proxy.addr())).start();
    proxy.wait_until_stalled();
    running.signal(Signal::INT);
    running.wait().expect_code(130);
    assert!(
        !place.here.join("big").exists(),
        "a file under its final name that was not verified"
    );
    place
        .ftget()
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    place.assert_only(&[("big", &content)]);
}

#[test]
fn a_server_that_stalls_is_a_timeout() {
    let place = Place::with([("big", noise(1, 3_000_000))]);
    let proxy = Proxy::to(place.server.addr())
        .stall_first(1_000_000)
        .start();
    let args = [
        "--retry",
        "0",
        "--timeout",
        "0.5",
        &format!("{}/big", proxy.addr()),
    ];
    let output = place.ftget().args(args).run().expect_code(14);
    assert!(
        output.elapsed < Duration::from_secs(40),
        "took {:?}",
        output.elapsed
    );
    assert!(
        !place.here.join("big").exists(),
        "a file under its final name that was not verified"
    );
}
