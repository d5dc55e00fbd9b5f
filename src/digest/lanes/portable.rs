//! Compresses blocks in plain code: of several messages alternately, or of one.

use std::hint::black_box;

use crate::digest::lanes::steps::{Block, SINES, Words, take_blocks};

/// Compresses the first `count` blocks of each lane.
pub(super) fn compress<const LANES: usize>(
    words: &mut Words<LANES>,
    lanes: &[&[Block]; LANES],
    count: usize,
) {
    // A copy that the compiler can keep in registers.
    let mut now = *words;
    let lanes = lanes.map(|lane| &lane[..count]);
    for at in 0..count {
        let blocks = lanes.map(|lane| lane[at].as_chunks().0);
        let word = |lane: usize, index: usize| u32::from_le_bytes(blocks[lane][index]);
        // Measured: a tenth slower without the barrier for one message, since one instruction then
        // adds the constant together with the value that depends on the previous step. Several
        // messages are slower with it.
        let early = |sum: u32| if LANES == 1 { black_box(sum) } else { sum };
        take_blocks!(now, LANES, word, early);
    }
    *words = now;
}

macro_rules! rotate_left {
    ($turn:literal, $value:expr) => {
        $value.rotate_left($turn)
    };
}
use rotate_left;

#[inline(always)]
fn add(a: u32, b: u32) -> u32 {
    a.wrapping_add(b)
}

#[inline(always)]
fn all(word: u32) -> u32 {
    word
}

#[inline(always)]
fn choose(b: u32, c: u32, d: u32) -> u32 {
    d ^ (b & (c ^ d))
}

/// The bits are disjoint, so a sum replaces the or, and half of it does not wait for `b`.
#[inline(always)]
fn choose_by_last(b: u32, c: u32, d: u32) -> u32 {
    (c & !d).wrapping_add(b & d)
}

#[inline(always)]
fn parity(b: u32, c: u32, d: u32) -> u32 {
    b ^ (c ^ d)
}

#[inline(always)]
fn last(b: u32, c: u32, d: u32) -> u32 {
    c ^ (b | !d)
}
