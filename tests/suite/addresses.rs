//! The addresses a server listens on.

use std::net::SocketAddr;

use crate::cases::{CONTENT, FILE};
use crate::harness::{Output, Program, RawPeer, Scratch, TestServer, ftget, in_own_mounts};

#[test]
fn one_server_listens_on_several_addresses() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let place = Scratch::new();
    let server = TestServer::builder(root.path())
        .bind("127.0.0.1:0")
        .bind("[::1]:0")
        .bind("127.0.0.2:0")
        .bind(format!("unix:{}", place.join("s").display()))
        .start();
    assert_eq!(server.addresses().len(), 4);
    for address in server.addresses() {
        let mut peer = RawPeer::connect(address);
        peer.ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
    }
    assert!(
        server.addresses()[1].starts_with("[::1]:"),
        "{:?}",
        server.addresses()
    );
}

#[test]
fn both_families_share_one_port_by_default() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let running = Program::ftserve()
        .args(["--port", "0"])
        .arg(root.path())
        .start();
    let text = running.stderr().wait_until("two addresses", |text| {
        text.matches("listening on ").count() >= 2
    });
    let addresses: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.split_once("listening on "))
        .filter_map(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .collect();
    let port = addresses[0].port();
    assert!(
        addresses
            .iter()
            .all(|address| address.port() == port && port != 0),
        "{text}"
    );
    assert!(
        addresses.iter().any(SocketAddr::is_ipv4) && addresses.iter().any(SocketAddr::is_ipv6),
        "{text}"
    );
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        RawPeer::connect(&address)
            .ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
    }
}

#[test]
fn an_address_without_a_port_takes_the_port_flag() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::builder(root.path())
        .bind("127.0.0.1")
        .args(["--port", "0"])
        .start();
    assert!(
        server.addr().starts_with("127.0.0.1:") && server.port() != 0,
        "{}",
        server.addr()
    );
    server.assert_alive();
}

#[test]
fn ftget_fetches_over_ipv6_and_by_name() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::builder(root.path()).bind("[::1]:0").start();
    let here = Scratch::new();
    let dir = here.path().as_os_str();
    ftget(["-d".as_ref(), dir, &server.source(FILE)]).expect_code(0);
    assert_eq!(here.read(FILE), CONTENT);
    let by_url = format!("ft://{}/{FILE}", server.addr());
    ftget(["-d", &here.path().to_string_lossy(), &by_url]).expect_code(0);
    // `localhost` may have two addresses, of which only one has this server.
    let server = TestServer::plain(root.path());
    let by_name = format!("localhost:{}/{FILE}", server.port());
    ftget(["-d", &here.path().to_string_lossy(), &by_name]).expect_code(0);
}

/// The programs' directory first in the path, the names of this machine as given, and a network of
/// its own that is only the machine itself; then the rest of the script, in an empty directory.
fn in_own_network(hosts: &str, script: &str) -> Option<Output> {
    let here = Scratch::new();
    here.write("s/a.txt", CONTENT);
    here.write("s/2024/x", "x");
    here.write("hosts", hosts);
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_ftget")).parent()?;
    let prepare = r#"cd "$1" && mount --bind hosts /etc/hosts || exit 99
export PATH="$2:$PATH"
exec unshare -n sh -c "ip link set lo up || exit 99
$3"
"#;
    let args = [
        here.path().as_os_str(),
        programs.as_os_str(),
        script.as_ref(),
    ];
    in_own_mounts(prepare, args)
}

#[test]
fn a_name_is_listened_on_where_this_machine_has_its_addresses() {
    let hosts = "127.0.0.1 twice\n127.0.0.1 twice\n127.0.0.1 half\n192.0.2.1 half\n\
                 127.0.0.1 both\n::1 both\n192.0.2.1 none\n";
    let script = r#"
for name in twice half both; do
    ftserve --index memory --bind $name:0 s -- true || exit 1
done
ftserve --index memory --bind none:0 s -- true; [ $? = 4 ]
"#;
    let Some(output) = in_own_network(hosts, script) else {
        return;
    };
    let output = output.expect_code(0);
    let count = |text: &str| output.stderr.matches(text).count();
    assert_eq!(
        count("\nlistening on 127.0.0.1:")
            + usize::from(output.stderr.starts_with("listening on 127.0.0.1:")),
        3,
        "{}",
        output.stderr
    );
    assert_eq!(count("listening on [::1]:"), 1, "{}", output.stderr);
    assert_eq!(
        count("not listening on 192.0.2.1:0: this machine has no such address"),
        1
    );
    assert_eq!(
        count("hint: no interface of this machine has that address"),
        1
    );
    let port = |address: &str| {
        output
            .stderr
            .rsplit_once(address)?
            .1
            .lines()
            .next()?
            .parse::<u16>()
            .ok()
    };
    assert_eq!(port("listening on 127.0.0.1:"), port("listening on [::1]:"));
}

#[test]
fn an_address_that_is_named_twice_is_listened_on_once() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let place = Scratch::new();
    let socket = format!("unix:{}", place.join("s").display());
    let ftserve = Program::ftserve().args(["--index", "memory", "--bind", "127.0.0.1:0"]);
    let ftserve = ftserve.args(["--bind", "127.0.0.1:0", "--bind", "[::ffff:127.0.0.1]:0"]);
    let ftserve = ftserve.args(["--bind", &socket]);
    let ftserve = ftserve.args(["--bind", &socket.replace("unix:", "UNIX:")]);
    let output = ftserve.arg(root.path()).args(["--", "true"]).run();
    let listening = output.stderr.matches("listening on").count();
    assert_eq!(listening, 2, "{}", output.stderr);
    output.expect_code(0);
}

#[test]
fn a_silent_address_does_not_hold_up_the_next_and_each_failure_is_named() {
    let script = r#"
cat > full.py <<'END'
import socket, time
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind(('::1', 9521)); s.listen(0)
kept = []
for _ in range(3):
    c = socket.socket(socket.AF_INET6); c.setblocking(False); c.connect_ex(('::1', 9521)); kept.append(c)
print('full', flush=True); time.sleep(600)
END
mkfifo full; python3 full.py > full & trap "kill $!" EXIT; read _ < full
# Half the time would be for the silent one, if they were tried one after the other.
ftserve --quiet --index memory --bind 127.0.0.1:9521 s -- \
    timeout 100 ftget --quiet --connect-timeout 1000 -d t dual:a.txt || exit 1
ftget --quiet --connect-timeout 2 -d t dual:a.txt; [ $? = 4 ]
"#;
    let Some(output) = in_own_network("::1 dual\n127.0.0.1 dual\n", script) else {
        return;
    };
    for said in [
        "[::1]:9521: no answer",
        "127.0.0.1:9521: Connection refused",
    ] {
        assert!(output.stderr.contains(said), "{}", output.stderr);
    }
    output.expect_code(0);
}

#[test]
fn a_client_does_not_take_itself_for_the_server() {
    let script = r#"
echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range || exit 99
for _ in 1 2 3; do
    ftget --quiet --retry 50 --retry-delay 0.01 -d t 127.0.0.1:40000/x; [ $? = 4 ] || exit 1
done
"#;
    let Some(output) = in_own_network("", script) else {
        return;
    };
    assert_eq!(
        output.stderr.matches("Connection refused").count(),
        3,
        "{}",
        output.stderr
    );
    output.expect_code(0);
}

#[test]
fn the_interface_of_a_link_local_address_is_kept_wherever_the_address_is_shown() {
    let script = r#"
ip -6 address add fe80::1/64 dev lo nodad || exit 99
cat > fetch.sh <<'END'
set -e
echo addr $FTSERVE_ADDR
ftget -q -d t --receipts r $FTSERVE_ADDR/a.txt
port=${FTSERVE_ADDR##*:}
ftget -q -d u ft://[fe80::1%25lo]:$port/a.txt
ftget -q -d v FT://[fe80::1%lo]:$port/a.txt
cat r
ftget -d w $FTSERVE_ADDR/nothing || true
ftget -d w [fe80::1]:$port/nothing || true
END
ftserve --index memory --access-log log --bind [fe80::1%lo]:0 s -- sh fetch.sh && cat log
"#;
    let Some(output) = in_own_network("", script) else {
        return;
    };
    let said = format!("{}{}", output.stderr, output.text());
    for part in [
        "listening on [fe80::1%lo]:",
        "try: ftget [fe80::1%lo]:",
        "addr [fe80::1%lo]:",
        "\"server\":\"[fe80::1%lo]:",
        "ftget: [fe80::1%lo]:",
        " [fe80::1%",
        "hint: a link-local address needs its interface",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    output.expect_code(0);
}

#[test]
fn what_looks_like_a_port_or_a_path_is_hinted_at() {
    let script = r#"
ftserve --quiet --index memory --bind 127.0.0.1 s -- ftget -r -d t 127.0.0.1:2024; [ $? = 4 ]
"#;
    if let Some(output) = in_own_network("", script) {
        let hint = "the file 2024 is 127.0.0.1:9521/2024";
        assert!(output.stderr.contains(hint), "{}", output.stderr);
        output.expect_code(0);
    }
    for (args, hint) in [
        (
            &["127.0.0.1:2024"][..],
            "the file 2024 is 127.0.0.1:9521/2024",
        ),
        (&["localhost/f"], "write HOST:PATH: localhost:f"),
        (
            &["-r", "localhost/2024"],
            "write HOST:PATH: localhost:9521/2024",
        ),
        (&["--list", "10.0.0.1/"], "write HOST:PATH: 10.0.0.1:"),
    ] {
        let refused = ftget(args).expect_code(2);
        assert!(refused.stderr.contains(hint), "{}", refused.stderr);
    }
}
