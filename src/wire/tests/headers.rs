use std::borrow::Cow;

use serde_json::{Value, json};

use crate::wire::{
    ErrorReply, FRAME_BYTES_MAX, Hello, Interim, Md5Digest, ObjectKind, PATH_BYTES_MAX, RequestId,
    ResponseHeader, SIZE_MAX, Timestamp, WireError,
};

const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The text of the frame that `header` encodes.
fn text(header: &ResponseHeader<'_>) -> String {
    let mut out = b"before".to_vec();
    header.encode(&mut out);
    let frame = out.strip_prefix(b"before").expect("encode appends");
    let (length, text) = frame.split_at(4);
    assert_eq!(
        u32::from_le_bytes(length.try_into().unwrap()) as usize,
        text.len()
    );
    assert!(text.len() <= FRAME_BYTES_MAX, "{} bytes", text.len());
    String::from_utf8(text.to_vec()).unwrap()
}

fn value(header: &ResponseHeader<'_>) -> Value {
    serde_json::from_str(&text(header)).unwrap()
}

fn named(name: &[u8]) -> ResponseHeader<'_> {
    ResponseHeader {
        name: Cow::Borrowed(name),
        ..ResponseHeader::default()
    }
}

fn error<'a>(message: &'a str) -> ErrorReply<'a> {
    ErrorReply {
        code: "busy".into(),
        message: message.into(),
        retry_after_ms: Some(250),
    }
}

fn full(name: &[u8]) -> ResponseHeader<'_> {
    ResponseHeader {
        name: Cow::Borrowed(name),
        total_size: SIZE_MAX,
        md5: Md5Digest::parse(MD5),
        body_size: Some(SIZE_MAX),
        offset: Some(SIZE_MAX),
        kind: Some(ObjectKind::Symlink),
        mtime: Some(Timestamp {
            seconds: 1_795_169_472,
            nanoseconds: 123_456_789,
        }),
        mode: Some(0o777),
        id: Some(RequestId::Text("\u{1}".repeat(64))),
        matched: true,
        last: true,
        recursive: true,
        ..ResponseHeader::default()
    }
}

#[test]
fn writes_the_three_keys_first_and_omits_absent_ones() {
    assert_eq!(
        text(&named(b"")),
        r#"{"filename":"","total_size":0,"md5":""}"#
    );
    let header = ResponseHeader {
        total_size: 5,
        md5: Md5Digest::parse(MD5),
        ..named(b"a b")
    };
    assert_eq!(
        text(&header),
        format!(r#"{{"filename":"a b","total_size":5,"md5":"{MD5}"}}"#)
    );
    let text = text(&full(b"a"));
    assert!(
        text.starts_with(r#"{"filename":"a","total_size":9223372036854775807,"md5":"d41d"#),
        "{text}"
    );
}

#[test]
fn writes_every_key() {
    assert_eq!(
        value(&full(b"a")),
        json!({
            "filename": "a", "total_size": SIZE_MAX, "md5": MD5, "body_size": SIZE_MAX,
            "offset": SIZE_MAX, "type": "symlink", "mtime": "2026-11-20T10:11:12.123456789Z",
            "mode": "0777", "id": "\u{1}".repeat(64), "match": true,
            "last": true, "recursive": true,
        })
    );
    let header = ResponseHeader {
        error: Some(error("later")),
        ..named(b"a")
    };
    assert_eq!(
        value(&header)["error"],
        json!({"code": "busy", "message": "later", "retry_after_ms": 250})
    );
    let interim = Interim {
        status: "hashing".into(),
        done: 7,
    };
    let header = ResponseHeader {
        interim: Some(interim),
        body_size: Some(0),
        ..named(b"a")
    };
    assert_eq!(
        value(&header),
        json!({"filename": "a", "total_size": 0, "md5": "", "body_size": 0, "status": "hashing", "done": 7})
    );
    let hello = Hello {
        ft: 1,
        ops: vec!["get".into()],
        digests: vec!["md5".into()],
        writable: false,
    };
    let header = ResponseHeader {
        hello: Some(hello),
        ..named(b"")
    };
    assert_eq!(
        value(&header),
        json!({"filename": "", "total_size": 0, "md5": "", "ft": 1, "ops": ["get"], "digests": ["md5"], "writable": false})
    );
}

#[test]
fn writes_the_mode_as_four_digits() {
    for (mode, written) in [
        (0, "0000"),
        (7, "0007"),
        (0o644, "0644"),
        (0o104_755, "0755"),
    ] {
        let header = ResponseHeader {
            mode: Some(mode),
            ..named(b"")
        };
        assert_eq!(value(&header)["mode"], written);
    }
}

#[test]
fn omits_an_mtime_outside_the_calendar_years() {
    let mtime = Some(Timestamp {
        seconds: i64::MAX,
        nanoseconds: 0,
    });
    assert_eq!(
        text(&ResponseHeader {
            mtime,
            ..named(b"")
        }),
        text(&named(b""))
    );
}

#[test]
fn writes_the_number_of_hidden_entries_if_known() {
    for hidden in [None, Some(0), Some(1), Some(2)] {
        let page = ResponseHeader {
            hidden,
            ..named(b"")
        };
        let expected = hidden.map(|hidden: u64| json!(hidden));
        assert_eq!(value(&page).get("hidden"), expected.as_ref());
    }
}

#[test]
fn escapes_every_control_and_direction_character() {
    let hidden = (0..0x20)
        .chain(0x7f..=0x9f)
        .chain([0x61c, 0x200e, 0x200f, 0x2028, 0x2029, 0xfeff])
        .chain(0x202a..=0x202e)
        .chain(0x2066..=0x2069);
    for code in hidden {
        let char = char::from_u32(code).unwrap();
        let name = format!("a{char}\"{char}\\{char}{char}é");
        let text = text(&ResponseHeader {
            error: Some(error(&name)),
            ..named(name.as_bytes())
        });
        let escape = format!("\\u{code:04x}");
        let written = format!(r#"a{escape}\"{escape}\\{escape}{escape}é""#);
        assert_eq!(text.matches(&written).count(), 2, "{text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&read["filename"], &read["error"]["message"]),
            (&json!(name), &json!(name))
        );
    }
}

#[test]
fn writes_plain_characters_as_they_are() {
    let name = "ä中😀/~!' \u{a0}\u{2027}\u{202f}\u{2065}\u{206a}\u{61b}";
    assert_eq!(
        text(&named(name.as_bytes())),
        format!(r#"{{"filename":"{name}","total_size":0,"md5":""}}"#)
    );
}

#[test]
fn writes_base64_for_a_name_that_is_not_utf8() {
    assert_eq!(
        value(&named(b"caf\xe9")),
        json!({"filename": "caf\u{fffd}", "total_size": 0, "md5": "", "filename_b64": "Y2Fm6Q=="})
    );
}

#[test]
fn the_worst_names_fit_into_a_frame() {
    for name in [
        [0x1b; PATH_BYTES_MAX],
        [0xff; PATH_BYTES_MAX],
        [b'"'; PATH_BYTES_MAX],
    ] {
        let header = full(&name);
        let without_name = text(&full(b"")).len();
        assert!(
            without_name <= 1_024,
            "{without_name} bytes besides the name"
        );
        assert!(text(&header).len() > PATH_BYTES_MAX);
        assert_eq!(ResponseHeader::parse(text(&header).as_bytes()), Ok(header));
    }
    let mixed: Vec<u8> = (0..PATH_BYTES_MAX)
        .map(|at| if at % 2 == 0 { 1 } else { 0xff })
        .collect();
    assert_eq!(
        ResponseHeader::parse(text(&full(&mixed)).as_bytes()),
        Ok(full(&mixed))
    );
}

#[test]
fn cuts_an_error_message_at_200_bytes_between_characters() {
    for (message, kept) in [
        ("m".repeat(199), 199),
        ("m".repeat(200), 200),
        ("m".repeat(201), 200),
        ("é".repeat(100), 200),
        ("m".to_owned() + &"é".repeat(100), 199),
        ("\"".repeat(150), 100),
        ("\u{202e}".repeat(100), 33 * 3),
        ("\n".repeat(1_000), 33),
    ] {
        let id = Some(RequestId::Text("\u{1}".repeat(64)));
        let header = ResponseHeader {
            id,
            error: Some(error(&message)),
            ..named(b"")
        };
        assert_eq!(
            value(&header)["error"]["message"],
            message[..kept],
            "{message:?}"
        );
        assert!(text(&header).len() <= 1_024);
    }
}

/// A plain header with some keys replaced, added, or removed (`null`).
fn with(changes: Value) -> String {
    let mut object = json!({"filename": "a", "total_size": 5, "md5": MD5});
    for (key, value) in changes.as_object().unwrap() {
        object.as_object_mut().unwrap().remove(key);
        if !value.is_null() {
            object[key] = value.clone();
        }
    }
    object.to_string()
}

fn read(json: &str) -> Result<ResponseHeader<'static>, WireError> {
    ResponseHeader::parse(json.as_bytes())
}

#[test]
fn needs_the_three_keys() {
    for key in ["filename", "total_size", "md5"] {
        assert_eq!(
            read(&with(json!({key: null}))),
            Err(WireError::MissingKey(key))
        );
    }
    assert_eq!(read(&with(json!({"md5": ""}))).unwrap().md5, None);
    let header = read(&with(json!({"filename": null, "filename_b64": "Y2Fm6Q=="}))).unwrap();
    assert_eq!(&*header.name, b"caf\xe9");
}

#[test]
fn refuses_a_name_longer_than_a_path_may_be() {
    for length in [PATH_BYTES_MAX - 1, PATH_BYTES_MAX] {
        let header = read(&with(json!({"filename": "n".repeat(length)}))).unwrap();
        assert_eq!(header.name.len(), length);
    }
    for length in [PATH_BYTES_MAX + 1, 60_000] {
        let error = read(&with(json!({"filename": "n".repeat(length)}))).unwrap_err();
        assert!(
            matches!(
                error,
                WireError::WrongType {
                    key: "filename",
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().len() < 100, "{error}");
    }
    // The display form may be longer than the name itself.
    let name = [0xff; PATH_BYTES_MAX];
    assert_eq!(read(&text(&named(&name))), Ok(named(&name)));
}

#[test]
fn checks_the_type_of_every_known_key() {
    for (key, bad) in [
        ("filename", json!(1)),
        ("filename_b64", json!("Y2Fm6Q")),
        ("total_size", json!(-1)),
        ("total_size", json!(5.0)),
        ("total_size", json!("5")),
        ("total_size", json!(SIZE_MAX + 1)),
        ("total_size", json!(u64::MAX)),
        ("md5", json!(MD5[1..])),
        ("md5", json!(format!("{MD5}0"))),
        ("md5", json!(MD5.to_uppercase())),
        ("md5", json!("g".repeat(32))),
        ("md5", json!(0)),
        ("md5", json!(false)),
        ("body_size", json!(-1)),
        ("body_size", json!("0")),
        ("offset", json!(1.5)),
        ("type", json!("folder")),
        ("type", json!(1)),
        ("mtime", json!(0)),
        ("mtime", json!("2026-11-20T10:11:12Z")),
        ("mode", json!(420)),
        ("mode", json!("644")),
        ("mode", json!("0648")),
        ("mode", json!("4755")),
        ("mode", json!("00644")),
        ("id", json!(true)),
        ("id", json!("x".repeat(65))),
        ("error", json!("busy")),
        ("status", json!(1)),
        ("done", json!(-1)),
        ("match", json!("true")),
        ("match", json!(1)),
        ("ft", json!("1")),
        ("ops", json!("get")),
        ("digests", json!([1])),
        ("writable", json!(0)),
        ("need", json!("offset")),
        ("need", json!([1])),
    ] {
        let json = with(json!({key: bad}));
        match read(&json) {
            Err(WireError::WrongType { key: named, .. }) => assert_eq!(named, key, "{json}"),
            other => panic!("{json} is {other:?}"),
        }
        let null = with(json!({key: "PLACE"})).replace(r#""PLACE""#, "null");
        assert!(
            matches!(read(&null), Err(WireError::WrongType { .. })),
            "{null}"
        );
    }
}

#[test]
fn accepts_only_digits_as_sizes() {
    for bad in ["-0", "1.0", "1e3", "18446744073709551616"] {
        let json = format!(r#"{{"filename":"a","total_size":{bad},"md5":""}}"#);
        let expected = "an integer between 0 and 2^63-1";
        assert_eq!(
            read(&json),
            Err(WireError::WrongType {
                key: "total_size",
                expected
            }),
            "{bad}"
        );
    }
    assert_eq!(
        read(&with(json!({"total_size": SIZE_MAX})))
            .unwrap()
            .total_size,
        SIZE_MAX
    );
    assert_eq!(read(&with(json!({"total_size": 0}))).unwrap().total_size, 0);
}

#[test]
fn never_mistakes_an_error_for_a_file() {
    let error = json!({"code": "not_found", "message": "no such file"});
    let json = with(json!({"error": error, "total_size": 0, "md5": ""}));
    let read_error = read(&json).unwrap().error.unwrap();
    assert_eq!(
        (&*read_error.code, &*read_error.message),
        ("not_found", "no such file")
    );
    assert_eq!(read_error.retry_after_ms, None);
    for (changes, key) in [
        (json!({"error": error, "md5": ""}), "total_size"),
        (json!({"error": error, "total_size": 0}), "md5"),
    ] {
        let result = read(&with(changes));
        assert!(matches!(result, Err(WireError::WrongType { key: named, .. }) if named == key));
    }
    for (error, missing) in [
        (json!({"message": "m"}), "error.code"),
        (json!({"code": "c"}), "error.message"),
        (json!({}), "error.code"),
    ] {
        let json = with(json!({"error": error, "total_size": 0, "md5": ""}));
        assert_eq!(read(&json), Err(WireError::MissingKey(missing)));
    }
    let error =
        json!({"code": "of_a_later_version", "message": "", "more": [], "retry_after_ms": 9});
    let json = with(json!({"error": error, "total_size": 0, "md5": ""}));
    assert_eq!(read(&json).unwrap().error.unwrap().retry_after_ms, Some(9));
}

#[test]
fn accepts_an_interim_header_only_without_a_body() {
    for body_size in [json!(null), json!(5)] {
        let json = with(json!({"status": "hashing", "done": 1, "body_size": body_size}));
        assert!(
            matches!(
                read(&json),
                Err(WireError::WrongType {
                    key: "body_size",
                    ..
                })
            ),
            "{json}"
        );
    }
    let header = read(&with(json!({"status": "later", "body_size": 0}))).unwrap();
    assert_eq!(
        header.interim,
        Some(Interim {
            status: "later".into(),
            done: 0
        })
    );
    assert_eq!(header.bytes_that_follow(), 0);
}

#[test]
fn reads_the_answer_to_hello_completely_or_fails() {
    let hello = json!({"ft": 1, "ops": ["get", "later"], "digests": ["md5"], "writable": true});
    let header = read(&with(hello.clone())).unwrap().hello.unwrap();
    assert_eq!((header.ft, header.writable, header.ops.len()), (1, true, 2));
    for key in ["ops", "digests", "writable"] {
        let mut less = hello.clone();
        less[key] = Value::Null;
        assert_eq!(read(&with(less)), Err(WireError::MissingKey(key)));
    }
    assert_eq!(read(&with(json!({"ops": ["get"]}))).unwrap().hello, None);
}

#[test]
fn fails_if_an_answer_needs_an_unknown_key() {
    let result = read(&with(json!({"need": ["offset", "colour"]})));
    assert_eq!(result, Err(WireError::UnknownNeed("colour".to_owned())));
    assert!(read(&with(json!({"need": ["offset", "filename_b64"]}))).is_ok());
}

#[test]
fn ignores_unknown_keys_and_the_order_of_keys() {
    let json = format!(
        r#" {{ "x" : [ {{}} ], "md5" : "{MD5}" , "sha256":1, "total_size":5,"match":false,"filename":"a" }} "#
    );
    let expected = ResponseHeader {
        total_size: 5,
        md5: Md5Digest::parse(MD5),
        ..named(b"a")
    };
    assert_eq!(read(json.trim()), Ok(expected));
}

#[test]
fn returns_how_many_bytes_follow() {
    assert_eq!(read(&with(json!({}))).unwrap().bytes_that_follow(), 5);
    assert_eq!(
        read(&with(json!({"body_size": 0})))
            .unwrap()
            .bytes_that_follow(),
        0
    );
    assert_eq!(
        read(&with(json!({"body_size": 9})))
            .unwrap()
            .bytes_that_follow(),
        9
    );
}
