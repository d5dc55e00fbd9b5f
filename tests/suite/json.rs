//! The JSON of requests: strict in its grammar, exact in its types.

use crate::cases::{Case, Outcome, Then, play};
use crate::harness::frame;

use Outcome::{Closes, File, GoesOn, Header};

/// Cases that are one frame each; the text is its own name, cut if it is long.
fn cases<T: AsRef<[u8]>>(table: impl IntoIterator<Item = (T, Outcome)>) -> Vec<Case> {
    let case = |(text, outcome): (T, Outcome)| {
        let text = text.as_ref();
        let name = text[..text.len().min(120)].escape_ascii().to_string();
        (name, frame(text), Then::Waits, outcome)
    };
    table.into_iter().map(case).collect()
}

#[test]
fn what_is_not_one_strict_object_is_a_bad_frame() {
    let bad: [&[u8]; 39] = [
        b"null",
        b"[]",
        br#""x""#,
        b"17",
        b"  ",
        br#"{"#,
        br#"{"filename":"a.txt""#,
        br#"{"filename":"a.txt",}"#,
        br#"{"filename" "a.txt"}"#,
        br#"{filename:"a.txt"}"#,
        br#"{'filename':'a.txt'}"#,
        br#"{"filename":"a.txt"}x"#,
        br#"{"filename":"a.txt"} "#,
        b"{\"filename\":\"a.txt\"}\0",
        br#"{"filename":"a.txt"}{"filename":"a.txt"}"#,
        b"\xef\xbb\xbf{\"filename\":\"a.txt\"}",
        b"{\"filename\":\"\xff\"}",
        b"{\"filename\":\"a.txt\",\"x\":\"\xc3\x28\"}",
        b"{\"filename\":\"a.txt\",\"\xed\xa0\x80\":1}",
        b"{\"filename\":\"a.txt\",\"x\":[{\"y\":\"\x80\"}]}",
        br#"{"filename":"\ud800"}"#,
        br#"{"filename":"a.txt","x":"\udc00"}"#,
        br#"{"filename":"a.txt","x":["\ud800\ud800"]}"#,
        br#"{"filename":"a.txt","\ud83d":1}"#,
        b"{\"filename\":\"a\x01b\"}",
        br#"{"filename":"\x41"}"#,
        br#"{"filename":"a.txt","x":NaN}"#,
        br#"{"filename":"a.txt","offset":NaN}"#,
        br#"{"filename":"a.txt","offset":01}"#,
        br#"{"filename":"a.txt","offset":+1}"#,
        br#"{"filename":"a.txt","offset":0x10}"#,
        br#"{"filename":"a.txt","x":Infinity}"#,
        br#"{"filename":"a.txt","x":tru}"#,
        br#"{"filename":"a.txt","x":1e999}"#,
        br#"{"filename":"a.txt","filename":"a.txt"}"#,
        br#"{"filename":"a.txt","\u0066ilename":"a.txt"}"#,
        br#"{"filename":"a.txt","x":1,"x":2}"#,
        br#"{"filename":"a.txt","x":{"y":1,"y":2}}"#,
        br#"{"filename":"a.txt","x":[[{"y":1,"y":1}]]}"#,
    ];
    play(&cases(bad.map(|text| (text, Closes("bad_frame")))));
}

#[test]
fn odd_but_legal_json_is_served() {
    let legal: [&[u8]; 16] = [
        b"{ \"filename\" : \"a.txt\" }",
        b"{\n\t\"filename\":\r\n\"a.txt\"\n}",
        br#"{"filename":"\u0061.txt"}"#,
        br#"{"filename":"a\u002etxt"}"#,
        br#"{"\u0066ilename":"a.txt"}"#,
        br#"{"x":null,"filename":"a.txt"}"#,
        br#"{"filename":"a.txt","Filename":"b","FILENAME":1}"#,
        br#"{"filename":"a.txt","x":{"filename":"b"},"y":[1,2.5,-0,1e3,"\u0000"]}"#,
        br#"{"filename":"a.txt","x":"\ud83d\ude00"}"#,
        "{\"filename\":\"a.txt\",\"größe\":\"测试\u{202e}\"}".as_bytes(),
        br#"{"filename":"a.txt","":""}"#,
        br#"{"filename":"a.txt","x":123456789012345678901234567890}"#,
        br#"{"filename":"a.txt","x":-1.5e-300}"#,
        br#"{"filename":"a.txt","x":{},"y":{"x":{},"y":{}}}"#,
        br#"{"filename":"a.txt","total_size":"any","md5":[],"mtime":0}"#,
        br#"{"op":"get","filename":"a.txt","body_size":0,"offset":0}"#,
    ];
    // The last one is a range; its body and digest are the whole file's all the same.
    play(&cases(legal.map(|text| (text, File))));
}

#[test]
fn nesting_ends_at_sixteen() {
    // The request itself is the first level.
    let nested = |levels: usize| {
        let inner = levels - 1;
        format!(
            r#"{{"filename":"a.txt","x":{}{}}}"#,
            "[".repeat(inner),
            "]".repeat(inner)
        )
    };
    let objects = |levels: usize| {
        let inner = levels - 1;
        format!(
            r#"{{"filename":"a.txt","x":{}1{}}}"#,
            r#"{"y":"#.repeat(inner),
            "}".repeat(inner)
        )
    };
    play(&cases([
        (nested(15), File),
        (nested(16), File),
        (objects(16), File),
        (nested(17), Closes("bad_frame")),
        (objects(17), Closes("bad_frame")),
        (nested(10_000), Closes("bad_frame")),
        (objects(10_000), Closes("bad_frame")),
    ]));
}

#[test]
fn sixty_four_kib_of_spaces_are_no_request() {
    let inside = format!("{{{}}}", " ".repeat(65_534));
    play(&cases([
        (" ".repeat(65_536), Closes("bad_frame")),
        (inside, GoesOn("bad_request")),
    ]));
}

#[test]
fn a_missing_or_wrong_filename_is_a_bad_request() {
    play(&cases([
        ("{}", GoesOn("bad_request")),
        (r#"{"op":"get"}"#, GoesOn("bad_request")),
        (r#"{"op":"stat"}"#, GoesOn("bad_request")),
        (r#"{"filename":null}"#, GoesOn("bad_request")),
        (r#"{"filename":1}"#, GoesOn("bad_request")),
        (r#"{"filename":true}"#, GoesOn("bad_request")),
        (r#"{"filename":["a.txt"]}"#, GoesOn("bad_request")),
        (r#"{"filename":{"a.txt":1}}"#, GoesOn("bad_request")),
        (r#"{"filename_b64":1}"#, GoesOn("bad_request")),
        (r#"{"filename_b64":"!"}"#, GoesOn("bad_request")),
        // Base64 is padded; the twin without padding is refused.
        (r#"{"filename_b64":"YS50eHQ"}"#, GoesOn("bad_request")),
        (r#"{"filename_b64":"YS50eHQ="}"#, File),
        (r#"{"filename":"other","filename_b64":"YS50eHQ="}"#, File),
        (r#"{"op":"hello"}"#, Header),
        (r#"{"op":"stat","filename":"a.txt"}"#, Header),
        (r#"{"op":"stat","filename":""}"#, Header),
    ]));
}

#[test]
fn an_operation_is_a_known_word() {
    let mut table: Vec<(String, Outcome)> = vec![
        (
            r#"{"op":1,"filename":"a.txt"}"#.into(),
            GoesOn("bad_request"),
        ),
        (
            r#"{"op":null,"filename":"a.txt"}"#.into(),
            GoesOn("bad_request"),
        ),
        (
            r#"{"op":["get"],"filename":"a.txt"}"#.into(),
            GoesOn("bad_request"),
        ),
        (r#"{"op":"get","filename":"a.txt"}"#.into(), File),
        (r#"{"op":"\u0067et","filename":"a.txt"}"#.into(), File),
    ];
    for op in [
        "", "GET", "get ", "fly", "offer", "put", "pieces", "delete", "tree",
    ] {
        table.push((
            format!(r#"{{"op":"{op}","filename":"a.txt"}}"#),
            GoesOn("unsupported"),
        ));
    }
    play(&cases(table));
}

#[test]
fn sizes_are_digits_up_to_2_to_the_63_minus_1() {
    let wrong = [
        "-1",
        "-0",
        "1.0",
        "1e3",
        "0.5",
        "\"5\"",
        "null",
        "true",
        "[]",
        "{}",
        "9223372036854775808",
        "18446744073709551616",
    ];
    let mut table = Vec::new();
    for key in ["offset", "length"] {
        for value in wrong {
            table.push((
                format!(r#"{{"filename":"a.txt","{key}":{value}}}"#),
                GoesOn("bad_request"),
            ));
        }
    }
    for value in wrong {
        table.push((
            format!(r#"{{"filename":"a.txt","body_size":{value}}}"#),
            Closes("bad_frame"),
        ));
    }
    for value in ["10", "9007199254740993", "9223372036854775807"] {
        table.push((
            format!(r#"{{"filename":"a.txt","offset":{value}}}"#),
            GoesOn("bad_range"),
        ));
    }
    // A range that covers the whole file is cut at its end.
    for value in ["9", "10", "9007199254740993", "9223372036854775807"] {
        table.push((format!(r#"{{"filename":"a.txt","length":{value}}}"#), File));
    }
    table.push((
        r#"{"filename":"a.txt","body_size":9223372036854775807}"#.into(),
        Closes("bad_request"),
    ));
    table.push((r#"{"filename":"a.txt","body_size":0}"#.into(), File));
    play(&cases(table));
}

#[test]
fn an_md5_is_32_lowercase_hex_digits() {
    let content = crate::harness::md5_hex(crate::cases::CONTENT);
    let other = "0".repeat(32);
    let wrong = [
        format!("{content}0"),
        content[1..].to_owned(),
        content.to_uppercase(),
        format!("{}g", &content[1..]),
        String::new(),
        format!(" {}", &content[1..]),
        "ｆ".repeat(32),
    ];
    assert_ne!(content, content.to_uppercase());
    let mut table = Vec::new();
    for key in ["have_md5", "want_md5"] {
        for value in &wrong {
            table.push((
                format!(r#"{{"filename":"a.txt","{key}":"{value}"}}"#),
                GoesOn("bad_request"),
            ));
        }
        for value in ["null", "1", "true", "[]"] {
            table.push((
                format!(r#"{{"filename":"a.txt","{key}":{value}}}"#),
                GoesOn("bad_request"),
            ));
        }
    }
    table.push((
        format!(r#"{{"filename":"a.txt","have_md5":"{content}"}}"#),
        Header,
    ));
    table.push((
        format!(r#"{{"filename":"a.txt","have_md5":"{other}"}}"#),
        File,
    ));
    table.push((
        format!(r#"{{"filename":"a.txt","want_md5":"{content}"}}"#),
        File,
    ));
    table.push((
        format!(r#"{{"filename":"a.txt","want_md5":"{other}"}}"#),
        GoesOn("changed"),
    ));
    play(&cases(table));
}

#[test]
fn the_other_keys_have_their_types_too() {
    let id64 = "i".repeat(64);
    let mut table: Vec<(String, Outcome)> = vec![
        (
            r#"{"filename":"a.txt","fresh":1}"#.into(),
            GoesOn("bad_request"),
        ),
        (
            r#"{"filename":"a.txt","fresh":"true"}"#.into(),
            GoesOn("bad_request"),
        ),
        (
            r#"{"filename":"a.txt","fresh":null}"#.into(),
            GoesOn("bad_request"),
        ),
        (r#"{"filename":"a.txt","fresh":true}"#.into(), File),
        (r#"{"filename":"a.txt","fresh":false}"#.into(), File),
        (
            r#"{"filename":"a.txt","progress":0}"#.into(),
            GoesOn("bad_request"),
        ),
        (r#"{"filename":"a.txt","progress":true}"#.into(), File),
        (
            r#"{"op":"stat","filename":"a.txt","digests":"md5"}"#.into(),
            GoesOn("bad_request"),
        ),
        (
            r#"{"op":"stat","filename":"a.txt","digests":[1]}"#.into(),
            GoesOn("bad_request"),
        ),
        (
            r#"{"op":"stat","filename":"a.txt","digests":["md5"]}"#.into(),
            Header,
        ),
        (
            r#"{"op":"stat","filename":"a.txt","digests":[]}"#.into(),
            Header,
        ),
        (
            r#"{"op":"stat","filename":"a.txt","digests":["crc32"]}"#.into(),
            GoesOn("unsupported"),
        ),
        (
            r#"{"filename":"a.txt","need":"offset"}"#.into(),
            GoesOn("bad_request"),
        ),
        (
            r#"{"filename":"a.txt","need":[1]}"#.into(),
            GoesOn("bad_request"),
        ),
        (
            r#"{"filename":"a.txt","need":["telepathy"]}"#.into(),
            GoesOn("unsupported"),
        ),
        (
            r#"{"filename":"a.txt","need":["offset","telepathy"],"telepathy":1}"#.into(),
            GoesOn("unsupported"),
        ),
        (
            r#"{"filename":"a.txt","need":["offset","want_md5"]}"#.into(),
            File,
        ),
        (r#"{"filename":"a.txt","need":[]}"#.into(), File),
        (format!(r#"{{"filename":"a.txt","id":"{id64}"}}"#), File),
        (
            format!(r#"{{"filename":"a.txt","id":"{id64}x"}}"#),
            GoesOn("bad_request"),
        ),
        (r#"{"filename":"a.txt","id":""}"#.into(), File),
    ];
    for id in ["0", "-5", "9223372036854775807", "-9223372036854775808"] {
        table.push((format!(r#"{{"filename":"a.txt","id":{id}}}"#), File));
    }
    for id in ["1.5", "1e3", "true", "null", "[]", "{}"] {
        table.push((
            format!(r#"{{"filename":"a.txt","id":{id}}}"#),
            GoesOn("bad_request"),
        ));
    }
    play(&cases(table));
}
