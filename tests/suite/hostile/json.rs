//! Answers whose JSON is broken, or not what a header is.

use super::answers::{CONTENT, FILE, answer, file_header, header};
use super::server::Act;
use super::visit::Expected::{self, Fetched, Refused};
use super::visit::{Case, case, play_small};
use crate::harness::md5_hex;

/// A server that sends this header, the content, and nothing more.
fn row(text: impl AsRef<[u8]>, expected: Expected) -> Case {
    let text = text.as_ref();
    let name = text[..text.len().min(160)].escape_ascii().to_string();
    case(
        name,
        vec![Act::Send(answer(text, CONTENT)), Act::Stall],
        expected,
    )
}

fn rows<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>, expected: Expected) -> Vec<Case> {
    texts.into_iter().map(|text| row(text, expected)).collect()
}

/// A right header with its three values replaced.
fn values(filename: &str, total_size: &str, md5: &str) -> String {
    format!(r#"{{"filename": {filename}, "total_size": {total_size}, "md5": {md5}}}"#)
}

fn quoted_md5() -> String {
    format!("\"{}\"", md5_hex(CONTENT))
}

#[test]
fn what_is_not_one_strict_object_is_a_protocol_violation() {
    let good = file_header(CONTENT, "");
    let more = |more: &str| file_header(CONTENT, more).into_bytes();
    let raw = |more: &[u8]| {
        let text = file_header(CONTENT, "");
        [&text.as_bytes()[..text.len() - 1], more, b"}"].concat()
    };
    let deep = |open: &str, close: &str, depth: usize| {
        more(&format!(
            r#", "x": {}{}"#,
            open.repeat(depth),
            close.repeat(depth)
        ))
    };
    let texts: Vec<Vec<u8>> = vec![
        b"{}".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"x\"".to_vec(),
        b"17".to_vec(),
        b" ".repeat(65_536),
        b"\0\0".to_vec(),
        good.as_bytes()[..good.len() - 1].to_vec(),
        format!("[{good}]").into_bytes(),
        format!(" {good}").into_bytes(),
        format!("{good}x").into_bytes(),
        format!("{good}\n").into_bytes(),
        format!("{good}{good}").into_bytes(),
        format!("\u{feff}{good}").into_bytes(),
        good.replace(',', ",,").into_bytes(),
        good.replace('}', ",}").into_bytes(),
        good.replace('"', "'").into_bytes(),
        deep("[", "]", 10_000),
        deep("{\"y\":", "}", 5_000),
        deep("[", "]", 17),
        more(r#", "x": NaN"#),
        more(r#", "x": 01"#),
        more(r#", "x": 1e999"#),
        more(r#", "x": "\ud800""#),
        more(r#", "x": "\udc00\ud800""#),
        more(r#", "\ud800": 1"#),
        more(", \"x\": \"\n\""),
        more(r#", "x": 1, "x": 1"#),
        more(r#", "x": {"y": 1, "y": 1}"#),
        more(
            r#", "mtime": "2026-11-20T10:11:12.123456789Z", "mtime": "2026-11-20T10:11:12.123456789Z""#,
        ),
        raw(b", \"x\": \"\xff\""),
        raw(b", \"x\": \"\xc3\x28\""),
        raw(b", \"\xed\xa0\x80\": 1"),
        raw(b", \"x\": [{\"y\": \"\x80\"}]"),
    ];
    play_small(rows(texts, Refused(7)));
}

#[test]
fn each_of_the_three_keys_must_be_there_once_and_of_its_type() {
    let size = CONTENT.len();
    let md5 = quoted_md5();
    let keys = [
        format!(r#""filename": "{FILE}""#),
        format!(r#""total_size": {size}"#),
        format!(r#""md5": {md5}"#),
    ];
    let joined = |keys: &[&String]| {
        let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        format!("{{{}}}", keys.join(", "))
    };
    let [filename, total_size, digest] = &keys;
    let mut texts = vec![
        joined(&[total_size, digest]),
        joined(&[filename, digest]),
        joined(&[filename, total_size]),
    ];
    texts.extend(
        keys.iter()
            .map(|twice| joined(&[filename, total_size, digest, twice])),
    );
    let name = format!("\"{FILE}\"");
    let size = size.to_string();
    for wrong in ["null", "true", "1", "1.5", "[]", "{}", "[\"file.bin\"]"] {
        texts.push(values(wrong, &size, &md5));
        texts.push(values(&name, &size, wrong));
    }
    for wrong in ["null", "true", "\"23\"", "23.0", "2.3e1", "[23]", "{}"] {
        texts.push(values(&name, wrong, &md5));
    }
    play_small(rows(texts, Refused(7)));
}

#[test]
fn sizes_that_mean_nothing_are_protocol_violations() {
    let (name, md5) = (format!("\"{FILE}\""), quoted_md5());
    let sizes = [
        "-1",
        "-0",
        "1.0",
        "1e3",
        "23e0",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "\"5\"",
        "NaN",
        "0x17",
        "023",
        "+23",
    ];
    let mut texts: Vec<String> = sizes.iter().map(|size| values(&name, size, &md5)).collect();
    for size in &sizes {
        texts.push(file_header(CONTENT, &format!(r#", "body_size": {size}"#)));
        texts.push(file_header(CONTENT, &format!(r#", "offset": {size}"#)));
    }
    play_small(rows(texts, Refused(7)));
}

#[test]
fn sizes_that_no_disk_holds_end_before_the_first_byte() {
    let sizes = [(1 << 53) + 1, 1 << 62, (1 << 63) - 1];
    let texts = sizes.map(|size: u64| header(FILE, size, &md5_hex(CONTENT), ""));
    play_small(rows(texts, Refused(9)));
}

#[test]
fn a_digest_is_32_lowercase_hex_digits() {
    let md5 = md5_hex(CONTENT);
    let wrong = [
        md5[..31].to_owned(),
        format!("{md5}0"),
        md5.to_uppercase(),
        format!("{}g", &md5[..31]),
        format!("{} ", &md5[..31]),
        format!("0x{}", &md5[..30]),
        "none".to_owned(),
    ];
    let texts = wrong.map(|md5| header(FILE, CONTENT.len() as u64, &md5, ""));
    play_small(rows(texts, Refused(7)));
}

#[test]
fn a_file_without_a_digest_is_never_put_in_place() {
    // There is nothing to verify it by, and the server had to make one.
    play_small(rows(
        [header(FILE, CONTENT.len() as u64, "", "")],
        Refused(7),
    ));
}

#[test]
fn known_keys_of_the_wrong_type_are_protocol_violations() {
    let more = [
        r#""type": 1"#,
        r#""type": "pipe""#,
        r#""mtime": 0"#,
        r#""mtime": "yesterday""#,
        r#""mtime": "2026-13-45T10:11:12.123456789Z""#,
        r#""mode": 420"#,
        r#""mode": "644""#,
        r#""mode": "04755""#,
        r#""mode": "0999""#,
        r#""match": "true""#,
        r#""error": "no""#,
        r#""error": null"#,
        r#""status": 1"#,
        r#""need": "x""#,
        r#""filename_b64": "%%%""#,
        r#""filename_b64": "ZmlsZS5iaW4""#,
    ];
    play_small(rows(
        more.map(|more| file_header(CONTENT, &format!(", {more}"))),
        Refused(7),
    ));
}

#[test]
fn odd_but_legal_headers_are_understood() {
    let size = CONTENT.len();
    let md5 = md5_hex(CONTENT);
    let more = |more: &str| file_header(CONTENT, &format!(", {more}"));
    let texts = vec![
        format!(r#"{{"md5":"{md5}","total_size":{size},"filename":"{FILE}"}}"#),
        format!(
            "{{\n\t\"filename\" :\r\n\"{FILE}\" , \"total_size\":{size} ,\"md5\": \"{md5}\"\n}}"
        ),
        format!(r#"{{"filename": "\u0066ile\u002ebin", "total_size": {size}, "md5": "{md5}"}}"#),
        format!(r#"{{"\u0066ilename": "{FILE}", "total_size": {size}, "md5": "{md5}"}}"#),
        more(r#""x": null"#),
        more(r#""x": [1, 2.5, -0, 1e3, 1e300, 123456789012345678901234567890]"#),
        more(r#""x": "\u0000\ud83d\ude00", "größe": "测试", "": """#),
        more(r#""x": {"filename": "../y", "total_size": 0, "md5": ""}"#),
        more(r#""Filename": "y", "FILENAME": 1"#),
        more(&format!(r#""x": {}{}"#, "[".repeat(15), "]".repeat(15))),
        more(r#""filename_b64": "ZmlsZS5iaW4=""#),
        more(&format!(r#""body_size": {size}"#)),
        more(r#""type": "file", "mode": "0640", "mtime": "2026-11-20T10:11:12.123456789Z""#),
        more(r#""mtime": "0001-01-01T00:00:00.000000000Z""#),
        more(r#""mtime": "9999-12-31T23:59:59.999999999Z""#),
        more(r#""mode": "0000""#),
        more(r#""match": false"#),
        more(r#""id": "nobody sent one""#),
        more(r#""need": []"#),
        more(r#""need": ["total_size", "md5"]"#),
        more(r#""sha256": 7, "blake3": "not looked at""#),
    ];
    play_small(rows(texts, Fetched));
}
