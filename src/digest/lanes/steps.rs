//! The 64 steps of a block (RFC 1321), for registers of any width.

/// One block of a message.
pub(super) type Block = [u8; 64];
/// The four words of each message.
pub(super) type Words<const LANES: usize> = [[u32; LANES]; 4];

/// The words of a message of no bytes.
pub(super) const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Adds one block of each lane to `$words`, which are four arrays of `$registers` registers.
/// `$word` returns word i of the blocks in register n. `$early` may keep the compiler from
/// computing a sum later.
///
/// The calling module defines the operations: `add`, `all` (one word in every lane), `choose`,
/// `choose_by_last`, `parity`, `last` and the macro `rotate_left`. It is a macro because
/// a generic function is not compiled for the processor features of its caller.
macro_rules! take_blocks {
    ($words:ident, $registers:expr, $word:ident, $early:ident) => {
        let [mut a, mut b, mut c, mut d] = $words;
        macro_rules! step {
            ($a:ident, $b:ident, $c:ident, $d:ident, $mix:ident, $number:expr, $index:expr, $turn:literal) => {
                // While one register waits for its previous step, the others use the processor.
                for n in 0..$registers {
                    let constant = all(SINES[$number]);
                    // This sum does not depend on the previous step; `$b` does.
                    let sum = $early(add(add($a[n], constant), $word(n, ($index) % 16)));
                    let mixed = $mix($b[n], $c[n], $d[n]);
                    $a[n] = add(rotate_left!($turn, add(sum, mixed)), $b[n]);
                }
            };
        }
        macro_rules! four_steps {
            ($mix:ident, $first:literal, $stride:literal, $offset:literal, $turns:tt) => {
                four_steps!(@ $mix, $first, $stride, ($stride * $first + $offset), $turns);
            };
            (@ $mix:ident, $first:literal, $stride:literal, $index:tt,
                [$w:literal, $x:literal, $y:literal, $z:literal]) => {
                step!(a, b, c, d, $mix, $first, $index, $w);
                step!(d, a, b, c, $mix, $first + 1, $index + $stride, $x);
                step!(c, d, a, b, $mix, $first + 2, $index + 2 * $stride, $y);
                step!(b, c, d, a, $mix, $first + 3, $index + 3 * $stride, $z);
            };
        }
        four_steps!(choose, 0, 1, 0, [7, 12, 17, 22]);
        four_steps!(choose, 4, 1, 0, [7, 12, 17, 22]);
        four_steps!(choose, 8, 1, 0, [7, 12, 17, 22]);
        four_steps!(choose, 12, 1, 0, [7, 12, 17, 22]);
        four_steps!(choose_by_last, 16, 5, 1, [5, 9, 14, 20]);
        four_steps!(choose_by_last, 20, 5, 1, [5, 9, 14, 20]);
        four_steps!(choose_by_last, 24, 5, 1, [5, 9, 14, 20]);
        four_steps!(choose_by_last, 28, 5, 1, [5, 9, 14, 20]);
        four_steps!(parity, 32, 3, 5, [4, 11, 16, 23]);
        four_steps!(parity, 36, 3, 5, [4, 11, 16, 23]);
        four_steps!(parity, 40, 3, 5, [4, 11, 16, 23]);
        four_steps!(parity, 44, 3, 5, [4, 11, 16, 23]);
        four_steps!(last, 48, 7, 0, [6, 10, 15, 21]);
        four_steps!(last, 52, 7, 0, [6, 10, 15, 21]);
        four_steps!(last, 56, 7, 0, [6, 10, 15, 21]);
        four_steps!(last, 60, 7, 0, [6, 10, 15, 21]);
        for (before, now) in $words.iter_mut().zip([a, b, c, d]) {
            for n in 0..$registers {
                before[n] = add(before[n], now[n]);
            }
        }
    };
}
pub(super) use take_blocks;

/// `floor(2^32 * |sin(n + 1)|)` of the steps n.
#[rustfmt::skip]
pub(super) const SINES: [u32; 64] = [
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
