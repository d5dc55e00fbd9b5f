//! The addresses a server listens on.

use std::net::SocketAddr;

use crate::cases::{CONTENT, FILE};
use crate::harness::{Program, RawPeer, Scratch, TestServer, ftget};

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
