use crate::wire::{Spelling, classify, split_frame};

/// The spelling of a connection that sent `bytes` and nothing else.
fn at_the_end(bytes: &[u8]) -> Spelling {
    classify(bytes, true).expect("the end decides")
}

#[test]
fn takes_frames_of_every_length_for_frames_however_cut() {
    for length in 2..=65_536_u32 {
        let [a, b, c, d] = length.to_le_bytes();
        let opening = [a, b, c, d, b'{'];
        for cut in 1..=5 {
            let expected = if cut < 3 {
                None
            } else {
                Some(Spelling::Framed)
            };
            assert_eq!(
                classify(&opening[..cut], false),
                expected,
                "{length} cut after {cut}"
            );
            assert_eq!(
                split_frame(&opening[..cut]),
                Ok(None),
                "{length} cut after {cut}"
            );
        }
        assert_eq!(at_the_end(&opening[..3]), Spelling::Framed, "{length}");
    }
}

#[test]
fn takes_clienthellos_of_every_length_and_version_for_tls() {
    for version in 1..=4 {
        for length in 0..=u16::MAX {
            let [high, low] = length.to_be_bytes();
            let hello = [0x16, 3, version, high, low, 1];
            for cut in 0..=hello.len() {
                let expected = if cut < 3 { None } else { Some(Spelling::Tls) };
                assert_eq!(classify(&hello[..cut], false), expected, "{hello:02x?}");
            }
        }
    }
    // One version below is a frame of 790 bytes; one version above is no protocol.
    assert_eq!(
        classify(&[0x16, 3, 0, 0, b'{'], false),
        Some(Spelling::Framed)
    );
    assert_eq!(classify(&[0x16, 3, 5, 0, 5], false), Some(Spelling::Bad));
}

#[test]
fn classifies_every_three_bytes_as_the_table_does() {
    let plain = |byte: u8| byte >= b' ' && byte != 0x7f || matches!(byte, b'\t' | b'\n' | b'\r');
    for bytes in 0..1_u32 << 24 {
        let [a, b, c, _] = bytes.to_le_bytes();
        let expected = match [a, b, c] {
            [_, _, 0] | [0, 0, 1] => Some(Spelling::Framed),
            [0x16, 3, 1..=4] => Some(Spelling::Tls),
            [0xff, 0xfa..=0xfe, _] => Some(Spelling::Text),
            [a, b, c] if !(plain(a) && plain(b) && plain(c)) => Some(Spelling::Bad),
            [b'G', b'E', b'T']
            | [b'H', b'E', b'A']
            | [b'P', b'O', b'S']
            | [b'P', b'U', b'T']
            | [b'D', b'E', b'L']
            | [b'O', b'P', b'T']
            | [b'P', b'A', b'T']
            | [b'T', b'R', b'A']
            | [b'C', b'O', b'N']
            | [b'P', b'R', b'I']
            | [b'P', b'R', b'O']
            | [b'\r', b'\n', b'\r'] => None,
            _ => Some(Spelling::Text),
        };
        assert_eq!(
            classify(&[a, b, c], false),
            expected,
            "{a:02x} {b:02x} {c:02x}"
        );
    }
}

#[test]
fn needs_the_space_after_a_method_to_detect_http() {
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI",
    ] {
        let line = format!("{method} / HTTP/1.1\r\n");
        for cut in 0..=method.len() {
            assert_eq!(
                classify(&line.as_bytes()[..cut], false),
                None,
                "{method} after {cut}"
            );
            assert_eq!(
                at_the_end(&line.as_bytes()[..cut]),
                Spelling::Text,
                "{method} after {cut}"
            );
        }
        for cut in method.len() + 1..=line.len() {
            assert_eq!(
                classify(&line.as_bytes()[..cut], false),
                Some(Spelling::Http),
                "{method}"
            );
        }
        for twin in [
            format!("{method}\n"),
            format!("{method}.txt"),
            method.to_lowercase() + " /",
        ] {
            assert_eq!(
                classify(twin.as_bytes(), false),
                Some(Spelling::Text),
                "{twin:?}"
            );
        }
    }
}

#[test]
fn refuses_the_header_of_a_proxy() {
    for header in [
        &b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11",
    ] {
        let decided = (0..=header.len()).find(|&cut| classify(&header[..cut], false).is_some());
        let decided = decided.expect("the header is recognised");
        assert!(decided <= 12);
        assert_eq!(classify(&header[..decided], false), Some(Spelling::Bad));
    }
    for twin in [&b"PROXY"[..], b"PROXY\n", b"proxy TCP4", b"\r\n\r\nname\n"] {
        assert_eq!(at_the_end(twin), Spelling::Text, "{}", twin.escape_ascii());
    }
}

#[test]
fn takes_the_shortest_names_for_text_if_nothing_follows() {
    for name in [
        &b""[..],
        b"a",
        b"ab",
        b"a\n",
        b"\n",
        b"\r\n",
        b"\xff",
        b"\xce\xc4",
        b"GE",
    ] {
        assert_eq!(classify(name, false), None, "{}", name.escape_ascii());
        assert_eq!(at_the_end(name), Spelling::Text, "{}", name.escape_ascii());
    }
    for text in [
        &b"a\nb"[..],
        b"ab\n",
        b"abc",
        b"\n\n\n",
        b"\xff\xfd\x03\xff\xfd\x01",
        b"\xce\xc4\xbc",
    ] {
        assert_eq!(
            classify(text, false),
            Some(Spelling::Text),
            "{}",
            text.escape_ascii()
        );
    }
}

#[test]
fn recognizes_the_beginnings_of_other_protocols() {
    for (bytes, spelling) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], Spelling::Text),
        (b"\x05\x01\x02", Spelling::Bad),
        (b"\x1b[A", Spelling::Bad),
        (b"ab\x7f", Spelling::Bad),
        (b"abc\x1b", Spelling::Text),
        (b"\x16\x03", Spelling::Bad),
        (b"\x10\0", Spelling::Bad),
        (b"\0", Spelling::Bad),
        (b"PRI * HTTP/2.0\r\n", Spelling::Http),
    ] {
        assert_eq!(at_the_end(bytes), spelling, "{}", bytes.escape_ascii());
    }
}
