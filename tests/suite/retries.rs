//! Retries: they are reported, they end, and they take no longer than they may.

use crate::cases::NamedCase;
use crate::harness::{Output, Proxy};
use crate::place::Place;

#[test]
fn whatever_is_asked_again_is_told() {
    let place = Place::with([("a", "1"), ("sub/b", "22")]);
    let ftget = |args: &[&str], address: &str, path: &str| -> Output {
        let ftget = place
            .ftget()
            .args(["-v", "--retry-delay", "300ms", "-d", "d"]);
        ftget.args(args).arg(format!("{address}/{path}")).run()
    };
    ftget(&["-r"], place.server.addr(), "").expect_code(0);
    for (args, path) in [
        (&["--check"][..], "a"),
        (&["--check", "-r"], ""),
        (&["--dry-run"], "a"),
        (&["--dry-run", "-r"], ""),
        (&["--dry-run", "-r", "--delete"], ""),
        (&["-r", "--delete"], ""),
    ] {
        let run = |proxy: &Proxy| {
            // Something has to be asked about.
            let is_mirror = args.contains(&"--delete");
            is_mirror.then(|| place.here.write("d/extra", b"3"));
            let output = ftget(args, proxy.addr(), path).expect_code(0);
            is_mirror.then(|| std::fs::remove_file(place.here.join("d/extra")));
            output
        };
        let proxy = Proxy::to(place.server.addr()).start();
        run(&proxy);
        let mut cuts = 0;
        for number in 0..proxy.tally().connections() {
            let _case = NamedCase(format!("{args:?}, connection {number}"));
            let cut = Proxy::to(place.server.addr()).cut(number..number + 1, 5);
            let cut = cut.start();
            let told = run(&cut).stderr;
            // How many connections are of use depends on the moment: another one may not be there.
            if cut.tally().faults() > 0 {
                cuts += 1;
                assert!(told.contains("retrying "), "{told}");
            }
        }
        assert!(cuts > 0, "nothing was cut");
    }
}

/// Every way to fetch or list that retries by itself.
const WAYS: [&[&str]; 5] = [
    &["a"],
    &["-r", ""],
    &["-o", "-", "a"],
    &["--list", ""],
    &["--check", "a"],
];

#[test]
fn retries_end_after_their_number() {
    let place = Place::with([("a", "1")]);
    for way in WAYS {
        let _case = NamedCase(format!("{way:?}"));
        let proxy = Proxy::to(place.server.addr()).cut(0..u64::MAX, 5).start();
        let options = ["--retry", "2", "--retry-delay", "1ms"];
        run_way(&place, &proxy, way, &options).expect_code(4);
        assert_eq!(proxy.tally().connections(), 3);
    }
}

#[test]
fn retries_end_when_their_time_is_over() {
    let place = Place::with([("a", "1")]);
    for way in WAYS {
        let _case = NamedCase(format!("{way:?}"));
        let proxy = Proxy::to(place.server.addr()).cut(0..u64::MAX, 5).start();
        let options = [
            "--retry",
            "1000000",
            "--retry-delay",
            "1ms",
            "--retry-max-time",
            "0.1",
        ];
        run_way(&place, &proxy, way, &options).expect_code(4);
        assert!(proxy.tally().connections() > 1, "nothing was retried");
    }
}

fn run_way(place: &Place, proxy: &Proxy, way: &[&str], options: &[&str]) -> Output {
    let (path, args) = way.split_last().expect("a path");
    let source = format!("{}/{path}", proxy.addr());
    place.ftget().args(options).args(args).arg(source).run()
}
