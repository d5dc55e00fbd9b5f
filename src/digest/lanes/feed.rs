//! Keeps the lanes of a kernel busy: where one message ends, the next one begins.

use std::cmp::Reverse;

use crate::digest::Md5Stream;
use crate::digest::lanes::kernel::{Kernel, LANES_MAX};
use crate::digest::lanes::message::{digest, last_blocks};
use crate::digest::lanes::steps::{Block, START, Words};
use crate::wire::Md5Digest;

/// Returns the digests of complete messages, in their order.
pub fn hash_all(messages: &[&[u8]]) -> Vec<Md5Digest> {
    Kernel::best().hash_all(messages)
}

/// Appends bytes to each of these messages.
pub fn update_all(pieces: &mut [(&mut Md5Stream, &[u8])]) {
    Kernel::best().update_all(pieces);
}

impl Kernel {
    /// [`hash_all`] with this kernel.
    pub fn hash_all(self, messages: &[&[u8]]) -> Vec<Md5Digest> {
        // The longest first, so that none of them runs alone at the end.
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.sort_unstable_by_key(|at| Reverse(messages[*at].len()));
        let mut digests = vec![Md5Digest::from_bytes([0; 16]); messages.len()];
        let work = order.into_iter().map(|at| Lane::whole(at, messages[at]));
        feed(self, work, |at, words| {
            digests[at] = Md5Digest::from_bytes(digest(words));
        });
        digests
    }

    /// [`update_all`] with this kernel.
    pub fn update_all(self, pieces: &mut [(&mut Md5Stream, &[u8])]) {
        let mut work = Vec::with_capacity(pieces.len());
        for (at, (stream, bytes)) in pieces.iter_mut().enumerate() {
            let blocks = stream.message().append(bytes);
            work.push(Lane::part(at, *stream.message().words(), blocks));
        }
        feed(self, work.into_iter(), |at, words| {
            *pieces[at].0.message().words() = words;
        });
    }
}

/// One message, or a part of one.
struct Lane<'a> {
    /// Its index among the messages of the call.
    at: usize,
    words: [u32; 4],
    blocks: &'a [Block],
    /// Follow `blocks`, from `last_first` to `last_end`.
    last: [Block; 2],
    last_first: usize,
    last_end: usize,
}

impl<'a> Lane<'a> {
    fn whole(at: usize, bytes: &'a [u8]) -> Lane<'a> {
        let (blocks, rest) = bytes.as_chunks();
        let (last, last_end) = last_blocks(rest, bytes.len() as u64);
        Lane {
            last,
            last_end,
            ..Lane::part(at, START, blocks)
        }
    }

    fn part(at: usize, words: [u32; 4], blocks: &'a [Block]) -> Lane<'a> {
        Lane {
            at,
            words,
            blocks,
            last: [[0; 64]; 2],
            last_first: 0,
            last_end: 0,
        }
    }

    /// The next blocks that are contiguous in memory.
    fn next(&self) -> &[Block] {
        match self.blocks {
            [] => &self.last[self.last_first..self.last_end],
            blocks => blocks,
        }
    }

    fn skip(&mut self, count: usize) {
        match self.blocks {
            [] => self.last_first += count,
            blocks => self.blocks = &blocks[count..],
        }
    }
}

/// Compresses all blocks of all `work`, and reports the words that each ends with.
fn feed<'a>(
    kernel: Kernel,
    mut work: impl Iterator<Item = Lane<'a>>,
    mut done: impl FnMut(usize, [u32; 4]),
) {
    let mut words: Words<LANES_MAX> = [[0; LANES_MAX]; 4];
    // Lanes in use stay the first ones, so that a few of them need few registers.
    let mut lanes: Vec<Lane<'a>> = Vec::with_capacity(kernel.lanes());
    loop {
        while lanes.len() < kernel.lanes()
            && let Some(lane) = work.next()
        {
            for (words, word) in words.iter_mut().zip(lane.words) {
                words[lanes.len()] = word;
            }
            lanes.push(lane);
        }
        let shortest = lanes.iter().map(|lane| lane.next().len()).min();
        let Some(count) = shortest else { return };
        let mut blocks: [&[Block]; LANES_MAX] = [&[]; LANES_MAX];
        for (blocks, lane) in blocks.iter_mut().zip(&lanes) {
            *blocks = lane.next();
        }
        kernel.compress(&mut words, &mut blocks, lanes.len(), count);
        for at in (0..lanes.len()).rev() {
            lanes[at].skip(count);
            if lanes[at].next().is_empty() {
                done(lanes[at].at, words.map(|words| words[at]));
                lanes.swap_remove(at);
                for words in &mut words {
                    words[at] = words[lanes.len()];
                }
            }
        }
    }
}
