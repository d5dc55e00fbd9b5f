//! The lines of a server on standard error. A thread of their own writes them, so that nothing
//! else waits for the reader of that stream: no answer, no reload and no stop.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::cli::terminal::{counted, write_line};

/// Starts the thread: from now on [`queue`] takes lines.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn start() -> io::Result<()> {
    let (sender, received) = bounded(LINES_MAX);
    let named = thread::Builder::new().name("ft-messages".to_owned());
    named.spawn(move || write(&received))?;
    // A second one would write as well.
    let _ = QUEUE.set(sender);
    Ok(())
}

/// Queues a line, or counts it as lost; `false` where the thread was not started.
pub(super) fn queue(line: &str) -> bool {
    let Some(queue) = QUEUE.get() else {
        return false;
    };
    if queue.try_send(Message::Line(line.to_owned())).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
    true
}

/// Waits until every line so far is written, or for this long.
pub(super) fn flush(within: Duration) {
    let Some(queue) = QUEUE.get() else {
        return;
    };
    let until = Instant::now() + within;
    let (written, is_written) = bounded(1);
    if queue.send_deadline(Message::Flush(written), until).is_ok() {
        let _ = is_written.recv_deadline(until);
    }
}

enum Message {
    Line(String),
    Flush(Sender<()>),
}

fn write(received: &Receiver<Message>) {
    for message in received {
        match message {
            Message::Line(line) => {
                let lost = LOST.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let lost = counted(lost, "message");
                    write_line(&format!(
                        "ftserve: {lost} lost: standard error was not read"
                    ));
                }
                write_line(&line);
            }
            Message::Flush(written) => drop(written),
        }
    }
}

static QUEUE: OnceLock<Sender<Message>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);
const LINES_MAX: usize = 256;
