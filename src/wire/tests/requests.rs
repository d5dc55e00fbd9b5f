use serde_json::{Value, json};

use crate::wire::{
    Action, ByteRange, Call, ErrorCode, GetRequest, ListRequest, Md5Digest, PATH_BYTES_MAX,
    ReceivedRequest, RequestId, ResourcePath, RunRequest, StatRequest, WireError,
};

const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn read(json: &str) -> ReceivedRequest {
    ReceivedRequest::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn get(json: &str) -> GetRequest {
    match read(json).action {
        Ok(Action::Get(get)) => get,
        other => panic!("{json} is {other:?}"),
    }
}

fn code(json: &str) -> ErrorCode {
    match read(json).action {
        Err(refusal) => refusal.code,
        Ok(action) => panic!("{json} is {action:?}"),
    }
}

fn path(name: &[u8]) -> ResourcePath {
    ResourcePath::parse(name).unwrap()
}

/// A `get` of `a` with one more key.
fn with(key: &str, value: &str) -> String {
    format!(r#"{{"filename":"a","{key}":{value}}}"#)
}

#[test]
fn reads_every_key_of_a_get() {
    let json = format!(
        r#"{{"progress":true,"fresh":true,"want_md5":"{MD5}","length":7,"offset":5,
            "id":"x","filename":"a/b","op":"get","body_size":0,"digests":["sha256"]}}"#
    );
    let request = read(&json);
    assert_eq!(
        (request.name.as_slice(), request.id),
        (&b"a/b"[..], Some(RequestId::Text("x".into())))
    );
    let expected = GetRequest {
        path: path(b"a/b"),
        range: Some(ByteRange {
            offset: 5,
            length: Some(7),
        }),
        have_md5: None,
        want_md5: Md5Digest::parse(MD5),
        fresh: true,
        progress: true,
    };
    assert_eq!(request.action, Ok(Action::Get(expected)));
}

#[test]
fn accepts_either_half_of_a_range() {
    assert_eq!(get(&with("x", "1")).range, None);
    let range = |offset, length| Some(ByteRange { offset, length });
    assert_eq!(get(&with("offset", "0")).range, range(0, None));
    assert_eq!(get(&with("offset", "9")).range, range(9, None));
    assert_eq!(get(&with("length", "0")).range, range(0, Some(0)));
}

#[test]
fn reads_stat_and_hello() {
    let stat = |name: &[u8], digest| {
        Ok(Action::Stat(StatRequest {
            path: path(name),
            digest,
            fresh: false,
            progress: false,
        }))
    };
    assert_eq!(
        read(r#"{"op":"stat","filename":""}"#).action,
        stat(b"", false)
    );
    assert_eq!(
        read(r#"{"op":"stat","filename":"a","digests":[]}"#).action,
        stat(b"a", false)
    );
    assert_eq!(
        read(r#"{"op":"stat","filename":"a","digests":["md5"]}"#).action,
        stat(b"a", true)
    );
    assert_eq!(
        read(r#"{"op":"stat","filename":"a","offset":1}"#).action,
        stat(b"a", false)
    );
    assert_eq!(read(r#"{"op":"hello"}"#).action, Ok(Action::Hello));
    assert_eq!(
        read(r#"{"op":"hello","filename":"../x"}"#).action,
        Ok(Action::Hello)
    );
    assert_eq!(
        code(r#"{"op":"stat","filename":"a","digests":["md5","crc32"]}"#),
        ErrorCode::Unsupported
    );
}

#[test]
fn accepts_only_integers_of_digits_and_63_bits() {
    for key in ["offset", "length"] {
        for good in ["0", "9007199254740993", "9223372036854775807"] {
            get(&with(key, good));
        }
        for bad in [
            "-1",
            "-0",
            "1.0",
            "1e3",
            "0.5",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999",
            r#""5""#,
            "null",
            "true",
            "[]",
            "{}",
            "[5]",
        ] {
            assert_eq!(code(&with(key, bad)), ErrorCode::BadRequest, "{key} {bad}");
        }
    }
}

#[test]
fn refuses_an_invalid_body_size_as_a_bad_frame() {
    for bad in [
        "-1",
        "-0",
        "1.0",
        "1e3",
        "9223372036854775808",
        r#""5""#,
        "null",
        "[]",
    ] {
        for op in ["get", "put", "unheard"] {
            let json = format!(r#"{{"op":"{op}","filename":"a","body_size":{bad}}}"#);
            let error = ReceivedRequest::parse(json.as_bytes()).unwrap_err();
            let expected = "an integer between 0 and 2^63-1";
            assert_eq!(
                error,
                WireError::WrongType {
                    key: "body_size",
                    expected
                },
                "{json}"
            );
        }
    }
    get(&with("body_size", "0"));
}

#[test]
fn returns_the_body_size_of_a_refused_request() {
    for (op, code) in [
        ("get", ErrorCode::BadRequest),
        ("stat", ErrorCode::BadRequest),
        ("hello", ErrorCode::BadRequest),
        ("put", ErrorCode::Unsupported),
        ("unheard", ErrorCode::Unsupported),
    ] {
        for size in [1, 1_048_577, i64::MAX] {
            let json = format!(r#"{{"op":"{op}","filename":"a","id":7,"body_size":{size}}}"#);
            let request = read(&json);
            assert_eq!(request.action.unwrap_err().code, code, "{json}");
            assert_eq!(i64::try_from(request.body_size), Ok(size));
            assert_eq!(request.id, Some(RequestId::Number(7)));
        }
    }
}

#[test]
fn refuses_operations_that_are_not_supported() {
    for op in [
        "offer", "put", "pieces", "tree", "delete", "GET", "", "get ", "\\u0000",
    ] {
        let json = format!(r#"{{"op":"{op}","filename":"a","offset":"wrong","id":1}}"#);
        assert_eq!(code(&json), ErrorCode::Unsupported, "{op}");
        assert_eq!(
            (read(&json).id, read(&json).name),
            (Some(RequestId::Number(1)), b"a".to_vec())
        );
    }
    for op in ["1", "null", "[]", r#"["get"]"#, "true"] {
        assert_eq!(
            code(&format!(r#"{{"op":{op},"filename":"a"}}"#)),
            ErrorCode::BadRequest,
            "{op}"
        );
    }
    assert_eq!(get(r#"{"op":"\u0067et","filename":"a"}"#).path, path(b"a"));
}

#[test]
fn refuses_a_request_that_needs_an_unknown_key() {
    for need in [
        r#"["colour"]"#,
        r#"["offset","accept"]"#,
        r#"["list"]"#,
        r#"[""]"#,
    ] {
        assert_eq!(code(&with("need", need)), ErrorCode::Unsupported, "{need}");
    }
    for need in ["[]", r#"["offset","filename","need","want_md5"]"#] {
        get(&with("need", need));
    }
    for need in [
        "1",
        "null",
        r#""offset""#,
        "[1]",
        r#"["offset",null]"#,
        "{}",
    ] {
        assert_eq!(code(&with("need", need)), ErrorCode::BadRequest, "{need}");
    }
}

#[test]
fn accepts_md5_only_as_32_lowercase_digits() {
    for key in ["have_md5", "want_md5"] {
        get(&with(key, &format!(r#""{MD5}""#)));
        get(&with(key, &format!(r#""\u0064{}""#, &MD5[1..])));
        for bad in [
            "",
            &MD5[1..],
            &format!("{MD5}0"),
            &MD5.to_uppercase(),
            &MD5.replace('d', "g"),
        ] {
            assert_eq!(
                code(&with(key, &format!(r#""{bad}""#))),
                ErrorCode::BadRequest,
                "{bad}"
            );
        }
        for bad in ["0", "null", "[]"] {
            assert_eq!(code(&with(key, bad)), ErrorCode::BadRequest, "{bad}");
        }
    }
}

#[test]
fn refuses_have_md5_beside_a_range() {
    for range in [r#""offset":0"#, r#""length":1"#, r#""offset":1,"length":1"#] {
        let json = format!(r#"{{"filename":"a",{range},"have_md5":"{MD5}"}}"#);
        assert_eq!(code(&json), ErrorCode::BadRequest);
        get(&json.replace("have", "want"));
    }
    get(&format!(
        r#"{{"filename":"a","want_md5":"{MD5}","have_md5":"{MD5}"}}"#
    ));
}

#[test]
fn checks_the_type_of_known_keys_for_every_operation() {
    for (key, bad) in [
        ("filename", "1"),
        ("filename", "null"),
        ("filename", r#"["a"]"#),
        ("filename_b64", "1"),
        ("offset", "true"),
        ("have_md5", "1"),
        ("fresh", "1"),
        ("fresh", r#""true""#),
        ("fresh", "null"),
        ("progress", "0"),
        ("digests", r#""md5""#),
        ("digests", "[1]"),
        ("digests", "null"),
    ] {
        for op in ["get", "stat", "hello"] {
            let name = if key == "filename" {
                ""
            } else {
                r#","filename":"a""#
            };
            let json = format!(r#"{{"op":"{op}","{key}":{bad},"id":"x"{name}}}"#);
            assert_eq!(code(&json), ErrorCode::BadRequest, "{json}");
            assert_eq!(read(&json).id, Some(RequestId::Text("x".into())), "{json}");
        }
    }
}

#[test]
fn reads_ids_and_refuses_what_is_none() {
    let text = "é".repeat(32);
    for (json, id) in [
        (r#""""#.to_owned(), RequestId::Text(String::new())),
        (format!(r#""{text}""#), RequestId::Text(text.clone())),
        ("0".to_owned(), RequestId::Number(0)),
        ("-1".to_owned(), RequestId::Number(-1)),
        (
            "9223372036854775807".to_owned(),
            RequestId::Number(i64::MAX),
        ),
        (
            "-9223372036854775808".to_owned(),
            RequestId::Number(i64::MIN),
        ),
    ] {
        assert_eq!(read(&with("id", &json)).id, Some(id), "{json}");
    }
    for bad in [
        &format!(r#""{text}x""#),
        "1.0",
        "-0",
        "9223372036854775808",
        "null",
        "true",
        "[]",
        "{}",
    ] {
        assert_eq!(code(&with("id", bad)), ErrorCode::BadRequest, "{bad}");
        assert_eq!(read(&with("id", bad)).id, None, "{bad}");
    }
}

#[test]
fn refuses_bad_names_and_echoes_them() {
    let part_256 = "p".repeat(256);
    let parts_257 = ["p"; 257].join("/");
    for name in [
        ".",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "/",
        "/x",
        "//h/s",
        "a//b",
        "a/./b",
        "./a",
        "a/",
        "\0",
        "a\0b",
        "a/b\0",
        &part_256,
        &parts_257,
    ] {
        for op in ["get", "stat"] {
            let request = read(&json!({"op": op, "filename": name}).to_string());
            assert_eq!(
                request.action.unwrap_err().code,
                ErrorCode::BadName,
                "{name:?}"
            );
            assert_eq!(request.name, name.as_bytes(), "{name:?}");
        }
    }
    let request = read(&json!({"filename": "n".repeat(PATH_BYTES_MAX + 1)}).to_string());
    assert_eq!(request.action.unwrap_err().code, ErrorCode::BadName);
    assert_eq!(request.name, b"");
}

#[test]
fn accepts_odd_but_legal_names() {
    let part_255 = "p".repeat(255);
    let parts_256 = ["p"; 256].join("/");
    let bytes_4096 = [&*"p".repeat(127); 32].join("/") + "x";
    assert_eq!(bytes_4096.len(), PATH_BYTES_MAX);
    for name in [
        "",
        "a\nb",
        "a\rb",
        "\x1b[31m",
        "\u{202e}txt.exe",
        "..\\x",
        "C:\\x",
        "nul.txt",
        "x:ads",
        "~",
        "-rf",
        "$(id)",
        "%2e%2e%2f",
        "@x",
        "...",
        "..a",
        "a..",
        " ",
        ".hidden",
        "\u{feff}",
        "é",
        &part_255,
        &parts_256,
        &bytes_4096,
    ] {
        assert_eq!(
            get(&json!({"filename": name}).to_string()).path,
            path(name.as_bytes()),
            "{name:?}"
        );
    }
}

#[test]
fn decodes_a_name_from_base64() {
    let request = read(r#"{"filename":"caf?","filename_b64":"Y2Fm6Q=="}"#);
    assert_eq!(request.name, b"caf\xe9");
    assert_eq!(get(r#"{"filename_b64":"Y2Fm6Q=="}"#).path, path(b"caf\xe9"));
    assert_eq!(get(r#"{"filename_b64":""}"#).path, path(b""));
    assert_eq!(
        code(r#"{"filename":"a","filename_b64":"Li4veA=="}"#),
        ErrorCode::BadName
    );
    for bad in [
        "Y2Fm6Q",
        "Y2Fm6Q=",
        "Y2Fm6R==",
        "Y2Fm6Q==\\n",
        "Y2F-6Q==",
        "====",
        "é",
    ] {
        let json = format!(r#"{{"filename":"a","filename_b64":"{bad}"}}"#);
        assert_eq!(code(&json), ErrorCode::BadRequest, "{bad}");
        assert_eq!(read(&json).name, b"", "{bad}");
    }
}

#[test]
fn requires_a_name_for_everything_but_hello() {
    assert_eq!(code("{}"), ErrorCode::BadRequest);
    assert_eq!(code(r#"{"op":"stat"}"#), ErrorCode::BadRequest);
    assert_eq!(read(r#"{"op":"hello"}"#).name, b"");
}

/// The text of the frame that `call` encodes, parsed by serde_json.
fn encoded(call: &Call) -> Value {
    let mut out = b"before".to_vec();
    call.encode(&mut out);
    let frame = out.strip_prefix(b"before").expect("encode appends");
    let (length, text) = frame.split_at(4);
    assert_eq!(
        u32::from_le_bytes(length.try_into().unwrap()) as usize,
        text.len()
    );
    serde_json::from_slice(text).unwrap()
}

#[test]
fn writes_the_given_arguments_and_omits_defaults() {
    let call = |action| Call { action, id: None };
    let plain = |name: &[u8]| GetRequest::whole(path(name));
    let md5 = Md5Digest::parse(MD5);
    for (written, expected) in [
        (call(Action::Get(plain(b"a"))), json!({"filename": "a"})),
        (
            call(Action::Get(plain(b"caf\xe9"))),
            json!({"filename_b64": "Y2Fm6Q=="}),
        ),
        (
            call(Action::Get(GetRequest {
                range: Some(ByteRange {
                    offset: 3,
                    length: Some(0),
                }),
                want_md5: md5,
                fresh: true,
                progress: true,
                ..plain(b"a")
            })),
            json!({"filename": "a", "offset": 3, "length": 0, "want_md5": MD5, "fresh": true, "progress": true}),
        ),
        (
            call(Action::Get(GetRequest {
                have_md5: md5,
                ..plain(b"a")
            })),
            json!({"filename": "a", "have_md5": MD5}),
        ),
        (
            call(Action::Stat(StatRequest {
                path: ResourcePath::root(),
                digest: true,
                fresh: false,
                progress: false,
            })),
            json!({"op": "stat", "filename": "", "digests": ["md5"]}),
        ),
        (
            Call {
                action: Action::Hello,
                id: Some(RequestId::Number(-1)),
            },
            json!({"op": "hello", "id": -1}),
        ),
        (
            Call {
                action: Action::Hello,
                id: Some(RequestId::Text("x".into())),
            },
            json!({"op": "hello", "id": "x"}),
        ),
    ] {
        assert_eq!(encoded(&written), expected);
    }
}

#[test]
fn accepts_a_cursor_and_a_limit_up_to_the_maximum() {
    for (bytes, is_taken) in [(8_191, true), (8_192, true), (8_193, false), (8_194, false)] {
        let json = format!(
            r#"{{"op":"list","filename":"","after":"{}"}}"#,
            "a".repeat(bytes)
        );
        assert_eq!(read(&json).action.is_ok(), is_taken, "{bytes} bytes");
    }
    for (limit, written) in [(9_999, Some(9_999)), (10_000, None)] {
        let call = Call {
            action: Action::List(ListRequest {
                limit,
                ..ListRequest::first(path(b""))
            }),
            id: None,
        };
        let mut out = Vec::new();
        call.encode(&mut out);
        let json: Value = serde_json::from_slice(&out[4..]).unwrap();
        assert_eq!(json.get("limit").and_then(Value::as_u64), written);
    }
}

#[test]
fn returns_the_operation_of_every_request() {
    for op in ["get", "stat", "list", "run", "hello"] {
        let json = format!(r#"{{"op":"{op}","filename":"a"}}"#);
        assert_eq!(read(&json).op, op);
    }
    assert_eq!(read(r#"{"filename":"a"}"#).op, "get");
    let line = ReceivedRequest::to_run(b"a b");
    let run = RunRequest {
        name: b"a b".to_vec(),
        progress: false,
    };
    assert_eq!(
        (line.op, line.body_size, line.action),
        ("run", 0, Ok(Action::Run(run)))
    );
}
