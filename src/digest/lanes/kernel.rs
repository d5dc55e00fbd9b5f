//! Selects the code that compresses blocks.
#![allow(unsafe_code)]

use crate::digest::lanes::portable;
use crate::digest::lanes::steps::{Block, Words};
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes::{avx2, avx512, avx512_one};

/// Code that compresses blocks and that this processor can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Kernel {
    /// The fastest one here.
    pub fn best() -> Kernel {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Kernel(Kind::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Kernel(Kind::Avx2);
            }
        }
        Kernel(Kind::Portable)
    }

    /// All kernels that this processor can run, the fastest first.
    pub fn available() -> Vec<Kernel> {
        let mut kernels = vec![Kernel::best()];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            kernels.push(Kernel(Kind::Avx2));
        }
        kernels.push(Kernel(Kind::Portable));
        kernels.dedup();
        kernels
    }

    /// Its name, to be printed.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "AVX2",
            Kind::Portable => "portable",
        }
    }

    /// The number of messages that it compresses at once.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => 32,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 16,
            Kind::Portable => 4,
        }
    }

    /// Compresses the first `count` blocks of the first `used` lanes, each of which has as many.
    /// The words of the other lanes become meaningless.
    pub(super) fn compress(
        self,
        words: &mut Words<LANES_MAX>,
        lanes: &mut [&[Block]; LANES_MAX],
        used: usize,
        count: usize,
    ) {
        if used == 1 {
            let mut one = words.map(|word| word[0]);
            self.compress_one(&mut one, &lanes[0][..count]);
            for (words, word) in words.iter_mut().zip(one) {
                words[0] = word;
            }
            return;
        }
        // An unused lane repeats the first one.
        let first = lanes[0];
        lanes[used..].fill(first);
        match (self.0, used) {
            // SAFETY: a kernel of this kind is constructed only where the processor has AVX-512F.
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx512, ..=16) => with(words, lanes, |words, lanes| unsafe {
                avx512::compress::<16, 1>(words, lanes, count)
            }),
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx512, _) => with(words, lanes, |words, lanes| unsafe {
                avx512::compress::<32, 2>(words, lanes, count)
            }),
            // SAFETY: a kernel of this kind is constructed only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx2, ..=8) => with(words, lanes, |words, lanes| unsafe {
                avx2::compress::<8, 1>(words, lanes, count)
            }),
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx2, _) => with(words, lanes, |words, lanes| unsafe {
                avx2::compress::<16, 2>(words, lanes, count)
            }),
            (Kind::Portable, _) => with(words, lanes, |words, lanes| {
                portable::compress::<4>(words, lanes, count);
            }),
        }
    }

    /// Compresses blocks of one message.
    pub(super) fn compress_one(self, words: &mut [u32; 4], blocks: &[Block]) {
        match self.0 {
            // SAFETY: a kernel of this kind is constructed only where the processor has AVX-512F and
            // AVX-512VL.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512_one::compress(words, blocks) },
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::Portable => {
                let mut one = words.map(|word| [word]);
                portable::compress::<1>(&mut one, &[blocks], blocks.len());
                *words = one.map(|[word]| word);
            }
            // Our own code is measured to be faster on x86-64 only.
            #[cfg(not(target_arch = "x86_64"))]
            Kind::Portable => md5::block_api::compress(words, blocks),
        }
    }
}

/// Compresses blocks of one message with the fastest code of this build.
pub(super) fn compress_alone(words: &mut [u32; 4], blocks: &[Block]) {
    // A debug build optimises dependencies only, and our code is a hundred times slower without.
    if cfg!(debug_assertions) {
        md5::block_api::compress(words, blocks);
    } else {
        Kernel::best().compress_one(words, blocks);
    }
}

/// Calls `compress` with the first `LANES` lanes.
fn with<const LANES: usize>(
    words: &mut Words<LANES_MAX>,
    lanes: &[&[Block]; LANES_MAX],
    compress: impl FnOnce(&mut Words<LANES>, &[&[Block]; LANES]),
) {
    let Some(lanes) = lanes.first_chunk() else {
        return;
    };
    let mut taken = [[0; LANES]; 4];
    for (taken, words) in taken.iter_mut().zip(&*words) {
        taken.copy_from_slice(&words[..LANES]);
    }
    compress(&mut taken, lanes);
    for (words, taken) in words.iter_mut().zip(taken) {
        words[..LANES].copy_from_slice(&taken);
    }
}

/// The most lanes of any kernel.
pub(super) const LANES_MAX: usize = 32;
