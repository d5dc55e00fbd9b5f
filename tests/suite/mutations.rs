//! Good requests with a few bytes changed: whatever comes, the answers are whole.

use crate::cases::{CONTENT, FILE, NamedCase, PROMPT};
use crate::harness::{Answer, Scratch, TestServer, frame, noise};

/// A conversation of good requests, and where each of them ends.
fn conversation() -> (Vec<u8>, Vec<usize>) {
    let requests = [
        r#"{"filename":"a.txt","id":0}"#,
        r#"{"op":"stat","filename":"big","digests":["md5"],"id":1}"#,
        r#"{"op":"hello","id":2}"#,
        r#"{"filename":"big","offset":100,"length":70000,"id":3}"#,
        r#"{"filename":"none","id":4}"#,
        r#"{"filename_b64":"YS50eHQ=","progress":true,"need":["offset"],"id":5}"#,
        r#"{"filename":"a.txt","have_md5":"00000000000000000000000000000000","id":6}"#,
    ];
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for request in requests {
        bytes.extend(frame(request));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// Random numbers below a bound, the same ones for one seed.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        let byte = |_| self.0.next().expect("a die");
        u32::from_le_bytes(std::array::from_fn(byte)) as usize % bound
    }
}

/// One change of one kind, and the first byte it touches.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) -> usize {
    let at = dice.below(bytes.len());
    let length = 1 + dice.below(8).min(bytes.len() - at - 1);
    match dice.below(6) {
        0 => bytes[at] = dice.below(256) as u8,
        1 => bytes[at] ^= 1 << dice.below(8),
        2 => bytes.truncate(at + 1),
        3 => drop(bytes.drain(at..at + length)),
        4 => {
            let copy = bytes[at..at + length].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => {
            let odd = [0, 0xff, b'"', b'{', b'}', b'\\', b'-', b'9'];
            bytes.insert(at, odd[dice.below(odd.len())]);
        }
    }
    at
}

#[test]
fn what_was_whole_before_a_change_is_answered_and_all_answers_are_well_formed() {
    let root = Scratch::with_files([(FILE, CONTENT.to_vec()), ("big", noise(1, 300_000))]);
    let server = TestServer::plain(root.path());
    let (bytes, ends) = conversation();
    for seed in 0..1_000 {
        let _case = NamedCase(format!("the mutation of seed {seed}"));
        let mut dice = Dice(noise(seed, 256).into_iter());
        let mut changed = bytes.clone();
        let first = (0..1 + dice.below(3))
            .map(|_| mutate(&mut changed, &mut dice))
            .min();
        let first = first.expect("one change at least");
        let mut peer = server.connect();
        let _ = peer.try_send(&changed);
        peer.end_writing();
        let (received, _) = peer.read_to_end();
        assert!(peer.elapsed() < PROMPT, "ended after {:?}", peer.elapsed());
        // The very first bytes say whether this is a conversation in frames at all.
        if first < 5 {
            continue;
        }
        let answers = Answer::all_in(&received);
        let whole = ends.iter().filter(|&&end| end <= first).count();
        for (id, answer) in answers.iter().take(whole).enumerate() {
            assert_eq!(answer.size("id"), id as u64, "{}", answer.text);
        }
        assert!(
            answers.len() >= whole,
            "{} answers, {whole} requests were whole",
            answers.len()
        );
    }
    server.assert_alive();
    let stderr = server.stderr().text();
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn the_conversation_itself_is_answered_to_its_end() {
    let root = Scratch::with_files([(FILE, CONTENT.to_vec()), ("big", noise(1, 300_000))]);
    let server = TestServer::plain(root.path());
    let (bytes, ends) = conversation();
    let mut peer = server.connect();
    peer.send(bytes);
    peer.end_writing();
    let answers = Answer::all_in(&peer.read_to_end().0);
    let ids: Vec<u64> = answers.iter().map(|answer| answer.size("id")).collect();
    assert_eq!(ids, (0..ends.len() as u64).collect::<Vec<_>>());
    let codes: Vec<_> = answers.iter().filter_map(Answer::code).collect();
    assert_eq!(codes, ["not_found"]);
}
