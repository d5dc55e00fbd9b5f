//! Answers written by hand: right ones, and the parts that wrong ones are made of.

use serde_json::Value;

use super::server::{Act, Request};
use crate::harness::{frame, md5_hex, noise};

/// The name that the tables ask for.
pub(crate) const FILE: &str = "file.bin";
/// What an older file of that name holds.
pub(crate) const OLD: &[u8] = b"the old file, whole\n";
/// What the server promises in the tables.
pub(crate) const CONTENT: &[u8] = b"the new file, verified\n";

/// The text of a header: the three keys, then `more`, which is empty or begins with a comma.
pub(crate) fn header(name: &str, total_size: u64, md5: &str, more: &str) -> String {
    let name = Value::from(name);
    format!(r#"{{"filename": {name}, "total_size": {total_size}, "md5": "{md5}"{more}}}"#)
}

/// The header of a file with this content, asked for as [`FILE`], with further keys.
pub(crate) fn file_header(content: &[u8], more: &str) -> String {
    header(FILE, content.len() as u64, &md5_hex(content), more)
}

/// An error's header.
pub(crate) fn error_header(code: &str, message: &str) -> String {
    let (code, message) = (Value::from(code), Value::from(message));
    header(
        FILE,
        0,
        "",
        &format!(r#", "error": {{"code": {code}, "message": {message}}}"#),
    )
}

/// A frame with this text, and the bytes that follow it.
pub(crate) fn answer(text: impl AsRef<[u8]>, body: &[u8]) -> Vec<u8> {
    [&frame(text), body].concat()
}

/// This content as it should be answered to a plain `get`.
pub(crate) fn good_answer(content: &[u8]) -> Vec<u8> {
    answer(file_header(content, ""), content)
}

/// More than is ever kept in memory before it is verified.
pub(crate) fn large() -> Vec<u8> {
    noise(7, 1_500_000)
}

/// What a server that means well answers about a file with this content.
pub(crate) fn honest(content: &[u8], request: &Request) -> Vec<Act> {
    vec![Act::Send(honest_bytes(content, request))]
}

/// The bytes of [`honest`].
pub(crate) fn honest_bytes(content: &[u8], request: &Request) -> Vec<u8> {
    let (name, size, md5) = (
        request.str("filename"),
        content.len() as u64,
        md5_hex(content),
    );
    let refused = |code: &str| {
        let more = format!(r#", "error": {{"code": "{code}", "message": "no"}}"#);
        answer(header(name, 0, "", &more), b"")
    };
    match request.str("op") {
        "" | "get" => {}
        "stat" => {
            return answer(
                header(name, size, &md5, r#", "body_size": 0, "type": "file""#),
                b"",
            );
        }
        _ => return refused("unsupported"),
    }
    if request.str("have_md5") == md5 {
        return answer(
            header(name, size, &md5, r#", "body_size": 0, "match": true"#),
            b"",
        );
    }
    if !["", &md5].contains(&request.str("want_md5")) {
        return refused("changed");
    }
    let is_range = request.size("length").map(|_| 0);
    let Some(offset) = request.size("offset").or(is_range) else {
        return answer(header(name, size, &md5, ""), content);
    };
    let Some(rest) = usize::try_from(offset)
        .ok()
        .and_then(|offset| content.get(offset..))
    else {
        return refused("bad_range");
    };
    let length = request.size("length").unwrap_or(u64::MAX);
    let rest = &rest[..rest
        .len()
        .min(usize::try_from(length).unwrap_or(usize::MAX))];
    let more = format!(r#", "body_size": {}, "offset": {offset}"#, rest.len());
    answer(header(name, size, &md5, &more), rest)
}
