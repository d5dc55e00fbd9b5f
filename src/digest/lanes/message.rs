//! One message that arrives in pieces.

use crate::digest::lanes::kernel::compress_alone;
use crate::digest::lanes::steps::{Block, START};

/// The state of the function within a message.
#[derive(Clone)]
pub(in crate::digest) struct Message {
    words: [u32; 4],
    /// The incomplete last block: as many bytes as `length` exceeds whole blocks.
    begun: Block,
    length: u64,
}

impl Default for Message {
    fn default() -> Message {
        Message {
            words: START,
            begun: [0; BLOCK_BYTES],
            length: 0,
        }
    }
}

impl Message {
    /// Appends bytes to the message. Whole blocks are read in place, without a copy.
    pub(in crate::digest) fn update(&mut self, bytes: &[u8]) {
        let blocks = self.append(bytes);
        compress_alone(&mut self.words, blocks);
    }

    /// Appends bytes and returns the whole blocks among them. The caller must compress these into
    /// [`Message::words`] before it uses the message again.
    pub(super) fn append<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [Block] {
        let begun = self.begun_bytes();
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if begun > 0 {
            let missing = bytes.len().min(BLOCK_BYTES - begun);
            let (head, rest) = bytes.split_at(missing);
            self.begun[begun..begun + missing].copy_from_slice(head);
            if begun + missing < BLOCK_BYTES {
                return &[];
            }
            compress_alone(&mut self.words, &[self.begun]);
            bytes = rest;
        }
        let (blocks, tail) = bytes.as_chunks();
        self.begun[..tail.len()].copy_from_slice(tail);
        blocks
    }

    pub(super) fn words(&mut self) -> &mut [u32; 4] {
        &mut self.words
    }

    /// Returns the digest of the message.
    pub(in crate::digest) fn finish(mut self) -> [u8; 16] {
        let (last, count) = last_blocks(&self.begun[..self.begun_bytes()], self.length);
        compress_alone(&mut self.words, &last[..count]);
        digest(self.words)
    }

    fn begun_bytes(&self) -> usize {
        (self.length % BLOCK_BYTES as u64) as usize
    }
}

/// The last one or two blocks of a message of this length: the `rest` behind its whole blocks, and
/// the padding.
pub(super) fn last_blocks(rest: &[u8], length: u64) -> ([Block; 2], usize) {
    let mut last = [[0; BLOCK_BYTES]; 2];
    let bytes = last.as_flattened_mut();
    bytes[..rest.len()].copy_from_slice(rest);
    bytes[rest.len()] = 0x80;
    let count = if rest.len() < BLOCK_BYTES - LENGTH_BYTES {
        1
    } else {
        2
    };
    let end = count * BLOCK_BYTES;
    let bits = length.wrapping_mul(8);
    bytes[end - LENGTH_BYTES..end].copy_from_slice(&bits.to_le_bytes());
    (last, count)
}

/// The digest that ends with these words.
pub(super) fn digest(words: [u32; 4]) -> [u8; 16] {
    let mut digest = [0; 16];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

pub(super) const BLOCK_BYTES: usize = 64;
const LENGTH_BYTES: usize = 8;
