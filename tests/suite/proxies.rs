//! The harness's own network: what it does to bytes is what it was told to do.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Damage, Fault, Proxy, noise};

/// The address of a peer that sends back what it gets, to anybody who connects.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // Ends with the test program.
    thread::spawn(move || {
        for peer in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = io::copy(&mut &peer, &mut &peer);
                let _ = peer.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

/// Sends the bytes in pieces and returns what comes back.
fn exchange(proxy: &Proxy, bytes: &[u8], piece: usize) -> Vec<u8> {
    let stream = connect(proxy);
    let (mut sending, bytes) = (stream.try_clone().expect("a socket"), bytes.to_vec());
    let sender = thread::spawn(move || {
        for piece in bytes.chunks(piece) {
            if sending.write_all(piece).is_err() {
                return;
            }
        }
        let _ = sending.shutdown(Shutdown::Write);
    });
    let mut back = Vec::new();
    // A connection that is cut may be reset; what came before counts.
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = (&stream).read(&mut buffer) {
        back.extend_from_slice(&buffer[..count]);
    }
    drop(stream);
    sender.join().expect("the sender");
    back
}

fn damage(seed: u64, bytes_between: usize, faults: &[Fault]) -> Damage {
    let faults = faults.to_vec();
    Damage {
        seed,
        bytes_between,
        faults,
    }
}

#[test]
fn without_orders_everything_passes_on_many_connections_at_once() {
    let proxy = Proxy::to(&echo()).start();
    thread::scope(|scope| {
        for number in 0..50 {
            let proxy = &proxy;
            scope.spawn(move || {
                let bytes = noise(number, 300_000);
                assert!(exchange(proxy, &bytes, 10_000) == bytes, "differs");
            });
        }
    });
    assert_eq!(
        (proxy.tally().connections(), proxy.tally().faults()),
        (50, 0)
    );
}

#[test]
fn a_delay_makes_a_round_trip_long_and_costs_no_throughput() {
    let proxy = Proxy::to(&echo()).delay(Duration::from_millis(200)).start();
    let mut stream = connect(&proxy);
    for _ in 0..3 {
        let asked = Instant::now();
        stream.write_all(b"x").expect("a byte");
        stream.read_exact(&mut [0]).expect("a byte");
        assert!(
            asked.elapsed() >= Duration::from_millis(400),
            "{:?}",
            asked.elapsed()
        );
    }
    let bytes = noise(1, 20_000_000);
    let begun = Instant::now();
    assert!(exchange(&proxy, &bytes, 65_536) == bytes, "differs");
    // 305 pieces, one after the other, would take over 120 s.
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
}

#[test]
fn a_rate_holds_the_sender_back() {
    let proxy = Proxy::to(&echo()).rate(1_000_000).start();
    let bytes = noise(1, 300_000);
    let begun = Instant::now();
    assert!(exchange(&proxy, &bytes, 65_536) == bytes, "differs");
    assert!(
        begun.elapsed() >= Duration::from_millis(280),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn damage_depends_on_the_seed_and_the_place_alone() {
    let echo = echo();
    let bytes = noise(1, 100_000);
    for fault in [Fault::Corrupt, Fault::Duplicate, Fault::Omit, Fault::Cut] {
        let run = |seed, piece| {
            let proxy = Proxy::to(&echo);
            let proxy = proxy
                .damage_to_client(damage(seed, 3_000, &[fault]))
                .start();
            let back = exchange(&proxy, &bytes, piece);
            (back, proxy.tally().faults())
        };
        let (back, faults) = run(7, 65_536);
        assert!(faults > 0, "{fault:?}");
        let expected_length = match fault {
            Fault::Corrupt => back.len() == bytes.len(),
            Fault::Duplicate => back.len() > bytes.len(),
            Fault::Omit => back.len() < bytes.len(),
            Fault::Cut | Fault::Stall => back.len() < 6_000 && faults == 1,
        };
        assert!(expected_length, "{fault:?}: {} bytes", back.len());
        if fault == Fault::Corrupt {
            let differ = back.iter().zip(&bytes).filter(|(a, b)| a != b).count();
            assert_eq!(differ as u64, faults);
        }
        assert!(
            run(7, 999) == (back.clone(), faults),
            "{fault:?} is not repeated"
        );
        assert!(
            run(8, 65_536).0 != back,
            "{fault:?} does not depend on the seed"
        );
    }
}

#[test]
fn each_direction_has_its_own_damage() {
    let echo = echo();
    let bytes = noise(1, 100_000);
    let corrupt = damage(7, 3_000, &[Fault::Corrupt]);
    let there = Proxy::to(&echo).damage_to_server(corrupt.clone()).start();
    let back = Proxy::to(&echo).damage_to_client(corrupt.clone()).start();
    assert!(exchange(&there, &bytes, 5_000) == exchange(&back, &bytes, 5_000));
    let both = Proxy::to(&echo);
    let both = both
        .damage_to_server(corrupt.clone())
        .damage_to_client(corrupt);
    // The same places and masks twice: what was corrupted is whole again.
    let both = both.start();
    assert!(exchange(&both, &bytes, 5_000) == bytes);
    assert!(both.tally().faults() > 20);
}

#[test]
fn only_the_first_connection_is_cut_or_stalls_where_it_was_told_to() {
    let echo = echo();
    let bytes = noise(1, 100_000);
    let proxy = Proxy::to(&echo).cut_first(12_345).start();
    assert_eq!(exchange(&proxy, &bytes, 5_000), &bytes[..12_345]);
    assert!(exchange(&proxy, &bytes, 5_000) == bytes, "differs");
    let proxy = Proxy::to(&echo).stall_first(12_345).start();
    let mut stream = connect(&proxy);
    stream.write_all(&bytes[..20_000]).expect("bytes");
    proxy.wait_until_stalled();
    let mut passed = vec![0; 12_345];
    stream.read_exact(&mut passed).expect("what passed");
    assert_eq!(passed, &bytes[..12_345]);
    stream.set_nonblocking(true).expect("a socket");
    let more = stream.read(&mut [0]);
    assert!(more.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
    assert!(exchange(&proxy, &bytes, 5_000) == bytes, "differs");
}

#[test]
fn faults_that_follow_each_other_closely_keep_their_places() {
    let echo = echo();
    let bytes = noise(1, 30_000);
    for faults in [
        &[Fault::Omit][..],
        &[Fault::Omit, Fault::Corrupt, Fault::Duplicate],
    ] {
        let run = |piece| {
            let proxy = Proxy::to(&echo).damage_to_client(damage(3, 1, faults));
            let proxy = proxy.start();
            let back = exchange(&proxy, &bytes, piece);
            (back, proxy.tally().faults())
        };
        let (back, count) = run(65_536);
        assert!(count > 3_000, "{count} faults");
        assert!(run(7) == (back, count), "not repeated");
    }
}
