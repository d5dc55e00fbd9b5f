//! The messages of a server on standard error. One thread writes them, so that a reader that stops
//! reading cannot block a response, a reload or the end.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::cli::terminal::{counted, write_line};

/// Starts the thread. From then on [`queue`] takes lines.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn start() -> io::Result<()> {
    let (sender, received) = bounded(LINES_MAX);
    let named = thread::Builder::new().name("ft-messages".to_owned());
    named.spawn(move || write(&received))?;
    let _ = QUEUE.set(sender);
    Ok(())
}

/// Queues a line, or counts it as lost if the queue is full. Returns `false` if the thread was not
/// started.
pub(super) fn queue(line: &str) -> bool {
    let Some(queue) = QUEUE.get() else {
        return false;
    };
    if queue
        .try_send(QueuedMessage::Line(line.to_owned()))
        .is_err()
    {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
    true
}

/// Waits until all queued lines are written, at most this long.
pub(super) fn flush(within: Duration) {
    let Some(queue) = QUEUE.get() else {
        return;
    };
    let until = Instant::now() + within;
    let (written, is_written) = bounded(1);
    if queue
        .send_deadline(QueuedMessage::Flush(written), until)
        .is_ok()
    {
        let _ = is_written.recv_deadline(until);
    }
}

enum QueuedMessage {
    Line(String),
    Flush(Sender<()>),
}

fn write(received: &Receiver<QueuedMessage>) {
    for message in received {
        match message {
            QueuedMessage::Line(line) => {
                let lost = LOST.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let lost = counted(lost, "message");
                    write_line(&format!(
                        "ftserve: {lost} lost: standard error was not read"
                    ));
                }
                write_line(&line);
            }
            QueuedMessage::Flush(written) => drop(written),
        }
    }
}

static QUEUE: OnceLock<Sender<QueuedMessage>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);
const LINES_MAX: usize = 256;
