use crate::wire::{
    Action, ErrorCode, PATH_BYTES_MAX, ReceivedRequest, ResourcePath, TEXT_LINE_BYTES_MAX,
    TextEvent, TextReader,
};

fn name(bytes: impl AsRef<[u8]>) -> TextEvent {
    TextEvent::Name(bytes.as_ref().to_vec())
}

/// All events in `input` if nothing follows soon. `ended` tells whether that completes a line.
fn read(input: &[u8], ended: bool) -> (Vec<TextEvent>, usize) {
    let mut reader = TextReader::default();
    let mut events = Vec::new();
    let mut start = 0;
    loop {
        let (used, event) = reader.next(&input[start..], ended);
        start += used;
        match event {
            Some(event) => events.push(event),
            None => return (events, input.len() - start),
        }
    }
}

#[test]
fn ends_names_at_every_end_mark() {
    for (input, names) in [
        (&b"a\n"[..], &["a"][..]),
        (b"a\r\n", &["a"]),
        (b"a\r\0", &["a"]),
        (b"a\r\0b\nc\r\n", &["a", "b", "c"]),
        (b"a\nb\nc\n", &["a", "b", "c"]),
        (b"\n\r\n\r\0\na\n\n\n", &["a"]),
        (b"a b\tc\n", &["a b\tc"]),
        (b"a\rb\n", &["a\rb"]),
        (b"a\r\r\n", &["a\r"]),
        (b"@NAME\n", &["@NAME"]),
        (b"dir/\n", &["dir/"]),
        (b"a\0b\n", &["a\0b"]),
    ] {
        let names: Vec<_> = names.iter().map(name).collect();
        assert_eq!(read(input, false), (names, 0), "{}", input.escape_ascii());
    }
}

#[test]
fn waits_for_the_end_of_a_name_or_for_silence() {
    for (input, ended) in [
        (&b"a"[..], vec![name("a")]),
        (b"a\r", vec![name("a")]),
        (b"\r", vec![]),
        (b"a\xff", vec![name(b"a\xff")]),
        (b"\xc4\xe3\xba\xc3.txt", vec![name(b"\xc4\xe3\xba\xc3.txt")]),
    ] {
        assert_eq!(
            read(input, false),
            (vec![], input.len()),
            "{}",
            input.escape_ascii()
        );
        assert_eq!(read(input, true), (ended, 0), "{}", input.escape_ascii());
    }
    assert_eq!(read(b"", true), (vec![], 0));
    assert_eq!(read(b"\n\n", false), (vec![], 0));
}

#[test]
fn removes_telnet_commands_from_names() {
    for (input, expected) in [
        (&b"\xff\xfb\x1fa\n"[..], &b"a"[..]),
        (b"\xff\xfd\x03\xff\xfe\x0a\xff\xfc\x0da\n", b"a"),
        (b"a\xff\xf1b\n", b"ab"),
        (b"a\xff\xf4\xff\xfd\x06b\n", b"ab"),
        (b"\xff\xfa\x1f\0\x50\0\x18\xff\xf0a\n", b"a"),
        (b"\xff\xfa\x1f\n\xff\xff\xf0x\xff\xf0a\n", b"a"),
        (b"a\xff\xfa\x18\0x\xff\xf0b\n", b"ab"),
        (b"a\xff\xffb\n", b"a\xffb"),
        (b"\xff\xff\n", b"\xff"),
    ] {
        assert_eq!(
            read(input, false),
            (vec![name(expected)], 0),
            "{}",
            input.escape_ascii()
        );
        assert_eq!(
            read(input, true),
            (vec![name(expected)], 0),
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn detects_a_telnet_client_by_its_first_command() {
    let mut reader = TextReader::default();
    for (input, speaks) in [
        (&b"a\xff\xffb\xffc\n"[..], false),
        (b"\xff\xfd\x03", true),
        (b"a\n", true),
    ] {
        reader.next(input, false);
        assert_eq!(reader.speaks_telnet(), speaks, "{}", input.escape_ascii());
    }
}

#[test]
fn keeps_a_byte_255_that_begins_no_telnet_command() {
    // Latin-1 "ÿa" and "ÿ" alone, and Latin-1 "ÿúa", which looks like parameters without an end.
    assert_eq!(read(b"\xffa\n", false), (vec![name(b"\xffa")], 0));
    assert_eq!(read(b"\xff\n", false), (vec![name(b"\xff")], 0));
    assert_eq!(read(b"\xff\xfaa\n", true), (vec![name(b"\xff\xfaa")], 0));
    let long = [b"\xff\xfa", [b'a'; 600].as_slice(), b"\n"].concat();
    assert_eq!(read(&long, false), (vec![name(&long[..602])], 0));
}

#[test]
fn waits_for_the_rest_of_a_telnet_command() {
    for input in [
        &b"\xff"[..],
        b"\xff\xfb",
        b"\xff\xfa",
        b"\xff\xfa\x1f\0\x50\0\x18\xff",
    ] {
        assert_eq!(
            read(input, false),
            (vec![], input.len()),
            "{}",
            input.escape_ascii()
        );
    }
    // Bytes before a name are dropped at once, so they never fill a buffer.
    assert_eq!(read(b"\xff\xf1\xff\xfb\x1f\n\xff", false), (vec![], 1));
}

#[test]
fn limits_the_length_of_names() {
    for end in ["\n", "\r\n", "\r\0"] {
        for length in [PATH_BYTES_MAX - 1, PATH_BYTES_MAX] {
            let input = "n".repeat(length) + end;
            assert_eq!(
                read(input.as_bytes(), false),
                (vec![name("n".repeat(length))], 0)
            );
        }
        for length in [PATH_BYTES_MAX + 1, 70_000] {
            let input = "n".repeat(length) + end + "next\n";
            let expected = vec![TextEvent::TooLong, name("next")];
            assert_eq!(read(input.as_bytes(), false), (expected, 0), "{length}");
        }
    }
}

#[test]
fn drops_the_rest_of_a_long_line() {
    let mut reader = TextReader::default();
    let long = "n".repeat(PATH_BYTES_MAX + 1);
    let event = reader.next(long.as_bytes(), false);
    assert_eq!(event, (PATH_BYTES_MAX + 1, Some(TextEvent::TooLong)));
    for _ in 0..3 {
        assert_eq!(reader.next(long.as_bytes(), false), (long.len(), None));
    }
    assert_eq!(reader.next(b"n\r", false), (1, None));
    assert_eq!(reader.next(b"\r\nnext\n", false), (7, Some(name("next"))));

    let mut reader = TextReader::default();
    reader.next(long.as_bytes(), false);
    assert_eq!(
        reader.next(b"rest", true),
        (4, None),
        "silence ends the long line"
    );
    assert_eq!(reader.next(b"next\n", false), (5, Some(name("next"))));
}

#[test]
fn never_waits_for_more_than_the_longest_line() {
    let commands = [b"a".as_slice(), &b"\xff\xf1".repeat(TEXT_LINE_BYTES_MAX)].concat();
    let (events, left) = read(&commands, false);
    assert_eq!((events, left), (vec![TextEvent::TooLong], 0));
    let doubled = [b"\xff\xff".repeat(PATH_BYTES_MAX).as_slice(), b"\n"].concat();
    assert_eq!(
        read(&doubled, false),
        (vec![name([0xff; PATH_BYTES_MAX])], 0)
    );
}

#[test]
fn finds_http_by_the_end_of_its_line() {
    for input in ["BREW /pot HTTP/1.1\r\n", "x HTTP/1.0\n", " HTTP/1.1\n"] {
        assert_eq!(
            read(input.as_bytes(), false),
            (vec![TextEvent::Http], 0),
            "{input}"
        );
    }
    for input in [
        "HTTP/1.1",
        "x HTTP/1.2",
        "x HTTP/1.1 ",
        "x http/1.1",
        "xHTTP/1.1",
    ] {
        let line = format!("{input}\n");
        assert_eq!(
            read(line.as_bytes(), false),
            (vec![name(input)], 0),
            "{input}"
        );
    }
}

#[test]
fn makes_a_plain_get_of_a_line() {
    let request = ReceivedRequest::from_text(b"a/\xff b");
    assert_eq!(request.name, b"a/\xff b");
    assert_eq!((request.id, request.body_size), (None, 0));
    let Ok(Action::Get(get)) = request.action else {
        panic!("a line is a get")
    };
    assert_eq!(get.path, ResourcePath::parse(b"a/\xff b").unwrap());
    assert_eq!((get.range, get.have_md5, get.want_md5), (None, None, None));
    assert!(!get.fresh && !get.progress);
}

#[test]
fn refuses_an_invalid_line_and_echoes_it_if_short_enough() {
    for (line, echoed) in [
        (b"../x".to_vec(), b"../x".to_vec()),
        (b"a\0b".to_vec(), b"a\0b".to_vec()),
        (b"dir/".to_vec(), b"dir/".to_vec()),
        (vec![b'/'; PATH_BYTES_MAX], vec![b'/'; PATH_BYTES_MAX]),
        (vec![b'n'; PATH_BYTES_MAX + 1], vec![]),
    ] {
        let request = ReceivedRequest::from_text(&line);
        assert_eq!(request.name, echoed);
        assert_eq!(request.action.unwrap_err().code, ErrorCode::BadName);
    }
}

#[test]
fn finds_the_end_of_telnet_parameters_anywhere() {
    for (parameters, is_whole) in [
        (&b""[..], true),
        (b"\x01", true),
        (b"\xff\xff", true),
        (b"\xff\xff\x01", true),
        (b"\x01\xff\xff\xff\xff", true),
        (&[1; 510], true),
        (&[1; 511], false),
    ] {
        let command = [&b"\xff\xfa"[..], parameters, b"\xff\xf0"].concat();
        let input = [&b"a"[..], &command, b"b\n"].concat();
        let expected = if is_whole {
            b"ab".to_vec()
        } else {
            [b"a\xff\xfa", parameters, b"b"].concat()
        };
        let (events, left) = read(&input, false);
        assert_eq!(
            (events, left),
            (vec![name(expected)], 0),
            "{}",
            command.escape_ascii()
        );
    }
    // Parameters this long are not waited for any more.
    for (count, is_waited_for) in [(511, true), (512, false)] {
        let input = [&b"\xff\xfa"[..], &vec![1; count]].concat();
        let mut reader = TextReader::default();
        let (used, event) = reader.next(&input, false);
        assert_eq!((used, event), (0, None));
        let (_, event) = reader.next(&[&input[..], b"\n"].concat(), false);
        assert_eq!(event.is_none(), count < 511, "{count}");
        assert!(is_waited_for || event.is_some());
    }
    // A partial command is waited for within a name, too.
    for cut in [&b"a\xff"[..], b"a\xff\xfb", b"a\xff\xfe"] {
        assert_eq!(read(cut, false), (vec![], cut.len()));
    }
}
