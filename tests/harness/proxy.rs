//! A network that fails in the middle of a transfer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::DEADLINE;

/// A proxy whose first connection passes so many bytes to the client and then ends or
/// stalls; later connections pass everything.
pub struct CuttingProxy {
    address: String,
    stalled: Receiver<()>,
}

impl CuttingProxy {
    /// The first connection ends after so many bytes.
    pub fn start(target: &str, bytes: usize) -> CuttingProxy {
        CuttingProxy::of(target, bytes, false)
    }

    /// The first connection stalls after so many bytes.
    pub fn stall(target: &str, bytes: usize) -> CuttingProxy {
        CuttingProxy::of(target, bytes, true)
    }

    fn of(target: &str, bytes: usize, stalls: bool) -> CuttingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (target, (report, stalled)) = (target.to_owned(), mpsc::channel());
        // Ends with the test program; each connection is one pair of threads.
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&target)) else {
                    return;
                };
                let (from_client, to_server) = (client.try_clone(), server.try_clone());
                let (mut from_client, mut to_server) =
                    (from_client.expect("a socket"), to_server.expect("a socket"));
                thread::spawn(move || {
                    let _ = io::copy(&mut from_client, &mut to_server);
                    let _ = to_server.shutdown(Shutdown::Write);
                });
                let report = report.clone();
                thread::spawn(move || {
                    let limit = if number == 0 { bytes as u64 } else { u64::MAX };
                    pass(&server, &client, limit);
                    if number == 0 && stalls {
                        let _ = report.send(());
                        // Held open until the client gives up.
                        let _ = io::copy(&mut &server, &mut io::sink());
                    }
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        CuttingProxy { address, stalled }
    }

    /// Where it listens: `127.0.0.1:40321`.
    pub fn addr(&self) -> &str {
        &self.address
    }

    /// Waits until the first connection has passed its bytes and stalls.
    pub fn wait_until_stalled(&self) {
        self.stalled
            .recv_timeout(DEADLINE)
            .expect("a stalled transfer");
    }
}

fn pass(from: &TcpStream, mut to: &TcpStream, limit: u64) {
    let _ = io::copy(&mut from.take(limit), &mut to);
    let _ = to.flush();
}
