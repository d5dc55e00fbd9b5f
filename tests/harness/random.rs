//! Seeded randomness.

use std::ops::RangeInclusive;
use std::time::Duration;

/// SplitMix64: every seed gives a good sequence, and it is ten lines.
pub struct Random(u64);

impl Random {
    /// The source of one round.
    pub fn of(seed: u64, round: u32) -> Random {
        let mut outer = Random(seed);
        Random(outer.next() ^ u64::from(round).wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// Any 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range; the bias of the remainder does not matter here.
    pub fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        let count = (range.end() - range.start()) as u64 + 1;
        range.start() + usize::try_from(self.next() % count).expect("within a usize")
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0..=from.len() - 1)]
    }

    /// `count` different numbers below `below`, in random order.
    pub fn sample(&mut self, count: usize, below: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..below).collect();
        for index in 0..count {
            numbers.swap(index, self.within(index..=below - 1));
        }
        numbers.truncate(count);
        numbers
    }

    /// A time up to `longest`, short ones as likely as long ones: its logarithm is uniform
    /// over four decades.
    pub fn wait(&mut self, longest: Duration) -> Duration {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        longest.mul_f64(10_f64.powf(-4.0 * unit))
    }
}
