//! The md5 function (RFC 1321).
//!
//! Each of the 64 steps of a block needs the result of the previous step, so this chain alone
//! determines the time of a block. All other terms of a step are therefore added before the
//! previous result is there. A barrier keeps the compiler from adding them later.

use std::hint::black_box;

/// The state of the function within a message.
#[derive(Clone)]
pub(super) struct Md5 {
    state: State,
    /// The incomplete last block: as many bytes as `length` exceeds whole blocks.
    begun: [u8; BLOCK_BYTES],
    length: u64,
}

type State = [u32; 4];
type Block = [u8; BLOCK_BYTES];

impl Default for Md5 {
    fn default() -> Md5 {
        Md5 {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476],
            begun: [0; BLOCK_BYTES],
            length: 0,
        }
    }
}

impl Md5 {
    /// Appends bytes to the message. Whole blocks are read in place, without a copy.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        let begun = self.begun_bytes();
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if begun > 0 {
            let missing = bytes.len().min(BLOCK_BYTES - begun);
            let (head, rest) = bytes.split_at(missing);
            self.begun[begun..begun + missing].copy_from_slice(head);
            if begun + missing < BLOCK_BYTES {
                return;
            }
            compress(&mut self.state, &[self.begun]);
            bytes = rest;
        }
        let (blocks, tail) = bytes.as_chunks();
        compress(&mut self.state, blocks);
        self.begun[..tail.len()].copy_from_slice(tail);
    }

    /// Returns the digest of the message.
    pub(super) fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        let begun = self.begun_bytes();
        let mut last = [0; 2 * BLOCK_BYTES];
        last[..begun].copy_from_slice(&self.begun[..begun]);
        last[begun] = 0x80;
        let end = match begun < BLOCK_BYTES - LENGTH_BYTES {
            true => BLOCK_BYTES,
            false => 2 * BLOCK_BYTES,
        };
        last[end - LENGTH_BYTES..end].copy_from_slice(&bits.to_le_bytes());
        compress(&mut self.state, last[..end].as_chunks().0);
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    fn begun_bytes(&self) -> usize {
        (self.length % BLOCK_BYTES as u64) as usize
    }
}

fn compress(state: &mut State, blocks: &[Block]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for block in blocks {
        let word = |index: usize| {
            let at = 4 * (index % 16);
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let before = [a, b, c, d];
        macro_rules! four_steps {
            ($mix:ident, $first:literal, $stride:literal, $offset:literal, $turns:ident) => {
                let index = |step: usize| $stride * step + $offset;
                let [w, x, y, z] = $turns;
                a = step(a, b, $mix(b, c, d), $first, word(index($first)), w);
                d = step(d, a, $mix(a, b, c), $first + 1, word(index($first + 1)), x);
                c = step(c, d, $mix(d, a, b), $first + 2, word(index($first + 2)), y);
                b = step(b, c, $mix(c, d, a), $first + 3, word(index($first + 3)), z);
            };
        }
        four_steps!(choose, 0, 1, 0, TURNS_1);
        four_steps!(choose, 4, 1, 0, TURNS_1);
        four_steps!(choose, 8, 1, 0, TURNS_1);
        four_steps!(choose, 12, 1, 0, TURNS_1);
        four_steps!(choose_by_last, 16, 5, 1, TURNS_2);
        four_steps!(choose_by_last, 20, 5, 1, TURNS_2);
        four_steps!(choose_by_last, 24, 5, 1, TURNS_2);
        four_steps!(choose_by_last, 28, 5, 1, TURNS_2);
        four_steps!(parity, 32, 3, 5, TURNS_3);
        four_steps!(parity, 36, 3, 5, TURNS_3);
        four_steps!(parity, 40, 3, 5, TURNS_3);
        four_steps!(parity, 44, 3, 5, TURNS_3);
        four_steps!(last, 48, 7, 0, TURNS_4);
        four_steps!(last, 52, 7, 0, TURNS_4);
        four_steps!(last, 56, 7, 0, TURNS_4);
        four_steps!(last, 60, 7, 0, TURNS_4);
        a = a.wrapping_add(before[0]);
        b = b.wrapping_add(before[1]);
        c = c.wrapping_add(before[2]);
        d = d.wrapping_add(before[3]);
    }
    *state = [a, b, c, d];
}

/// `a` is the result of four steps ago, `b` of the previous one; `mixed` also uses the two
/// between.
#[inline(always)]
fn step(a: u32, b: u32, mixed: u32, number: usize, word: u32, turn: u32) -> u32 {
    // Measured: a quarter slower without the barrier, since one instruction then adds the
    // constant together with the value that depends on the previous step.
    let early = black_box(a.wrapping_add(word).wrapping_add(SINES[number]));
    early.wrapping_add(mixed).rotate_left(turn).wrapping_add(b)
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

const BLOCK_BYTES: usize = 64;
const LENGTH_BYTES: usize = 8;
const TURNS_1: [u32; 4] = [7, 12, 17, 22];
const TURNS_2: [u32; 4] = [5, 9, 14, 20];
const TURNS_3: [u32; 4] = [4, 11, 16, 23];
const TURNS_4: [u32; 4] = [6, 10, 15, 21];
/// `floor(2^32 * |sin(n + 1)|)` for step n.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee,
    0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be,
    0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa,
    0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed,
    0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c,
    0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05,
    0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039,
    0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1,
    0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use md5::Digest;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_messages_of_the_rfc_have_its_digests() {
        for (message, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "abcdefghijklmnopqrstuvwxyz",
                "c3fcd3d76192e4007dfb496cca67e13b",
            ),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "1234567890123456789012345678901234567890\
                 1234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            let mut md5 = Md5::default();
            md5.update(message.as_bytes());
            let found = md5.finish().map(|byte| format!("{byte:02x}")).concat();
            assert_eq!(found, digest, "{message}");
        }
    }

    #[test]
    fn every_length_around_the_ends_of_blocks_is_padded_right() {
        let message: Vec<u8> = (0..=255).collect();
        for length in 0..message.len() {
            let mut md5 = Md5::default();
            md5.update(&message[..length]);
            let expected: [u8; 16] = md5::Md5::digest(&message[..length]).into();
            assert_eq!(md5.finish(), expected, "{length}");
        }
    }

    proptest! {
        #[test]
        fn a_message_in_any_parts_has_the_digest_that_others_find(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
        ) {
            let mut md5 = Md5::default();
            for part in &parts {
                md5.update(part);
            }
            let expected: [u8; 16] = md5::Md5::digest(parts.concat()).into();
            prop_assert_eq!(md5.finish(), expected);
        }
    }
}
