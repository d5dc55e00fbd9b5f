//! A network that is far away, slow, cut, or damages what passes.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{DEADLINE, Random};

/// A proxy in front of a server. Each direction of each connection has a thread that reads and
/// one that writes, with a queue in between, so that a delay costs no throughput.
pub struct Proxy {
    address: String,
    stalled: Receiver<()>,
    tally: Arc<Tally>,
    /// While this is there what is held back waits.
    holding: Arc<Mutex<Option<Sender<Infallible>>>>,
    closing: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

/// How a [`Proxy`] treats what passes.
#[derive(Clone)]
pub struct ProxyBuilder {
    target: String,
    delay: Duration,
    rate: Option<u64>,
    /// What happens on these connections, counted from 0, behind so many bytes for the client.
    faulty: Option<(Range<u64>, u64, Fault)>,
    /// Bytes for the client that pass before this many connections are there, and the rest.
    meeting: Option<(u64, u64)>,
    to_client: Option<Damage>,
    to_server: Option<Damage>,
}

/// Damage to one direction of every connection. The same seed does the same to the same bytes of
/// a connection of the same number, however they are cut into pieces.
#[derive(Clone)]
pub struct Damage {
    /// Where everything random comes from.
    pub seed: u64,
    /// Bytes from one fault to the next, on average.
    pub bytes_between: usize,
    /// What may happen.
    pub faults: Vec<Fault>,
}

/// What can happen to a stream of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One byte becomes another.
    Corrupt,
    /// The last 1 to 16 bytes come again.
    Duplicate,
    /// 1 to 16 bytes are left out.
    Omit,
    /// Both sides are closed.
    Cut,
    /// Nothing more passes, and nothing is closed.
    Stall,
}

/// How often what has happened.
#[derive(Default)]
pub struct Tally {
    connections: AtomicU64,
    bytes: AtomicU64,
    faults: AtomicU64,
}

impl Tally {
    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes that came in, from both sides.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Faults of any kind.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }
}

impl Proxy {
    /// A proxy in front of this server, which does nothing yet.
    pub fn to(target: &str) -> ProxyBuilder {
        ProxyBuilder {
            target: target.to_owned(),
            delay: Duration::ZERO,
            rate: None,
            faulty: None,
            meeting: None,
            to_client: None,
            to_server: None,
        }
    }

    /// Where it listens: `127.0.0.1:40321`.
    pub fn addr(&self) -> &str {
        &self.address
    }

    /// How often what has happened so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Lets everything pass that [`ProxyBuilder::hold`] keeps back.
    pub fn let_go(&self) {
        self.holding.lock().expect("what is held").take();
    }

    /// Waits until a connection has passed its bytes and stalls.
    pub fn wait_until_stalled(&self) {
        self.stalled
            .recv_timeout(DEADLINE)
            .expect("a stalled transfer");
    }
}

impl Drop for Proxy {
    /// No new connections; those that are there end when one of their sides does.
    fn drop(&mut self) {
        self.let_go();
        self.closing.store(true, Ordering::Relaxed);
        // Wakes it; if that fails it is gone.
        let _ = TcpStream::connect(&self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

impl ProxyBuilder {
    /// Everything arrives so much later: half a round trip.
    pub fn delay(mut self, delay: Duration) -> ProxyBuilder {
        self.delay = delay;
        self
    }

    /// The most bytes per second in each direction of each connection.
    pub fn rate(mut self, bytes_per_second: u64) -> ProxyBuilder {
        self.rate = Some(bytes_per_second);
        self
    }

    /// The first connection is cut behind so many bytes for the client.
    pub fn cut_first(self, bytes: usize) -> ProxyBuilder {
        self.cut(0..1, bytes)
    }

    /// These connections, counted from 0, are cut behind so many bytes for the client.
    pub fn cut(mut self, connections: Range<u64>, bytes: usize) -> ProxyBuilder {
        self.faulty = Some((connections, bytes as u64, Fault::Cut));
        self
    }

    /// The first connection stalls behind so many bytes for the client.
    pub fn stall_first(mut self, bytes: usize) -> ProxyBuilder {
        self.faulty = Some((0..1, bytes as u64, Fault::Stall));
        self
    }

    /// What is behind so many bytes for the client waits, on every connection, until there were
    /// so many connections.
    pub fn meet(mut self, bytes: u64, connections: u64) -> ProxyBuilder {
        self.meeting = Some((bytes, connections));
        self
    }

    /// What is behind so many bytes for the client waits, on every connection, until
    /// [`Proxy::let_go`].
    pub fn hold(self, bytes: u64) -> ProxyBuilder {
        self.meet(bytes, u64::MAX)
    }

    /// Damages what goes to the client.
    pub fn damage_to_client(mut self, damage: Damage) -> ProxyBuilder {
        self.to_client = Some(damage);
        self
    }

    /// Damages what goes to the server.
    pub fn damage_to_server(mut self, damage: Damage) -> ProxyBuilder {
        self.to_server = Some(damage);
        self
    }

    /// Starts it, on a free port of 127.0.0.1.
    pub fn start(self) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (report, stalled) = unbounded();
        let tally: Arc<Tally> = Arc::default();
        let closing: Arc<AtomicBool> = Arc::default();
        let (coming, met) = bounded(0);
        let holding = Arc::new(Mutex::new(Some(coming)));
        let listening = {
            let (tally, closing) = (Arc::clone(&tally), Arc::clone(&closing));
            let holding = Arc::clone(&holding);
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    if closing.load(Ordering::Relaxed) {
                        return;
                    }
                    let number = tally.connections.fetch_add(1, Ordering::Relaxed);
                    if self.meeting.is_none_or(|(_, least)| number + 1 >= least) {
                        // Whoever waits for it sees that.
                        holding.lock().expect("what is held").take();
                    }
                    // Without a server the client is closed, as it would be by one that dies.
                    if let Ok(server) = TcpStream::connect(&self.target) {
                        self.connect(number, [client, server], &tally, &report, &met);
                    }
                }
            })
        };
        Proxy {
            address,
            stalled,
            tally,
            holding,
            closing,
            listening: Some(listening),
        }
    }

    fn connect(
        &self,
        number: u64,
        [client, server]: [TcpStream; 2],
        tally: &Arc<Tally>,
        report: &Sender<()>,
        met: &Receiver<Infallible>,
    ) {
        for stream in [&client, &server] {
            // What comes together goes on together; nothing waits for more.
            stream.set_nodelay(true).expect("a socket");
        }
        let clone = |stream: &TcpStream| stream.try_clone().expect("a socket");
        let to_server = Stretch {
            faults: Faults::of(self.to_server.as_ref(), number, None),
            delay: self.delay,
            rate: self.rate,
            meeting: None,
            tally: Arc::clone(tally),
            report: report.clone(),
        };
        let faulty = self.faulty.as_ref();
        let fault = faulty.filter(|(connections, ..)| connections.contains(&number));
        let fault = fault.map(|&(_, bytes, fault)| (bytes, fault));
        let to_client = Stretch {
            faults: Faults::of(self.to_client.as_ref(), number, fault),
            meeting: self.meeting.map(|(bytes, _)| (bytes, met.clone())),
            ..to_server.like()
        };
        to_server.carry(clone(&client), clone(&server));
        to_client.carry(server, client);
    }
}

/// One direction of a connection.
struct Stretch {
    faults: Faults,
    delay: Duration,
    rate: Option<u64>,
    /// Bytes that pass at once; the rest waits until this is closed.
    meeting: Option<(u64, Receiver<Infallible>)>,
    tally: Arc<Tally>,
    report: Sender<()>,
}

/// What the reading half hands to the writing half.
enum Passed {
    /// Bytes, and when they arrive.
    Bytes(Instant, Vec<u8>),
    Cut,
    Stall,
}

impl Stretch {
    /// Another one that does no damage.
    fn like(&self) -> Stretch {
        Stretch {
            faults: Faults::of(None, 0, None),
            delay: self.delay,
            rate: self.rate,
            meeting: None,
            tally: Arc::clone(&self.tally),
            report: self.report.clone(),
        }
    }

    /// Carries what comes until one side ends.
    fn carry(mut self, mut from: TcpStream, to: TcpStream) {
        let (sender, receiver) = bounded(QUEUE_PIECES_MAX);
        let report = self.report.clone();
        let ends = (
            from.try_clone().expect("a socket"),
            to.try_clone().expect("a socket"),
        );
        thread::spawn(move || self.read(&mut from, &sender));
        thread::spawn(move || write(&receiver, to, ends, &report));
    }

    fn read(&mut self, from: &mut TcpStream, sender: &Sender<Passed>) {
        let piece_bytes = match self.rate {
            // A hundredth of a second at once.
            Some(rate) => usize::try_from(rate / 100)
                .expect("a rate")
                .clamp(1, PIECE_BYTES),
            None => PIECE_BYTES,
        };
        let mut buffer = vec![0; piece_bytes];
        let mut free_at = Instant::now();
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                return;
            }
            self.tally.bytes.fetch_add(count as u64, Ordering::Relaxed);
            if let Some((bytes, met)) = &self.meeting
                && self.faults.place + count as u64 > *bytes
            {
                // Nothing is ever sent: it is closed, or nobody comes.
                let _ = met.recv_timeout(DEADLINE);
            }
            if let Some(rate) = self.rate {
                // What a link of this rate has not yet taken stays with the sender.
                wait_until(free_at);
                let time = Duration::from_secs_f64(count as f64 / rate as f64);
                free_at = free_at.max(Instant::now()) + time;
            }
            let mut passed = Vec::with_capacity(count + HISTORY_BYTES);
            let fatal = self
                .faults
                .damage(&buffer[..count], &mut passed, &self.tally);
            let due = free_at.max(Instant::now()) + self.delay;
            let mut pieces = vec![Passed::Bytes(due, passed)];
            pieces.extend(fatal.map(|fault| match fault {
                Fault::Stall => Passed::Stall,
                Fault::Cut | Fault::Corrupt | Fault::Duplicate | Fault::Omit => Passed::Cut,
            }));
            // The writing half ends when its side does.
            let is_over = pieces.into_iter().any(|piece| sender.send(piece).is_err());
            if is_over || fatal.is_some() {
                if fatal == Some(Fault::Stall) {
                    // Held open until the other side gives up.
                    while from.read(&mut buffer).unwrap_or(0) > 0 {}
                }
                return;
            }
        }
    }
}

fn write(
    receiver: &Receiver<Passed>,
    mut to: TcpStream,
    ends: (TcpStream, TcpStream),
    report: &Sender<()>,
) {
    let close = |(from, to): (TcpStream, TcpStream)| {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    };
    for piece in receiver {
        match piece {
            Passed::Bytes(due, bytes) => {
                wait_until(due);
                if to.write_all(&bytes).is_err() {
                    return close(ends);
                }
            }
            Passed::Cut => return close(ends),
            Passed::Stall => {
                let _ = report.send(());
                // Until the reading half has seen the end.
                for _ in receiver {}
                return close(ends);
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A wire has a clock of its own: this is what a delay is made of.
fn wait_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// The faults of one stream, by the place of its bytes alone.
struct Faults {
    source: Option<(Random, Damage)>,
    /// Bytes of the stream so far.
    place: u64,
    /// The next fault, and its place.
    next: Option<(u64, Fault)>,
    /// Bytes that are still to be left out.
    omitted: usize,
    /// The last bytes that passed.
    history: Vec<u8>,
}

impl Faults {
    fn of(damage: Option<&Damage>, connection: u64, first: Option<(u64, Fault)>) -> Faults {
        let source = damage.map(|damage| {
            let round = u32::try_from(connection).expect("not so many connections");
            (Random::of(damage.seed, round), damage.clone())
        });
        let mut faults = Faults {
            source,
            place: 0,
            next: None,
            omitted: 0,
            history: Vec::new(),
        };
        faults.next = first.or_else(|| faults.draw());
        faults
    }

    fn draw(&mut self) -> Option<(u64, Fault)> {
        let place = self.place + self.omitted as u64;
        let (random, damage) = self.source.as_mut()?;
        let gap = random.within(1..=2 * damage.bytes_between - 1);
        Some((place + gap as u64, random.pick(&damage.faults)))
    }

    /// Appends to `output` what becomes of the bytes; a fault that ends the stream is returned.
    fn damage(&mut self, mut input: &[u8], output: &mut Vec<u8>, tally: &Tally) -> Option<Fault> {
        while !input.is_empty() {
            if self.omitted > 0 {
                let count = self.omitted.min(input.len());
                self.omitted -= count;
                self.skip(&mut input, count);
                continue;
            }
            let whole = self.next.map_or(u64::MAX, |(at, _)| at - self.place);
            if whole > 0 {
                let count = usize::try_from(whole)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                output.extend_from_slice(&input[..count]);
                self.remember(&input[..count]);
                self.skip(&mut input, count);
                continue;
            }
            let (_, fault) = self.next.take().expect("a fault at this place");
            tally.faults.fetch_add(1, Ordering::Relaxed);
            match (fault, &mut self.source) {
                (Fault::Corrupt, Some((random, _))) => {
                    let mask = random.within(1..=255) as u8;
                    output.push(input[0] ^ mask);
                    self.remember(&[input[0] ^ mask]);
                    self.skip(&mut input, 1);
                }
                (Fault::Duplicate, Some((random, _))) => {
                    let count = random.within(1..=HISTORY_BYTES).min(self.history.len());
                    output.extend_from_slice(&self.history[self.history.len() - count..]);
                }
                (Fault::Omit, Some((random, _))) => {
                    self.omitted = random.within(1..=HISTORY_BYTES);
                }
                (fatal, _) => return Some(fatal),
            }
            self.next = self.draw();
        }
        None
    }

    fn skip(&mut self, input: &mut &[u8], count: usize) {
        self.place += count as u64;
        *input = &input[count..];
    }

    fn remember(&mut self, bytes: &[u8]) {
        let tail = &bytes[bytes.len().saturating_sub(HISTORY_BYTES)..];
        self.history.extend_from_slice(tail);
        let excess = self.history.len().saturating_sub(HISTORY_BYTES);
        self.history.drain(..excess);
    }
}

const PIECE_BYTES: usize = 64 * 1024;
/// What is under way in one direction, at most: 64 MiB.
const QUEUE_PIECES_MAX: usize = 1024;
const HISTORY_BYTES: usize = 16;
