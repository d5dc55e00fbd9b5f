//! What is asked again after a failure is told, in every way to ask.

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
        for number in 0..proxy.tally().connections() {
            let _case = NamedCase(format!("{args:?}, connection {number}"));
            let cut = Proxy::to(place.server.addr()).cut(number..number + 1, 5);
            let output = run(&cut.start());
            let told = output.stderr;
            assert!(told.contains("again in 0."), "{told}");
        }
        assert!(proxy.tally().connections() > 0);
    }
}
