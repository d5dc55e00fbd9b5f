//! Compresses blocks in registers of sixteen lanes.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::digest::lanes::steps::{Block, SINES, Words, take_blocks};

/// Compresses the first `count` blocks of each lane. Each of `REGISTERS` holds sixteen lanes.
#[target_feature(enable = "avx512f")]
pub(super) fn compress<const LANES: usize, const REGISTERS: usize>(
    words: &mut Words<LANES>,
    lanes: &[&[Block]; LANES],
    count: usize,
) {
    const { assert!(LANES == 16 * REGISTERS) };
    let mut now = [[all(0); REGISTERS]; 4];
    for (now, words) in now.iter_mut().zip(&*words) {
        for (register, words) in now.iter_mut().zip(words.as_chunks::<16>().0) {
            *register = load(words);
        }
    }
    let mut lanes = lanes.map(|lane| lane[..count].iter());
    for _ in 0..count {
        let mut blocks = [[all(0); 16]; REGISTERS];
        for (blocks, lanes) in blocks.iter_mut().zip(lanes.as_chunks_mut::<16>().0) {
            for (block, lane) in blocks.iter_mut().zip(lanes) {
                if let Some(next) = lane.next() {
                    *block = load(next);
                }
            }
            *blocks = transpose(*blocks);
        }
        let word = |register: usize, index: usize| blocks[register][index];
        let early = |sum: __m512i| sum;
        take_blocks!(now, REGISTERS, word, early);
    }
    for (now, words) in now.iter().zip(words) {
        for (register, words) in now.iter().zip(words.as_chunks_mut().0) {
            store(words, *register);
        }
    }
}

/// Turns registers of one block each into registers of one word each.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let (mut pairs, mut fours, mut all) = (rows, rows, rows);
    for at in [0, 2, 4, 6, 8, 10, 12, 14] {
        pairs[at] = _mm512_unpacklo_epi32(rows[at], rows[at + 1]);
        pairs[at + 1] = _mm512_unpackhi_epi32(rows[at], rows[at + 1]);
    }
    for at in [0, 4, 8, 12] {
        fours[at] = _mm512_unpacklo_epi64(pairs[at], pairs[at + 2]);
        fours[at + 1] = _mm512_unpackhi_epi64(pairs[at], pairs[at + 2]);
        fours[at + 2] = _mm512_unpacklo_epi64(pairs[at + 1], pairs[at + 3]);
        fours[at + 3] = _mm512_unpackhi_epi64(pairs[at + 1], pairs[at + 3]);
    }
    // Quarter q of register `4 * group + word` of `fours` holds word `4 * q + word` of the four
    // blocks of the group.
    for word in 0..4 {
        let groups = [0, 4, 8, 12].map(|group| fours[group + word]);
        let even_first = _mm512_shuffle_i32x4::<EVEN>(groups[0], groups[1]);
        let even_second = _mm512_shuffle_i32x4::<EVEN>(groups[2], groups[3]);
        let odd_first = _mm512_shuffle_i32x4::<ODD>(groups[0], groups[1]);
        let odd_second = _mm512_shuffle_i32x4::<ODD>(groups[2], groups[3]);
        all[word] = _mm512_shuffle_i32x4::<EVEN>(even_first, even_second);
        all[word + 4] = _mm512_shuffle_i32x4::<EVEN>(odd_first, odd_second);
        all[word + 8] = _mm512_shuffle_i32x4::<ODD>(even_first, even_second);
        all[word + 12] = _mm512_shuffle_i32x4::<ODD>(odd_first, odd_second);
    }
    all
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load<T: Copy, const COUNT: usize>(from: &[T; COUNT]) -> __m512i {
    const { assert!(size_of::<[T; COUNT]>() == 64) };
    // SAFETY: 64 bytes can be read there, and the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(to: &mut [u32; 16], register: __m512i) {
    // SAFETY: 64 bytes can be written there, and the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), register) }
}

macro_rules! rotate_left {
    ($turn:literal, $value:expr) => {
        _mm512_rol_epi32::<$turn>($value)
    };
}
use rotate_left;

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn all(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
fn choose(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<B_CHOOSES>(b, c, d)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn choose_by_last(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<B_CHOOSES>(d, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn parity(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<PARITY>(b, c, d)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn last(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<LAST>(b, c, d)
}

/// Quarters 0 and 2 of two registers.
const EVEN: i32 = 0b10_00_10_00;
/// Quarters 1 and 3 of two registers.
const ODD: i32 = 0b11_01_11_01;
/// Bit `4 * b + 2 * c + d` is the result of `choose`, `parity` or `last` for these three bits.
pub(super) const B_CHOOSES: i32 = 0b1100_1010;
pub(super) const PARITY: i32 = 0b1001_0110;
pub(super) const LAST: i32 = 0b0011_1001;
