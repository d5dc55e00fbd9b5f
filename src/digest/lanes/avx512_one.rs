//! Compresses blocks of one message, in the lowest lane of short registers.
//!
//! AVX-512 mixes three words in one instruction and rotates in one, so the chain of a step is four
//! instructions long. Plain code needs five.

use std::arch::x86_64::*;

use crate::digest::lanes::avx512::{B_CHOOSES, LAST, PARITY};
use crate::digest::lanes::steps::{Block, SINES, take_blocks};

/// Compresses all blocks.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn compress(words: &mut [u32; 4], blocks: &[Block]) {
    let mut now = [[all(0)]; 4];
    for (now, word) in now.iter_mut().zip(*words) {
        *now = [all(word)];
    }
    for block in blocks {
        let block = block.as_chunks().0;
        let word = |_: usize, index: usize| all(u32::from_le_bytes(block[index]));
        let early = |sum: __m128i| sum;
        take_blocks!(now, 1, word, early);
    }
    for (now, word) in now.iter().zip(words) {
        *word = _mm_cvtsi128_si32(now[0]).cast_unsigned();
    }
}

macro_rules! rotate_left {
    ($turn:literal, $value:expr) => {
        _mm_rol_epi32::<$turn>($value)
    };
}
use rotate_left;

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn add(a: __m128i, b: __m128i) -> __m128i {
    _mm_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn all(word: u32) -> __m128i {
    _mm_cvtsi32_si128(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn choose(b: __m128i, c: __m128i, d: __m128i) -> __m128i {
    _mm_ternarylogic_epi32::<B_CHOOSES>(b, c, d)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn choose_by_last(b: __m128i, c: __m128i, d: __m128i) -> __m128i {
    _mm_ternarylogic_epi32::<B_CHOOSES>(d, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn parity(b: __m128i, c: __m128i, d: __m128i) -> __m128i {
    _mm_ternarylogic_epi32::<PARITY>(b, c, d)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn last(b: __m128i, c: __m128i, d: __m128i) -> __m128i {
    _mm_ternarylogic_epi32::<LAST>(b, c, d)
}
