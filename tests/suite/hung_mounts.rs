//! A mount below the served directory whose file system does not answer any more.

use crate::harness::{Scratch, in_own_mounts};

/// Runs a script in mounts of its own, in which `s` is served, `s/hung` is a file system that
/// `hang` stops and `resume` lets go on, and `s/link` leads to it.
fn with_a_mount(script: &str) {
    let prelude = r#"
        set -eu
        serve=$1 get=$2; cd "$3"
        mkdir -p far/below s/hung s/near; echo hello > s/hello.txt; echo far > far/x
        echo deep > far/below/y; echo near > s/near/z; ln -s hung s/link
        head -c 3000000 /dev/zero > far/large; head -c 3000000 /dev/zero > s/large
        pids=
        trap 'kill -CONT $pids || :; kill -KILL $pids || :; umount -l s/hung || :' EXIT
        command -v bindfs > /dev/null || exit 99
        bindfs -f -o attr_timeout=0,entry_timeout=0 far s/hung 2> bindfs.err & fuse=$! pids=$!
        for _ in $(seq 600); do
            mountpoint -q s/hung && break
            kill -0 $fuse 2> /dev/null || exit 99
            sleep 0.05
        done
        hang() { kill -STOP $fuse; }
        resume() { kill -CONT $fuse; }
        start() {
            "$serve" --no-prehash --index memory --bind "unix:$PWD/socket" "$@" s 2> err & server=$!
            pids="$pids $server"
            for _ in $(seq 600); do grep -q '^try' err && return; sleep 0.05; done
            fail "it does not start"
        }
        fetch() { "$get" --quiet --retry 0 --max-time 40 -o - "unix:socket:$1" 2> "err.$$"; }
        fail() { echo "$*" >&2; cat err >&2; exit 1; }
        expect() { got=$(fetch "$1") || fail "$1 is not served: $(cat err.$$)"; [ "$got" = "$2" ] || fail "$1: $got"; }
    "#;
    let place = Scratch::new();
    let args = [
        env!("CARGO_BIN_EXE_ftserve").as_ref(),
        env!("CARGO_BIN_EXE_ftget").as_ref(),
        place.path().as_os_str(),
    ];
    let whole = format!("{prelude}\n{script}");
    if let Some(output) = in_own_mounts(&whole, args) {
        output.expect_code(0);
    }
}

#[test]
fn a_healthy_file_is_served_beside_requests_that_hang() {
    with_a_mount(
        r#"
        start
        expect hung/x far; expect link/below/y deep; expect hello.txt hello
        hang
        asked=
        for name in $(seq 12); do
            for path in hung/x link/x; do fetch $path > /dev/null & asked="$asked $!"; done
        done
        pids="$pids $asked"
        for _ in 1 2 3 4 5; do expect hello.txt hello; expect near/z near; done
        for one in $asked; do
            wait $one && fail "what hangs is served"
            code=$?; [ $code = 124 ] && fail "it was never answered"
        done
        fetch hung/x && fail "what hangs is served"
        grep -q 'does not answer' err.$$ || fail "no reason: $(cat err.$$)"
        expect hello.txt hello
        resume
        for _ in $(seq 600); do fetch hung/x > got && break; sleep 0.05; done
        [ "$(cat got)" = far ] || fail "it does not come back: $(cat err.$$)"
        expect link/below/y deep
        "#,
    );
}

#[test]
fn listings_and_digests_go_on_beside_a_mount_that_hangs() {
    with_a_mount(
        r#"
        start
        hang
        asked=
        for n in $(seq 6); do
            "$get" --quiet --retry 0 --max-time 40 -r -n unix:socket:hung > /dev/null 2>&1 & asked="$asked $!"
            "$get" --quiet --retry 0 --max-time 40 -r --list=md5sum unix:socket: > /dev/null 2>&1 & asked="$asked $!"
            fetch hung/large > /dev/null & asked="$asked $!"
        done
        pids="$pids $asked"
        for one in $asked; do wait $one || :; done
        "$get" --quiet --retry 0 --list=json unix:socket:near > got 2>&1 || fail "no listing: $(cat got)"
        grep -q 'near/z' got || fail "$(cat got)"
        fetch large > got || fail "no digest: $(cat err.$$)"
        cmp got s/large
        "$get" --quiet --retry 0 -r --list=json unix:socket: > got 2>&1 || :
        grep -q 'hello.txt' got || fail "the whole tree is not listed: $(cat got)"
        grep -q 'busy' got || fail "no error for what hangs: $(cat got)"
        "#,
    );
}

#[test]
fn a_server_ends_though_a_mount_hangs_on_which_it_reads_and_hashes() {
    with_a_mount(
        r#"
        start --watch --limit-rate-per-connection 100000 --drain-timeout 3
        expect hung/x far
        fetch hung/large > /dev/null & asked=$!
        pids="$pids $asked"
        sleep 0.5
        hang
        fetch hung/x > /dev/null & pids="$pids $!"
        expect hello.txt hello
        kill -TERM $server
        for _ in $(seq 800); do
            # A thread whose call the kernel cannot end keeps the process, but nothing of it.
            case "$(cut -d' ' -f3 /proc/$server/stat 2> /dev/null || echo gone)" in
                Z|X|gone) exit 0;;
            esac
            sleep 0.05
        done
        fail "it does not end"
        "#,
    );
}
