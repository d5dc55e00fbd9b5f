//! A server whose every byte is scripted.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use serde_json::Value;

/// One thing the server does on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes, each in a segment of its own.
    Bytewise(Vec<u8>),
    /// Says nothing for so long.
    Pause(Duration),
    /// Sends these bytes again and again, so many at most, until the client goes.
    Repeat(Vec<u8>, u64),
    /// Says nothing more until the client goes.
    Stall,
    /// Ends the write side and waits for the client to go.
    Close,
    /// Resets the connection.
    Reset,
    /// Runs this, in the middle of an answer.
    Meanwhile(Meanwhile),
}

/// What happens elsewhere while an answer is under way.
#[derive(Clone)]
pub(crate) struct Meanwhile(Arc<dyn Fn() + Send + Sync>);

impl Act {
    /// Sends these bytes, one after each pause.
    pub(crate) fn drip(bytes: &[u8], pause: Duration) -> Vec<Act> {
        let one = |byte: &u8| [Act::Pause(pause), Act::Send(vec![*byte])];
        bytes.iter().flat_map(one).collect()
    }

    /// Runs `change` when the bytes before it are sent.
    pub(crate) fn meanwhile(change: impl Fn() + Send + Sync + 'static) -> Act {
        Act::Meanwhile(Meanwhile(Arc::new(change)))
    }
}

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a change")
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its place among all requests to this server, from 0.
    pub(crate) number: usize,
    /// Its JSON.
    pub(crate) json: Value,
}

impl Request {
    /// A key that is a string, `""` if it is absent.
    pub(crate) fn str(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or("")
    }

    /// A key that is a size.
    pub(crate) fn size(&self, key: &str) -> Option<u64> {
        self.json.get(key)?.as_u64()
    }

    /// `fresh`.
    pub(crate) fn is_fresh(&self) -> bool {
        self.json["fresh"] == true
    }
}

/// A listener on a free port of 127.0.0.1 that plays a script.
pub(crate) struct HostileServer {
    address: SocketAddr,
    play: Arc<Play>,
    acceptor: Option<JoinHandle<()>>,
}

type Script = Box<dyn Fn(&Request) -> Vec<Act> + Send + Sync>;

struct Play {
    greeting: Vec<Act>,
    script: Script,
    requests: Mutex<Vec<Request>>,
    sent_bytes: AtomicU64,
    stopping: AtomicBool,
}

impl HostileServer {
    /// Plays what `script` says for each request; the connection goes on after it, unless
    /// the acts end it.
    pub(crate) fn start(
        script: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static,
    ) -> HostileServer {
        HostileServer::listen(Vec::new(), Box::new(script))
    }

    /// Plays the same acts for each request.
    pub(crate) fn repeating(acts: Vec<Act>) -> HostileServer {
        HostileServer::start(move |_| acts.clone())
    }

    /// Does this on each connection before any request is read, and answers none.
    pub(crate) fn greeting(acts: Vec<Act>) -> HostileServer {
        HostileServer::listen(acts, Box::new(|_| vec![Act::Stall]))
    }

    fn listen(greeting: Vec<Act>, script: Script) -> HostileServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let play = Arc::new(Play {
            greeting,
            script,
            requests: Mutex::default(),
            sent_bytes: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let shared = Arc::clone(&play);
        let acceptor = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if shared.stopping.load(Ordering::Acquire) {
                    return;
                }
                let play = Arc::clone(&shared);
                // A client that goes ends its connection's thread.
                thread::spawn(move || drop(play.serve(stream)));
            }
        });
        HostileServer {
            address,
            play,
            acceptor: Some(acceptor),
        }
    }

    /// A source for `ftget`: `127.0.0.1:40321/NAME`.
    pub(crate) fn source(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Every request so far, in the order they were read.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.play.requests.lock().expect("the requests").clone()
    }

    /// How many bytes the client's side has taken.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.play.sent_bytes.load(Ordering::Acquire)
    }
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        self.play.stopping.store(true, Ordering::Release);
        // The acceptor looks at the flag after each connection; this is one.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(acceptor) = self.acceptor.take()
            && woken
        {
            let _ = acceptor.join();
        }
    }
}

impl Play {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        // Where bytes are cut is what the tests are about.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        let mut open = self.perform(&mut stream, &self.greeting)?;
        while open {
            let json = read_request(&mut stream)?;
            let request = {
                let mut requests = self.requests.lock().expect("the requests");
                let request = Request {
                    number: requests.len(),
                    json,
                };
                requests.push(request.clone());
                request
            };
            open = self.perform(&mut stream, &(self.script)(&request))?;
        }
        Ok(())
    }

    /// Performs the acts and says whether the connection goes on.
    fn perform(&self, stream: &mut TcpStream, acts: &[Act]) -> io::Result<bool> {
        for act in acts {
            match act {
                Act::Send(bytes) => self.send(stream, bytes)?,
                Act::Bytewise(bytes) => {
                    for byte in bytes {
                        self.send(stream, &[*byte])?;
                    }
                }
                Act::Pause(pause) => {
                    if !stays_for(stream, *pause)? {
                        return Ok(false);
                    }
                }
                Act::Repeat(bytes, bytes_max) => {
                    let mut left = *bytes_max;
                    while left > 0 {
                        let step = left.min(bytes.len() as u64);
                        self.send(stream, &bytes[..step as usize])?;
                        left -= step;
                    }
                }
                Act::Stall => {
                    io::copy(stream, &mut io::sink())?;
                    return Ok(false);
                }
                Act::Close => {
                    // Closing with unread requests would reset the connection instead.
                    stream.shutdown(Shutdown::Write)?;
                    io::copy(stream, &mut io::sink())?;
                    return Ok(false);
                }
                Act::Reset => {
                    set_socket_linger(&*stream, Some(Duration::ZERO))?;
                    return Ok(false);
                }
                Act::Meanwhile(change) => (change.0)(),
            }
        }
        Ok(true)
    }

    fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        stream.write_all(bytes)?;
        self.sent_bytes
            .fetch_add(bytes.len() as u64, Ordering::AcqRel);
        Ok(())
    }
}

/// Lets the pause pass, dropping what the client sends; false if it goes meanwhile.
fn stays_for(stream: &mut TcpStream, pause: Duration) -> io::Result<bool> {
    let until = Instant::now() + pause;
    let mut ignored = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            stream.set_read_timeout(Some(WAIT))?;
            return Ok(true);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut ignored) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// One framed request; an error at the end of the stream.
fn read_request(stream: &mut TcpStream) -> io::Result<Value> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    let mut text = vec![0; length.min(REQUEST_BYTES_MAX)];
    stream.read_exact(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

/// Longer than any limit of a client under test.
const WAIT: Duration = Duration::from_secs(90);
/// What PROTOCOL.md allows a frame.
const REQUEST_BYTES_MAX: usize = 65_536;
