use std::iter;

use md5::Digest;
use proptest::prelude::*;

use crate::digest::{Kernel, Md5Stream, hash_all, update_all};
use crate::wire::Md5Digest;

/// The digest that the crate `md-5` computes.
fn expected(message: &[u8]) -> Md5Digest {
    Md5Digest::from_bytes(md5::Md5::digest(message).into())
}

/// Bytes and numbers that are the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        iter::repeat_with(|| self.next().to_le_bytes()[7])
            .take(count)
            .collect()
    }
}

fn check(kernel: Kernel, messages: &[&[u8]]) {
    let found = kernel.hash_all(messages);
    assert_eq!(found.len(), messages.len());
    for (message, found) in messages.iter().zip(found) {
        let bytes = message.len();
        assert_eq!(found, expected(message), "{}, {bytes} bytes", kernel.name());
    }
}

#[test]
fn the_best_kernel_is_the_first_of_those_that_are_there() {
    let kernels = Kernel::available();
    assert_eq!(kernels.first(), Some(&Kernel::best()));
    assert_eq!(kernels.last().map(|kernel| kernel.name()), Some("portable"));
}

#[test]
fn the_messages_of_the_rfc_have_its_digests() {
    let digits = "1234567890".repeat(8);
    let messages = [
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
        (&digits, "57edf4a22be3c955ac49da2e2107b67a"),
    ];
    let all = messages.map(|(message, _)| message.as_bytes());
    for kernel in Kernel::available() {
        let found = kernel.hash_all(&all);
        assert_eq!(hash_all(&all), found);
        for ((message, digest), found) in messages.iter().zip(found) {
            assert_eq!(found.to_string(), *digest, "{}: {message}", kernel.name());
            assert_eq!(Md5Stream::digest(message.as_bytes()), found);
        }
    }
}

#[test]
fn every_length_to_1024_is_right_alone_and_beside_others() {
    let message = Noise(1).bytes(1_024);
    let all: Vec<&[u8]> = (0..=message.len()).map(|end| &message[..end]).collect();
    for kernel in Kernel::available() {
        check(kernel, &all);
        for message in &all {
            check(kernel, &[message]);
            // Fills each of the registers, and a part of each.
            for count in [2, 5, 8, 9, 16, 17, 32] {
                if message.len() % 64 >= 55 || message.len() % 64 <= 1 {
                    check(kernel, &vec![*message; count]);
                }
            }
        }
    }
}

#[test]
fn batches_of_every_count_are_right() {
    let mut noise = Noise(2);
    for kernel in Kernel::available() {
        for count in 0..=100 {
            let messages: Vec<Vec<u8>> = iter::repeat_with(|| {
                let bytes = noise.below(700);
                noise.bytes(bytes)
            })
            .take(count)
            .collect();
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            check(kernel, &messages);
        }
    }
}

#[test]
fn batches_of_very_unequal_lengths_are_right() {
    let mut noise = Noise(3);
    let bytes = noise.bytes(1 << 20);
    for kernel in Kernel::available() {
        for _ in 0..10 {
            let messages: Vec<&[u8]> = (0..70)
                .map(|_| {
                    let longest = 1 << (1 + noise.below(18));
                    let length = noise.below(longest);
                    let from = noise.below(bytes.len() - length);
                    &bytes[from..from + length]
                })
                .collect();
            check(kernel, &messages);
        }
    }
}

#[test]
fn a_million_messages_are_right() {
    let mut noise = Noise(4);
    let bytes = noise.bytes(1 << 16);
    for batch in 0..1_000 {
        let messages: Vec<&[u8]> = (0..1_000)
            .map(|_| {
                let length = noise.below(150);
                let from = noise.below(bytes.len() - length);
                &bytes[from..from + length]
            })
            .collect();
        let expected: Vec<Md5Digest> = messages.iter().map(|m| expected(m)).collect();
        for kernel in Kernel::available() {
            let found = kernel.hash_all(&messages);
            assert!(found == expected, "{}: batch {batch}", kernel.name());
        }
    }
}

#[test]
fn many_messages_in_pieces_are_what_they_are_whole() {
    let mut noise = Noise(5);
    for kernel in Kernel::available() {
        for streams in [1, 2, 3, 16, 17, 40] {
            let messages: Vec<Vec<u8>> = iter::repeat_with(|| {
                let bytes = noise.below(9_000);
                noise.bytes(bytes)
            })
            .take(streams)
            .collect();
            let mut running = vec![Md5Stream::new(); streams];
            let mut rest: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            while rest.iter().any(|rest| !rest.is_empty()) {
                let mut pieces = vec![];
                for (stream, rest) in running.iter_mut().zip(&mut rest) {
                    let (piece, after) = rest.split_at(noise.below(1_500).min(rest.len()));
                    *rest = after;
                    pieces.push((stream, piece));
                }
                kernel.update_all(&mut pieces);
            }
            for (stream, message) in running.into_iter().zip(&messages) {
                assert_eq!(stream.finish(), expected(message), "{}", kernel.name());
            }
        }
    }
}

#[test]
fn pieces_in_lanes_and_alone_make_one_message() {
    let message = Noise(6).bytes(5_000);
    let (first, rest) = message.split_at(77);
    let (second, third) = rest.split_at(4_000);
    let mut streams = [Md5Stream::new(), Md5Stream::new()];
    for stream in &mut streams {
        stream.update(first);
    }
    update_all(&mut streams.each_mut().map(|stream| (stream, second)));
    for mut stream in streams {
        stream.update(third);
        assert_eq!(stream.finish(), expected(&message));
    }
}

#[test]
fn every_length_around_the_ends_of_blocks_is_padded_right() {
    let message: Vec<u8> = (0..=255).collect();
    for length in 0..message.len() {
        let message = &message[..length];
        assert_eq!(Md5Stream::digest(message), expected(message), "{length}");
    }
}

proptest! {
    #[test]
    fn a_message_in_any_parts_has_the_digest_that_others_find(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
    ) {
        let mut stream = Md5Stream::new();
        for part in &parts {
            stream.update(part);
        }
        prop_assert_eq!(stream.finish(), expected(&parts.concat()));
    }
}
