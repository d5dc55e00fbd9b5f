use crate::wire::{ReceivedRequest, ResponseHeader, WireError};

/// Texts with one hole for a value of an unknown key. Both kinds of reader must judge them alike.
fn in_an_unknown_key(value: &str) -> [String; 2] {
    [
        format!(r#"{{"filename":"a","x":{value}}}"#),
        format!(r#"{{"x":{value},"filename":"a","total_size":0,"md5":""}}"#),
    ]
}

fn assert_bad(json: &[u8]) {
    let shown = String::from_utf8_lossy(&json[..json.len().min(80)]).into_owned();
    assert!(
        matches!(ReceivedRequest::parse(json), Err(WireError::Json(_))),
        "request {shown}"
    );
    assert!(
        matches!(ResponseHeader::parse(json), Err(WireError::Json(_))),
        "header {shown}"
    );
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn refuses_what_is_not_one_object() {
    for json in [
        "",
        "{",
        "}",
        "null",
        "[]",
        r#""x""#,
        "1",
        "[{}]",
        "{}{}",
        "{} {}",
        "{}x",
        "{}]",
        "{}\n",
        "{} ",
        " {}",
        "\n{}",
        "\u{feff}{}",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1 "b":2}"#,
        r#"{a:1}"#,
        r#"{'a':1}"#,
        r#"{1:1}"#,
        r#"{"a":1/**/}"#,
        "{\"a\":1}\0",
        "{\0}",
    ] {
        assert_bad(json.as_bytes());
    }
    assert_bad(&[b' '; 65_536]);
    assert_bad(&[b'{'; 65_536]);
}

#[test]
fn refuses_bad_values_of_unknown_keys() {
    for value in [
        "NaN",
        "Infinity",
        "-",
        "+1",
        "01",
        "-01",
        ".5",
        "1.",
        "1e",
        "0x1",
        "1e999",
        "nul",
        "True",
        "undefined",
        r#""\u""#,
        r#""\u12g4""#,
        r#""\x41""#,
        r#""\ud800""#,
        r#""\ud800x""#,
        r#""\ud800\u0041""#,
        r#""\udc00""#,
        r#""\udc00\ud800""#,
        "\"\n\"",
        "\"\0\"",
        "\"\t\"",
        r#""open"#,
        "[1,]",
        "[1 2]",
        "[",
        "]",
        r#"{"a":"\ud800"}"#,
        r#"[["\udfff"]]"#,
        r#"{"\ud800":1}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"[{"b":{"a":1,"c":2,"a":3}}]"#,
    ] {
        for json in in_an_unknown_key(value) {
            assert_bad(json.as_bytes());
        }
    }
}

#[test]
fn accepts_odd_but_legal_values_of_unknown_keys() {
    for value in [
        "null",
        "-0",
        "1.0",
        "1e3",
        "-1E-3",
        "18446744073709551616",
        "9007199254740993",
        r#""""#,
        r#""\u0000""#,
        r#""\ud83d\ude00""#,
        r#""\/\b\f\n\r\t\"\\""#,
        "\"\u{feff}\u{202e}\u{10ffff}\u{7f}\"",
        "[]",
        "{}",
        "[ 1 ,\t2 ,\r\n3 ]",
        r#"{"a":1,"A":1}"#,
        r#"{"":{"":{"":1}}}"#,
        r#"[{"a":1},{"a":1}]"#,
        r#"{"filename":"b","total_size":-1}"#,
    ] {
        let [request, header] = in_an_unknown_key(value);
        let request = ReceivedRequest::parse(request.as_bytes()).expect(value);
        assert_eq!(
            (request.name.as_slice(), request.action.is_ok()),
            (&b"a"[..], true),
            "{value}"
        );
        assert_eq!(
            &*ResponseHeader::parse(header.as_bytes()).expect(value).name,
            b"a"
        );
    }
}

#[test]
fn refuses_bytes_that_are_not_utf8_anywhere() {
    for bad in [
        &b"\xff"[..],
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x80",
    ] {
        for (before, after) in [
            (r#"{"filename":""#, r#""}"#),
            (r#"{"filename":"a","x":""#, r#""}"#),
            (r#"{"filename":"a","x":[{"y":""#, r#""}]}"#),
            (r#"{"filename":"a","x"#, r#"":1}"#),
            (r#"{"filename":"a""#, r#"}"#),
        ] {
            assert_bad(&[before.as_bytes(), bad, after.as_bytes()].concat());
        }
    }
}

#[test]
fn refuses_a_key_that_is_there_twice() {
    for json in [
        r#"{"filename":"a","filename":"a"}"#,
        r#"{"filename":"a","file\u006eame":"b"}"#,
        r#"{"x":1,"filename":"a","x":1}"#,
        r#"{"x":1,"\u0078":1}"#,
        r#"{"need":[],"need":[]}"#,
        r#"{"error":{"code":"x","message":"y","code":"x"}}"#,
    ] {
        assert_bad(json.as_bytes());
    }
}

#[test]
fn limits_nesting_to_16_levels_in_all_keys() {
    for key in ["x", "need", "digests", "error", "filename"] {
        for value in [nested(16), nested(125), nested(10_000)] {
            assert_bad(format!(r#"{{"{key}":{value}}}"#).as_bytes());
        }
    }
    let objects = r#"{"a":"#.repeat(16) + "1" + &"}".repeat(16);
    assert_bad(format!(r#"{{"x":{objects}}}"#).as_bytes());
    for value in [nested(14), nested(15)] {
        let [request, header] = in_an_unknown_key(&value);
        assert!(ReceivedRequest::parse(request.as_bytes()).is_ok());
        assert!(ResponseHeader::parse(header.as_bytes()).is_ok());
    }
    let in_an_error = |value: &str| {
        let error = format!(r#"{{"code":"busy","message":"","x":{value}}}"#);
        let header = format!(r#"{{"filename":"","total_size":0,"md5":"","error":{error}}}"#);
        ResponseHeader::parse(header.as_bytes()).map(drop)
    };
    assert_eq!(in_an_error(&nested(14)), Ok(()));
    assert!(in_an_error(&nested(15)).is_err());
}

#[test]
fn finds_a_duplicate_among_ten_thousand_keys_quickly() {
    let keys = |count: usize| {
        (0..count)
            .map(|key| format!(r#""{key:x}":0"#))
            .collect::<Vec<_>>()
    };
    let many = keys(6_000).join(",");
    assert!(many.len() < 65_000);
    assert!(ReceivedRequest::parse(format!("{{{many}}}").as_bytes()).is_ok());
    assert!(ReceivedRequest::parse(format!(r#"{{"y":{{{many}}}}}"#).as_bytes()).is_ok());
    assert_bad(format!(r#"{{{many},"176f":0}}"#).as_bytes());
    assert_bad(format!(r#"{{"y":{{"0":0,{many}}}}}"#).as_bytes());
}
