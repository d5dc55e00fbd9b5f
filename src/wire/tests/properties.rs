use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::wire::{
    Action, ByteRange, Call, ErrorReply, GetRequest, Hello, Interim, LIST_ENTRIES_MAX, ListEntry,
    ListRequest, Md5Digest, ObjectKind, ReceivedRequest, RequestId, ResourcePath, ResponseHeader,
    RunRequest, SIZE_MAX, StatRequest, Timestamp, fuzz, split_frame,
};

fn paths() -> impl Strategy<Value = ResourcePath> {
    let part = vec(any::<u8>(), 1..20).prop_filter("a part of a name", |part| {
        !part.contains(&0) && !part.contains(&b'/') && part != b"." && part != b".."
    });
    vec(part, 0..5).prop_map(|parts| ResourcePath::parse(&parts.join(&b'/')).unwrap())
}

fn digests() -> impl Strategy<Value = Md5Digest> {
    any::<[u8; 16]>().prop_map(Md5Digest::from_bytes)
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![0..1_000_u64, Just(SIZE_MAX), 0..=SIZE_MAX]
}

fn ids() -> impl Strategy<Value = RequestId> {
    let text = any::<String>().prop_map(|text| text.chars().take(16).collect());
    prop_oneof![
        text.prop_map(RequestId::Text),
        any::<i64>().prop_map(RequestId::Number)
    ]
}

fn times() -> impl Strategy<Value = Timestamp> {
    (-62_135_596_800..=253_402_300_799_i64, 0..1_000_000_000_u32).prop_map(
        |(seconds, nanoseconds)| Timestamp {
            seconds,
            nanoseconds,
        },
    )
}

fn gets() -> impl Strategy<Value = GetRequest> {
    let range = (sizes(), option::of(sizes()));
    let range = range.prop_map(|(offset, length)| ByteRange { offset, length });
    (
        paths(),
        option::of(range),
        option::of(digests()),
        option::of(digests()),
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(path, range, have_md5, want_md5, [fresh, progress])| GetRequest {
                path,
                have_md5: have_md5.filter(|_| range.is_none()),
                range,
                want_md5,
                fresh,
                progress,
            },
        )
}

fn actions() -> impl Strategy<Value = Action> {
    let stats =
        (paths(), any::<[bool; 3]>()).prop_map(|(path, [digest, fresh, progress])| StatRequest {
            path,
            digest,
            fresh,
            progress,
        });
    let lists = (
        paths(),
        any::<[bool; 3]>(),
        option::of(texts()),
        1..=LIST_ENTRIES_MAX,
    );
    let lists = lists.prop_map(
        |(path, [recursive, digest, progress], after, limit)| ListRequest {
            path,
            recursive,
            after: after.map(Cow::into_owned),
            limit,
            digest,
            progress,
        },
    );
    let runs = (vec(any::<u8>(), 0..40), any::<bool>())
        .prop_map(|(name, progress)| RunRequest { name, progress });
    prop_oneof![
        gets().prop_map(Action::Get),
        runs.prop_map(Action::Run),
        lists.prop_map(Action::List),
        stats.prop_map(Action::Stat),
        Just(Action::Hello)
    ]
}

fn texts() -> impl Strategy<Value = Cow<'static, str>> {
    // Short enough that no escape exceeds the limit of an error message.
    any::<String>().prop_map(|text| text.chars().take(33).collect::<String>().into())
}

fn hellos() -> impl Strategy<Value = Hello<'static>> {
    (
        any::<u32>(),
        vec(texts(), 0..4),
        vec(texts(), 0..4),
        any::<bool>(),
    )
        .prop_map(|(ft, ops, digests, writable)| Hello {
            ft: ft.into(),
            ops,
            digests,
            writable,
        })
}

fn entries() -> impl Strategy<Value = ListEntry<'static>> {
    let kinds = proptest::sample::select(ObjectKind::ALL.to_vec());
    let errors = (texts(), texts()).prop_map(|(code, message)| ErrorReply {
        code,
        message,
        retry_after_ms: None,
    });
    (
        (paths(), kinds, sizes(), option::of(digests())),
        option::of(times()),
        option::of(0..0o1000_u32),
        option::of(vec(any::<u8>(), 0..40)),
        option::of(errors),
    )
        .prop_map(
            |((path, kind, total_size, md5), mtime, mode, target, error)| ListEntry {
                path,
                kind,
                total_size,
                md5,
                mtime,
                mode,
                target: target.map(Cow::Owned),
                error,
            },
        )
}

fn headers() -> impl Strategy<Value = ResponseHeader<'static>> {
    let kinds = proptest::sample::select(ObjectKind::ALL.to_vec());
    let names = vec(any::<u8>(), 0..40);
    let first = (
        names,
        sizes(),
        option::of(digests()),
        option::of(sizes()),
        option::of(sizes()),
    );
    let then = (
        option::of(kinds),
        option::of(times()),
        option::of(0..0o1000_u32),
        option::of(ids()),
    );
    let errors = (texts(), texts(), option::of(sizes()));
    let errors = errors.prop_map(|(code, message, retry_after_ms)| ErrorReply {
        code,
        message,
        retry_after_ms,
    });
    let interims = (texts(), sizes()).prop_map(|(status, done)| Interim { status, done });
    let last = (
        option::of(errors),
        option::of(interims),
        any::<[bool; 3]>(),
        option::of(texts()),
        option::of(sizes()),
        option::of(any::<u8>()),
        option::of(texts()),
        option::of(hellos()),
    );
    (first, then, last).prop_map(|(first, then, last)| {
        let (name, total_size, md5, body_size, offset) = first;
        let (kind, mtime, mode, id) = then;
        let (error, interim, flags, next, hidden, exit_status, error_output, hello) = last;
        let [matched, last, recursive] = flags;
        ResponseHeader {
            name: name.into(),
            total_size: if error.is_some() { 0 } else { total_size },
            md5: md5.filter(|_| error.is_none()),
            body_size: if interim.is_some() {
                Some(0)
            } else {
                body_size
            },
            offset,
            kind,
            mtime,
            mode,
            id,
            error,
            interim,
            matched,
            next,
            last,
            recursive,
            hidden,
            exit_status,
            error_output,
            hello,
        }
    })
}

/// JSON of every shape, including the protocol's keys.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("d41d8cd98f00b204e9800998ecf8427e")),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let keys = proptest::sample::select(vec![
            "filename",
            "filename_b64",
            "op",
            "id",
            "need",
            "offset",
            "md5",
            "total_size",
            "error",
            "code",
            "message",
            "body_size",
            "x",
            "mtime",
            "mode",
            "status",
            "digests",
            "ft",
            "type",
            "target",
            "next",
            "after",
            "limit",
            "recursive",
            "last",
        ]);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((keys, inner), 0..6).prop_map(|entries| {
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                Value::Object(entries.collect::<Map<_, _>>())
            }),
        ]
    })
}

/// Valid messages, whose bits are flipped one by one.
fn valid_frames() -> Vec<Vec<u8>> {
    [
        r#"{"filename":"a/b.txt"}"#,
        r#"{"op":"stat","filename":"é","digests":["md5"],"id":"\u00e9","need":["id"]}"#,
        r#"{"filename":"a","offset":10,"want_md5":"d41d8cd98f00b204e9800998ecf8427e","x":{"y":[1.5]}}"#,
        r#"{"filename":"caf?","total_size":5,"md5":"d41d8cd98f00b204e9800998ecf8427e","filename_b64":"Y2Fm6Q==","mtime":"2026-11-20T10:11:12.123456789Z","mode":"0644"}"#,
        r#"{"filename":"","total_size":0,"md5":"","error":{"code":"busy","message":"m","retry_after_ms":9}}"#,
        r#"{"filename":"","total_size":0,"md5":"","body_size":0,"ft":1,"ops":["get"],"digests":["md5"],"writable":false}"#,
    ]
    .map(|json| [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat())
    .to_vec()
}

#[test]
fn needs_more_bytes_at_every_strict_prefix_of_a_message() {
    for frame in valid_frames() {
        for cut in 0..frame.len() {
            assert_eq!(
                split_frame(&frame[..cut]),
                Ok(None),
                "{cut} of {}",
                frame.escape_ascii()
            );
        }
        assert_eq!(split_frame(&frame).unwrap().unwrap().bytes, frame.len());
        fuzz(&frame);
    }
}

#[test]
fn survives_every_change_of_a_single_byte() {
    for frame in valid_frames() {
        for at in 0..frame.len() {
            for byte in 0..=u8::MAX {
                let mut changed = frame.clone();
                changed[at] = byte;
                if let Ok(Some(frame)) = split_frame(&changed) {
                    let _ = ReceivedRequest::parse(frame.json);
                    let _ = ResponseHeader::parse(frame.json);
                }
            }
        }
    }
}

proptest! {
    // A failing case is printed; files of them would appear next to Cargo.toml.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_the_requests_it_writes(action in actions(), id in option::of(ids())) {
        let call = Call { action, id };
        let mut out = Vec::new();
        call.encode(&mut out);
        let frame = split_frame(&out).unwrap().unwrap();
        prop_assert_eq!(frame.bytes, out.len());
        let request = ReceivedRequest::parse(frame.json).unwrap();
        let name = match &call.action {
            Action::Get(get) => get.path.as_bytes(),
            Action::Stat(stat) => stat.path.as_bytes(),
            Action::List(list) => list.path.as_bytes(),
            Action::Run(run) => &run.name,
            Action::Hello => b"",
        };
        prop_assert_eq!(&request.name, name);
        prop_assert_eq!((request.action, request.id), (Ok(call.action), call.id));
    }

    #[test]
    fn reads_the_headers_it_writes(header in headers()) {
        let mut out = Vec::new();
        header.encode(&mut out);
        let frame = split_frame(&out).unwrap().unwrap();
        prop_assert_eq!(frame.bytes, out.len());
        prop_assert_eq!(ResponseHeader::parse(frame.json), Ok(header));
    }

    #[test]
    fn reads_the_entries_it_writes(entry in entries()) {
        let mut out = Vec::new();
        entry.encode(&mut out);
        prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(ListEntry::parse(&out[..out.len() - 1]), Ok(entry.clone()));
        let value: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&value["filename"], &json!(String::from_utf8_lossy(entry.path.as_bytes())));
        prop_assert_eq!(&value["type"], &json!(entry.kind.as_str()));
    }

    #[test]
    fn orders_a_directory_before_its_contents(
        one in paths(),
        other in paths(),
    ) {
        prop_assert!(!one.is_below(&other) || other < one);
        prop_assert_eq!(one.cmp(&other), one.parts().cmp(other.parts()));
    }

    #[test]
    fn another_reader_agrees_about_its_headers(header in headers()) {
        let mut out = Vec::new();
        header.encode(&mut out);
        let value: Value = serde_json::from_slice(&out[4..]).unwrap();
        prop_assert_eq!(&value["filename"], &json!(String::from_utf8_lossy(&header.name)));
        prop_assert_eq!(&value["total_size"], &json!(header.total_size));
        let md5 = header.md5.map_or(String::new(), |md5| md5.to_string());
        prop_assert_eq!(&value["md5"], &json!(md5));
        prop_assert_eq!(value.get("body_size").and_then(Value::as_u64), header.body_size);
        prop_assert_eq!(value.get("filename_b64").is_some(), std::str::from_utf8(&header.name).is_err());
    }

    #[test]
    fn reads_the_times_it_writes(time in times()) {
        let text = time.to_text().unwrap();
        prop_assert_eq!(Timestamp::parse(std::str::from_utf8(&text).unwrap()), Some(time));
    }

    #[test]
    fn survives_arbitrary_bytes(bytes in vec(any::<u8>(), 0..600)) {
        fuzz(&bytes);
    }

    #[test]
    fn survives_arbitrary_bytes_of_meaningful_kinds(
        bytes in vec(proptest::sample::select(&b"\n\r\0\xff\xfa\xf0\xfb\xf4ab/. HTP1GE{}\"\x16\x03\x01"[..]), 0..200),
    ) {
        fuzz(&bytes);
    }

    #[test]
    fn survives_arbitrary_objects(value in values()) {
        let json = value.to_string();
        fuzz(json.as_bytes());
        fuzz(&[&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat());
    }

    #[test]
    fn survives_long_lines(
        bytes in vec(proptest::sample::select(&b"nnnnnnnnnnnnnnnn\xff\xf1"[..]), 4_000..5_000),
        end in proptest::sample::select(vec![&b""[..], b"\n", b"\r\0next", b"\r"]),
    ) {
        let mut line = bytes;
        line.extend_from_slice(end);
        let mut twice = line.clone();
        twice.extend_from_slice(&line);
        fuzz(&twice[twice.len() - 6_000.min(twice.len())..]);
    }
}
