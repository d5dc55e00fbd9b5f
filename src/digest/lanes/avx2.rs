//! Compresses blocks in registers of eight lanes.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::digest::lanes::steps::{Block, SINES, Words, take_blocks};

/// Compresses the first `count` blocks of each lane. Each of `REGISTERS` holds eight lanes.
#[target_feature(enable = "avx2")]
pub(super) fn compress<const LANES: usize, const REGISTERS: usize>(
    words: &mut Words<LANES>,
    lanes: &[&[Block]; LANES],
    count: usize,
) {
    const { assert!(LANES == 8 * REGISTERS) };
    let mut now = [[all(0); REGISTERS]; 4];
    for (now, words) in now.iter_mut().zip(&*words) {
        for (register, words) in now.iter_mut().zip(words.as_chunks::<8>().0) {
            *register = load(words);
        }
    }
    let mut lanes = lanes.map(|lane| lane[..count].iter());
    for _ in 0..count {
        let mut blocks = [[all(0); 16]; REGISTERS];
        for (blocks, lanes) in blocks.iter_mut().zip(lanes.as_chunks_mut::<8>().0) {
            let (mut first, mut second) = ([all(0); 8], [all(0); 8]);
            for (at, lane) in lanes.iter_mut().enumerate() {
                if let Some(block) = lane.next() {
                    let halves = block.as_chunks::<32>().0;
                    first[at] = load(&halves[0]);
                    second[at] = load(&halves[1]);
                }
            }
            blocks[..8].copy_from_slice(&transpose(first));
            blocks[8..].copy_from_slice(&transpose(second));
        }
        let word = |register: usize, index: usize| blocks[register][index];
        let early = |sum: __m256i| sum;
        take_blocks!(now, REGISTERS, word, early);
    }
    for (now, words) in now.iter().zip(words) {
        for (register, words) in now.iter().zip(words.as_chunks_mut().0) {
            store(words, *register);
        }
    }
}

/// Turns registers of one message each into registers of one word each.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let (mut pairs, mut fours, mut all) = (rows, rows, rows);
    for at in [0, 2, 4, 6] {
        pairs[at] = _mm256_unpacklo_epi32(rows[at], rows[at + 1]);
        pairs[at + 1] = _mm256_unpackhi_epi32(rows[at], rows[at + 1]);
    }
    for at in [0, 4] {
        fours[at] = _mm256_unpacklo_epi64(pairs[at], pairs[at + 2]);
        fours[at + 1] = _mm256_unpackhi_epi64(pairs[at], pairs[at + 2]);
        fours[at + 2] = _mm256_unpacklo_epi64(pairs[at + 1], pairs[at + 3]);
        fours[at + 3] = _mm256_unpackhi_epi64(pairs[at + 1], pairs[at + 3]);
    }
    for at in 0..4 {
        all[at] = _mm256_permute2x128_si256::<0x20>(fours[at], fours[at + 4]);
        all[at + 4] = _mm256_permute2x128_si256::<0x31>(fours[at], fours[at + 4]);
    }
    all
}

#[inline]
#[target_feature(enable = "avx2")]
fn load<T: Copy, const COUNT: usize>(from: &[T; COUNT]) -> __m256i {
    const { assert!(size_of::<[T; COUNT]>() == 32) };
    // SAFETY: 32 bytes can be read there, and the instruction needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(to: &mut [u32; 8], register: __m256i) {
    // SAFETY: 32 bytes can be written there, and the instruction needs no alignment.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), register) }
}

macro_rules! rotate_left {
    ($turn:literal, $value:expr) => {{
        let value = $value;
        let (left, right) = (
            _mm256_slli_epi32::<$turn>(value),
            _mm256_srli_epi32::<{ 32 - $turn }>(value),
        );
        _mm256_or_si256(left, right)
    }};
}
use rotate_left;

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn all(word: u32) -> __m256i {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose_by_last(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_and_si256(b, d), _mm256_andnot_si256(d, c))
}

#[inline]
#[target_feature(enable = "avx2")]
fn parity(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    _mm256_xor_si256(b, _mm256_xor_si256(c, d))
}

#[inline]
#[target_feature(enable = "avx2")]
fn last(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    _mm256_xor_si256(c, _mm256_or_si256(b, _mm256_xor_si256(d, all(u32::MAX))))
}
