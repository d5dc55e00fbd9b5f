//! Runs every parser of peers' bytes on arbitrary input.

use crate::wire::{
    Call, ERROR_MESSAGE_BYTES_MAX, FRAME_BYTES_MAX, LENGTH_BYTES, ListEntry, Md5Digest,
    ReceivedRequest, ResourcePath, ResponseHeader, TextEvent, TextReader, Timestamp, classify,
    split_frame,
};

/// Runs every parser of this floor on `bytes` and asserts what must hold for any input: no panic,
/// no read beyond the end, the same result for any division into reads, and the same value after
/// writing and reading again. For property tests and fuzzers.
///
/// # Panics
/// If an assertion fails.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(Some(frame)) = split_frame(bytes) {
        assert_eq!(frame.bytes, LENGTH_BYTES + frame.json.len());
        assert_eq!(frame.json, &bytes[LENGTH_BYTES..frame.bytes]);
        for cut in 0..frame.bytes.min(64) {
            assert_eq!(
                split_frame(&bytes[..cut]),
                Ok(None),
                "a prefix of a frame is legal"
            );
        }
        reads_its_own_request(frame.json);
        reads_its_own_header(frame.json);
    }
    reads_its_own_request(bytes);
    reads_its_own_header(bytes);
    reads_its_own_entry(bytes);
    decides_once(bytes);
    reads_lines_alike_however_they_are_cut(bytes);
    if let Ok(path) = ResourcePath::parse(bytes) {
        assert_eq!(path.parts().collect::<Vec<_>>().join(&b'/'), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Some(time) = Timestamp::parse(text) {
            assert_eq!(
                time.to_text().as_ref().map(<[u8; 30]>::as_slice),
                Some(bytes)
            );
        }
        if let Some(digest) = Md5Digest::parse(text) {
            assert_eq!(digest.to_hex(), bytes);
        }
    }
}

fn reads_its_own_request(json: &[u8]) {
    let Ok(ReceivedRequest {
        id,
        action: Ok(action),
        ..
    }) = ReceivedRequest::parse(json)
    else {
        return;
    };
    let call = Call { action, id };
    let mut out = Vec::new();
    call.encode(&mut out);
    let frame = split_frame(&out)
        .expect("our frame is legal")
        .expect("our frame is whole");
    let again = ReceivedRequest::parse(frame.json).expect("our request is strict JSON");
    assert_eq!(again.action, Ok(call.action));
    assert_eq!((again.id, again.body_size), (call.id, 0));
}

fn reads_its_own_header(json: &[u8]) {
    let Ok(mut header) = ResponseHeader::parse(json) else {
        return;
    };
    // A longer message is cut when written, so it does not come back.
    let sentence = header.error.as_ref().map_or(0, |error| error.message.len());
    if sentence > ERROR_MESSAGE_BYTES_MAX / 6 {
        header.error = None;
    }
    let mut out = Vec::new();
    header.encode(&mut out);
    assert_eq!(
        ResponseHeader::parse(&out[LENGTH_BYTES..]).as_ref(),
        Ok(&header)
    );
    // Escapes may double the length of 64 KiB from a peer.
    if out.len() <= LENGTH_BYTES + FRAME_BYTES_MAX {
        assert_eq!(
            split_frame(&out).map(|frame| frame.map(|frame| frame.bytes)),
            Ok(Some(out.len()))
        );
    }
}

fn reads_its_own_entry(json: &[u8]) {
    let Ok(mut entry) = ListEntry::parse(json) else {
        return;
    };
    // A longer message is cut when written, so it does not come back.
    let sentence = entry.error.as_ref().map_or(0, |error| error.message.len());
    if sentence > ERROR_MESSAGE_BYTES_MAX / 6 {
        entry.error = None;
    }
    let mut out = Vec::new();
    entry.encode(&mut out);
    assert_eq!(ListEntry::parse(&out[..out.len() - 1]).as_ref(), Ok(&entry));
}

fn decides_once(bytes: &[u8]) {
    let mut decided = None;
    for cut in 0..=bytes.len().min(16) {
        let spelling = classify(&bytes[..cut], false);
        assert!(
            decided.is_none() || spelling == decided,
            "{cut} bytes change the decision"
        );
        assert!(
            cut < 12 || spelling.is_some(),
            "undecided after {cut} bytes"
        );
        assert!(
            classify(&bytes[..cut], true).is_some(),
            "undecided at the end"
        );
        decided = spelling;
    }
}

fn reads_lines_alike_however_they_are_cut(bytes: &[u8]) {
    let whole = lines(bytes, bytes.len().max(1));
    // Cut into single bytes too, but limit the reads so that long inputs take no quadratic time.
    for step in [1, 7].map(|step| step + bytes.len() / 512) {
        assert_eq!(lines(bytes, step), whole, "{step} bytes at a time");
    }
}

/// The events of a [`TextReader`] for `bytes` that arrive in pieces of `step` bytes.
fn lines(bytes: &[u8], step: usize) -> Vec<TextEvent> {
    let mut reader = TextReader::default();
    let mut events = Vec::new();
    let mut start = 0;
    let ends = (step..bytes.len()).step_by(step).map(|end| (end, false));
    for (end, ended) in ends.chain([(bytes.len(), true)]) {
        loop {
            let (used, event) = reader.next(&bytes[start..end], ended);
            start += used;
            assert!(start <= end, "no more is used than there is");
            match event {
                Some(event) => events.push(event),
                None => break,
            }
        }
    }
    assert_eq!(start, bytes.len(), "nothing is left at the end");
    events
}
