//! A server whose every byte is written down by the test. It does not use our own wire code:
//! an encoder's bug and its mirror would cancel out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, socket};
use serde_json::Value;

use crate::client::{ClientConfig, Download, RetryPolicy};
use crate::net::Address;
use crate::store::FileName;
use crate::wire::{Md5Digest, ResourcePath};

/// What to do with one request: answer with these bytes, or with these and then close.
pub(super) enum Play {
    Answer(Vec<u8>),
    /// The same, made for the name that is asked for.
    Reply(MakeAnswer),
    Close(Vec<u8>),
}

type MakeAnswer = Box<dyn FnOnce(&str) -> Vec<u8> + Send>;

/// A server on a thread. Dropped, it takes no more connections.
pub(super) struct ScriptedServer {
    pub(super) address: Address,
    /// The port, of a server that never listens.
    _reserved: Option<OwnedFd>,
    requests: Receiver<Value>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedServer {
    /// Plays `script` over as many connections as the client makes: each play is the answer to
    /// the next request for the name that it begins with, or, if it begins with none, to the next
    /// for which there is no other, whichever connection it comes on. For what is asked first is
    /// left to chance, where several hands look at once.
    pub(super) fn play(script: Vec<Play>) -> ScriptedServer {
        if script.is_empty() {
            let (address, reserved) = nobody();
            return ScriptedServer {
                address,
                _reserved: Some(reserved),
                requests: mpsc::channel().1,
                thread: None,
            };
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, requests) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut script = script;
            while !script.is_empty() {
                let (mut peer, _) = listener.accept().unwrap();
                peer.set_read_timeout(Some(PATIENCE)).unwrap();
                // Taken off the script only when there is a request to answer.
                while !script.is_empty()
                    && let Some(request) = read_request(&mut peer)
                {
                    let name = request["filename"].as_str().unwrap().to_owned();
                    heard.send(request).unwrap();
                    match take_for(&mut script, &name) {
                        // The client may have had enough of it.
                        Play::Answer(bytes) => drop(peer.write_all(&bytes)),
                        Play::Reply(make) => drop(peer.write_all(&make(&name))),
                        Play::Close(bytes) => {
                            let _ = peer.write_all(&bytes);
                            break;
                        }
                    }
                }
            }
        });
        let address = Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        };
        ScriptedServer {
            address,
            _reserved: None,
            requests,
            thread: Some(thread),
        }
    }

    /// Every request of the whole play.
    pub(super) fn requests(mut self) -> Vec<Value> {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.requests.try_iter().collect()
    }

    pub(super) fn download(&self, folder: &std::path::Path, path: &str) -> Download {
        let path = ResourcePath::parse(path.as_bytes()).unwrap();
        let name = FileName::parse(path.file_name().unwrap()).unwrap();
        Download::new(self.address.clone(), path, folder.to_owned(), name)
    }
}

/// An address where connections are refused, as long as the socket is there. A listener that was
/// closed might live on for a moment, in a child process that is just being made.
pub(super) fn nobody() -> (Address, OwnedFd) {
    let bound = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let socket = TcpStream::from(bound);
    let address = Address::Tcp {
        host: "127.0.0.1".to_owned(),
        port: socket.local_addr().unwrap().port(),
    };
    (address, socket.into())
}

/// The play that answers this name.
fn take_for(script: &mut Vec<Play>, name: &str) -> Play {
    let names: Vec<_> = script.iter().map(Play::name).collect();
    let is_for_it = |named: &Option<String>| named.as_deref() == Some(name);
    let at = names.iter().position(is_for_it);
    let at = at.or_else(|| names.iter().position(Option::is_none));
    script.remove(at.unwrap_or(0))
}

impl Play {
    /// The name in the header that it begins with.
    fn name(&self) -> Option<String> {
        let (Play::Answer(bytes) | Play::Close(bytes)) = self else {
            return None;
        };
        let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        let header: Value = serde_json::from_slice(bytes.get(4..4 + length)?).ok()?;
        Some(header["filename"].as_str()?.to_owned())
    }
}

/// Plays `round` until it holds, with the factor 1, 2, 4 and so on for its limits of time: what is
/// wrong never holds, what is right does as soon as no thread is late.
pub(in crate::client) fn at_some_pace(round: impl Fn(u32)) {
    for factor in [1, 2, 4, 8, 16] {
        if catch_unwind(AssertUnwindSafe(|| round(factor))).is_ok() {
            return;
        }
    }
    round(32);
}

/// How long anything may take that should take no time at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn read_request(peer: &mut TcpStream) -> Option<Value> {
    let mut length = [0; 4];
    peer.read_exact(&mut length).ok()?;
    let mut json = vec![0; u32::from_le_bytes(length) as usize];
    peer.read_exact(&mut json).ok()?;
    Some(serde_json::from_slice(&json).unwrap())
}

/// Length and text.
pub(super) fn frame(json: &str) -> Vec<u8> {
    [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat()
}

/// The three keys and the bytes.
pub(super) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    lying_file(name, content, &md5_hex(content))
}

/// The three keys with another digest, and the bytes.
pub(super) fn lying_file(name: &str, content: &[u8], md5: &str) -> Vec<u8> {
    let size = content.len();
    let header = format!(r#"{{"filename":"{name}","total_size":{size},"md5":"{md5}"}}"#);
    [frame(&header), content.to_vec()].concat()
}

/// The rest of a file.
pub(super) fn rest(name: &str, content: &[u8], offset: usize) -> Vec<u8> {
    let (size, md5, left) = (content.len(), md5_hex(content), content.len() - offset);
    let header = format!(
        r#"{{"filename":"{name}","total_size":{size},"md5":"{md5}","body_size":{left},"offset":{offset}}}"#
    );
    [frame(&header), content[offset..].to_vec()].concat()
}

/// An error of this code.
pub(super) fn refusal(name: &str, code: &str) -> Vec<u8> {
    frame(&format!(
        r#"{{"filename":"{name}","total_size":0,"md5":"","error":{{"code":"{code}","message":"m","retry_after_ms":1}}}}"#
    ))
}

pub(super) fn md5_hex(content: &[u8]) -> String {
    use md5::Digest;
    md5::Md5::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(super) fn md5_of(content: &[u8]) -> Md5Digest {
    Md5Digest::parse(&md5_hex(content)).unwrap()
}

/// Bytes that do not repeat in any way a test could mistake.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ bytes as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut content: Vec<u8> = std::iter::repeat_with(&mut next)
        .take(bytes / 8 + 1)
        .flatten()
        .collect();
    content.truncate(bytes);
    content
}

/// The defaults with pauses that no test waits for.
pub(super) fn config() -> ClientConfig {
    ClientConfig {
        retry: RetryPolicy {
            delay: Duration::ZERO,
            ..RetryPolicy::default()
        },
        progress_timeout: PATIENCE,
        ..ClientConfig::default()
    }
}
