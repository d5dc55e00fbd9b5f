use std::io::Read;

use super::*;

fn path(name: &[u8]) -> ResourcePath {
    ResourcePath::parse(name).unwrap()
}

fn file(name: &[u8], md5: Option<&str>) -> ListItem {
    ListItem {
        path: path(name),
        kind: ObjectKind::File,
        total_size: None,
        directory: None,
        md5: md5.map(|digits| Md5Digest::parse(digits).unwrap()),
    }
}

/// The paths that the lines name, or the number and the message of a bad line.
fn read_below(directory: &str, text: &[u8], nul: bool) -> Vec<Result<ListItem, (u64, String)>> {
    let input = ListReader::new(text, path(directory.as_bytes()), nul);
    input
        .map(|read| {
            read.map_err(|error| match error {
                ListReadError::Line { number, problem } => (number, problem.to_string()),
                other => (0, other.to_string()),
            })
        })
        .collect()
}

fn read(text: &[u8]) -> Vec<Result<ListItem, (u64, String)>> {
    read_below("", text, false)
}

#[track_caller]
fn names(text: &[u8]) -> Vec<String> {
    let wanted = read(text).into_iter().map(|line| line.expect("a name"));
    wanted
        .map(|wanted| String::from_utf8(wanted.path.as_bytes().to_vec()).unwrap())
        .collect()
}

#[track_caller]
fn assert_bad(text: &[u8], number: u64, words: &str) {
    let read = read(text);
    let bad: Vec<_> = read.iter().filter_map(|line| line.as_ref().err()).collect();
    assert!(
        matches!(&bad[..], [(at, sentence)] if *at == number && sentence.contains(words)),
        "{}: {bad:?}",
        text.escape_ascii()
    );
}

#[test]
fn names_are_read_one_per_line_with_any_line_ending() {
    assert_eq!(names(b""), [""; 0]);
    assert_eq!(names(b"\n\n\r\n"), [""; 0]);
    assert_eq!(names(b"a\nb/c\n"), ["a", "b/c"]);
    assert_eq!(names(b"a\nb/c"), ["a", "b/c"]);
    assert_eq!(names(b"a\r\n\r\nb c\r\n"), ["a", "b c"]);
    assert_eq!(names(b"\xef\xbb\xbfa\nb\n"), ["a", "b"]);
    assert_eq!(names(b"./a\n././b\n"), ["a", "b"]);
    // Spaces, marks and later lines that look like another format belong to the name.
    assert_eq!(names(b" a \n#b\n{}\n"), [" a ", "#b", "{}"]);
    assert_eq!(names(b"#b\na\n"), ["#b", "a"]);
    assert_eq!(names(b"#b\n"), ["#b"]);
    // A backslash before a name marks it as escaped; elsewhere it has no meaning.
    assert_eq!(
        names(b"\\a\\nb\\\\c\\r\na\\nb\n./\\n\n"),
        ["a\nb\\c\r", r"a\nb", r"\n"]
    );
    assert_bad(b"a\n\\b\\x\n", 2, "backslash");
    // A digest is a name if it stands alone, inside a name, or after ./
    let lines = b"a\nd41d8cd98f00b204e9800998ecf8427e\nx/d41d8cd98f00b204e9800998ecf8427e.bin\n";
    assert_eq!(names(lines).len(), 3);
    assert_eq!(names(&lines[2..]).len(), 2);
    let odd = b"./d41d8cd98f00b204e9800998ecf8427e  b\n";
    assert_eq!(names(odd), ["d41d8cd98f00b204e9800998ecf8427e  b"]);
    for line in [
        "20261128  report",
        "2026 1 b",
        "deadbeef  b",
        "b deadbeef",
        "f(x) = y",
        "a: b",
    ] {
        assert_eq!(names(line.as_bytes()), [line]);
    }
}

#[test]
fn names_may_be_any_bytes() {
    assert_eq!(read(b"latin-\xe9\n"), [Ok(file(b"latin-\xe9", None))]);
}

#[test]
fn with_nul_all_other_bytes_are_part_of_a_name() {
    let nul = |text: &[u8]| read_below("", text, true);
    let expected: [&[u8]; 6] = [
        b"a\nb",
        b"c\r",
        b"{\"x\":1}",
        EMPTY_LINE,
        b"\xef\xbb\xbfx",
        b"\\a\\n",
    ];
    assert_eq!(nul(b"d41d8cd98f00b204e9800998ecf8427e\0").len(), 1);
    let text = [expected.join(&0), b"\0\0".to_vec()].concat();
    let expected: Vec<_> = expected.iter().map(|name| Ok(file(name, None))).collect();
    assert_eq!(nul(&text), expected);
    assert_eq!(nul(b"\xff\xfea"), [Ok(file(b"\xff\xfea", None))]);
    assert_eq!(nul(b"./a"), [Ok(file(b"a", None))]);
}

#[test]
fn names_are_below_the_directory_of_the_source() {
    let expected = [Ok(file(b"x/y/a/b", None)), Ok(file(b"x/y/c", None))];
    assert_eq!(read_below("x/y", b"a/b\n./c\n", false), expected);
}

#[test]
fn a_trailing_slash_and_a_dot_are_directories() {
    let kinds = |text: &[u8]| -> Vec<_> {
        let wanted = read_below("x", text, false).into_iter().map(Result::unwrap);
        wanted.map(|it| (it.path, it.kind)).collect()
    };
    let directory = |name: &[u8]| (path(name), ObjectKind::Directory);
    assert_eq!(
        kinds(b".\n./\na/\n./a/b/\n"),
        [
            directory(b"x"),
            directory(b"x"),
            directory(b"x/a"),
            directory(b"x/a/b")
        ]
    );
}

#[test]
fn reads_every_form_of_md5sum() {
    let digits = "d41d8cd98f00b204e9800998ecf8427e";
    for (line, name) in [
        (format!("{digits}  a b"), "a b"),
        (format!("{digits} *a"), "a"),
        (format!("{digits} a"), "a"),
        (format!("{}  a", digits.to_uppercase()), "a"),
        (format!("{digits}  ./a"), "a"),
        (format!("{digits}   a"), " a"),
        (format!("{digits}  a\\nb"), "a\\nb"),
        (format!("\\{digits}  a\\nb\\\\c\\rd"), "a\nb\\c\rd"),
        (format!("MD5 (a) = {digits}"), "a"),
        (format!("MD5 (a) = b) = {digits}"), "a) = b"),
        (format!("\\MD5 (a\\nb) = {digits}"), "a\nb"),
        (format!("MD5(a b)= {digits}"), "a b"),
        (format!("md5(a)= {digits}"), "a"),
        (format!("MD5(a)= b)= {digits}"), "a)= b"),
        ("MD5 (a) = 1B2M2Y8AsgTpgAmY7PhCfg==".to_owned(), "a"),
        ("1B2M2Y8AsgTpgAmY7PhCfg==  a".to_owned(), "a"),
        (format!("{digits} ?MD5*a"), "a"),
        (format!("{digits}\ta"), "a"),
        (format!("  {digits}  a"), "a"),
        (format!("a b {digits}"), "a b"),
        (format!("a\t*{}", digits.to_uppercase()), "a"),
    ] {
        let expected = [Ok(file(name.as_bytes(), Some(digits)))];
        assert_eq!(read(format!("{line}\n").as_bytes()), expected, "{line}");
        assert_eq!(read(format!("{line}\r\n").as_bytes()), expected, "{line}");
    }
    // Both forms in one list, and comments, as md5sum accepts them.
    let text = format!("# sums\n#\n{digits}  a\n# more\nMD5 (b) = {digits}\n");
    let expected = [b"a", b"b"].map(|name| Ok(file(name, Some(digits))));
    assert_eq!(read(text.as_bytes()), expected);
}

#[test]
fn a_damaged_line_of_checksums_is_never_a_name() {
    let first = b"d41d8cd98f00b204e9800998ecf8427e  a\n";
    for (line, words) in [
        (&b"d41d8cd98f00b204e9800998ecf8427  b"[..], "not of md5sum"),
        (b"d41d8cd98f00b204e9800998ecf8427g  b", "not of md5sum"),
        (b"d41d8cd98f00b204e9800998ecf8427e", "not of md5sum"),
        (b"d41d8cd98f00b204e9800998ecf8427e  ", "not of md5sum"),
        (
            b"da39a3ee5e6b4b0d3255bfef95601890afd80709  b",
            "a digest of SHA-1, only",
        ),
        (
            b"b da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "a digest of SHA-1, only",
        ),
        (b"b: d41d8cd98f00b204e9800998ecf8427e", "not of md5sum"),
        (b"b,d41d8cd98f00b204e9800998ecf8427e", "not of md5sum"),
        (b"{\"filename\":\"b\"}", "not of md5sum"),
        (b"MD5 (b) = d41d", "not of md5sum"),
        (
            b"MD5 () = d41d8cd98f00b204e9800998ecf8427e",
            "not of md5sum",
        ),
        (
            b"SHA1 (b) = d41d8cd98f00b204e9800998ecf8427e",
            "a digest of SHA1, only",
        ),
        (b"\\d41d8cd98f00b204e9800998ecf8427e  b\\t", "backslash"),
        (b"\\d41d8cd98f00b204e9800998ecf8427e  b\\", "backslash"),
        (
            b"d41d8cd98f00b204e9800998ecf8427e  ../b",
            "a part that is . or ..",
        ),
        (b"b", "not of md5sum"),
    ] {
        let text = [first, line, b"\n", first].concat();
        assert_bad(&text, 2, words);
        assert_eq!(read(&text).len(), 3, "the rest is read");
    }
}

#[test]
fn a_bad_line_among_names_has_its_number_in_the_error() {
    let digits = "d41d8cd98f00b204e9800998ecf8427e";
    for (line, words) in [
        (format!("{digits}  b"), "line has a digest, the first line"),
        (format!("b {digits}"), "line has a digest"),
        (format!("b: {digits}"), "line has a digest"),
        (format!("MD5 (b) = {digits}"), "line has a digest"),
        ("SHA256 (b) = 0123456789".to_owned(), "line has a digest"),
        (
            "{\"filename\":\"b\"}".to_owned(),
            "a JSON object, the first",
        ),
    ] {
        assert_bad(format!("a\n{line}\nc\n").as_bytes(), 2, words);
    }
}

#[test]
fn lists_of_other_digests_are_refused_with_their_algorithm() {
    let hex = |digits: usize| "0123456789abcdef".repeat(8)[..digits].to_owned();
    for (line, algorithm) in [
        (format!("{}  a", hex(40)), "SHA-1"),
        (format!("{} *a", hex(56)), "SHA-224"),
        (format!("\\{}  a\\n", hex(64)), "SHA-256"),
        (format!("{}  a", hex(96)), "SHA-384"),
        (
            format!("{}  a", hex(128).to_uppercase()),
            "SHA-512 or BLAKE2b",
        ),
        (format!("a {}", hex(64)), "SHA-256"),
        (format!("SHA256 (a) = {}", hex(64)), "SHA256"),
        (format!("SHA2-256(a)= {}", hex(64)), "SHA2-256"),
        (format!("BLAKE2b-128 (a) = {}", hex(32)), "BLAKE2b-128"),
        (format!("HMAC-MD5(a)= {}", hex(32)), "HMAC-MD5"),
        (format!("MD5-SHA1(a)= {}", hex(72)), "MD5-SHA1"),
        (format!("SM3 (a) = {}", hex(64)), "SM3"),
        ("CRC32 (a) = 0123abcd".to_owned(), "CRC32"),
        ("SHA1 (a) = 2jmj7l5rSw0yVb/vlWAYkK/YBwk=".to_owned(), "SHA1"),
        ("3015617425 6 a".to_owned(), "CRC of cksum"),
    ] {
        let sentence = format!(
            "2: list has digests of {algorithm}, only those of MD5 can be verified; write ./ \
             before a name that looks like this"
        );
        let text = format!("# sums\n{line}\nb\nc\n");
        assert_eq!(read(text.as_bytes()), [Err((0, sentence))], "{line}");
    }
    let nul = format!("{}  a\0b\0", hex(64));
    let refused = read_below("", nul.as_bytes(), true);
    assert!(matches!(&refused[..], [Err((0, sentence))] if sentence.contains("SHA-256")));
}

#[test]
fn sfv_lists_are_refused_with_their_algorithm() {
    let many = "a name.bin 0123ABCD\n".repeat(1000);
    for list in [
        "a.bin 1234abcd\nb.bin 12345678",
        "; made by cksfv\n;\n\na.bin 12345678\nb c.bin 0000000F\n",
        ";\r\na.bin   DEADBEEF\r\n",
        &many,
    ] {
        let refused = read(list.as_bytes());
        assert!(
            matches!(&refused[..], [Err((0, sentence))] if sentence.contains("digests of CRC-32")),
            "{refused:?}"
        );
    }
    for (list, expected) in [
        (
            "report 20261128\nreport 20261129\n",
            &["report 20261128", "report 20261129"][..],
        ),
        ("a deadbeef\nb\n", &["a deadbeef", "b"]),
        ("a deadbeef\nb deadbee\n", &["a deadbeef", "b deadbee"]),
        (
            "./a deadbeef\n./b deadbeef\n",
            &["a deadbeef", "b deadbeef"],
        ),
        ("# \na deadbeef\n", &["# ", "a deadbeef"]),
        ("deadbeef\n", &["deadbeef"]),
        ("a deadbeefs\n", &["a deadbeefs"]),
    ] {
        assert_eq!(names(list.as_bytes()), expected);
    }
    let exact = read_below("", b"a deadbeef\0", true);
    assert_eq!(exact, [Ok(file(b"a deadbeef", None))]);
}

#[test]
fn lines_of_md5sum_may_end_with_a_nul() {
    let digits = "d41d8cd98f00b204e9800998ecf8427e";
    let text = format!("{digits}  a\nb\0{digits} *#c\0\\{digits}  d\0MD5 (e) = {digits}\0");
    let names = [&b"a\nb"[..], b"#c", b"d", b"e"];
    let expected: Vec<_> = names.map(|name| Ok(file(name, Some(digits)))).into();
    assert_eq!(read_below("", text.as_bytes(), true), expected);
    let mixed = format!("{digits}  a\0b\0{}  c\0", "ab".repeat(20));
    let errors: Vec<_> = read_below("", mixed.as_bytes(), true)
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert_eq!((errors[0].0, errors[1].0), (2, 3), "{errors:?}");
    for text in [
        format!("{digits}  a"),
        format!("{digits}  a\n{digits}  b\n"),
    ] {
        let refused = read_below("", text.as_bytes(), true);
        assert!(
            matches!(&refused[..], [Err((1, sentence))] if sentence.contains("without -0")),
            "{refused:?}"
        );
    }
    // With NUL, only the form of md5sum is not a name.
    let name = format!("a {digits}");
    assert_eq!(
        read_below("", format!("{name}\0").as_bytes(), true),
        [Ok(file(name.as_bytes(), None))]
    );
}

#[test]
fn semicolon_comments_and_later_byte_order_marks_are_skipped() {
    let digits = "d41d8cd98f00b204e9800998ecf8427e";
    let text = format!("; by a tool\r\n;\r\n{digits} *a\r\n; end\r\n\u{feff}{digits} *b\r\n");
    let expected = [b"a", b"b"].map(|name| Ok(file(name, Some(digits))));
    assert_eq!(read(text.as_bytes()), expected);
    assert_eq!(names(b"; by a tool\nb\n"), ["; by a tool", "b"]);
}

#[test]
fn the_signature_around_a_list_is_removed() {
    let digits = "d41d8cd98f00b204e9800998ecf8427e";
    let signed = |text: &str| {
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\nComment: x\n\n{text}\
             -----BEGIN PGP SIGNATURE-----\nVersion: x\n\niQ==\n=x\n-----END PGP SIGNATURE-----\n"
        )
    };
    let md5s = |names: &[&str]| -> Vec<_> {
        let names = names.iter();
        names
            .map(|name| Ok(file(name.as_bytes(), Some(digits))))
            .collect()
    };
    let text = signed(&format!("# sums\n{digits}  a\n\n- -----x {digits}\n"));
    assert_eq!(read(text.as_bytes()), md5s(&["a", "-----x"]));
    assert_eq!(
        read(text.replace('\n', "\r\n").as_bytes()),
        md5s(&["a", "-----x"])
    );
    let twice = format!("{text}{}", signed(&format!("{digits}  b\n")));
    assert_eq!(read(twice.as_bytes()), md5s(&["a", "-----x", "b"]));
    assert_eq!(names(signed("a\n- -b\n").as_bytes()), ["a", "-b"]);
    assert_eq!(names(signed("").as_bytes()), [""; 0]);
    // Without any header.
    let bare = signed("a\n").replace("Hash: SHA256\nComment: x\n", "");
    assert_eq!(names(bare.as_bytes()), ["a"]);

    let cut = &text[..text.find("-----BEGIN PGP SIGNATURE").unwrap()];
    let sentence = "signed text does not end".to_owned();
    assert_eq!(read(cut.as_bytes()).pop(), Some(Err((8, sentence))));
    let other = "-----BEGIN PGP MESSAGE-----\n\nhQ==\n-----END PGP MESSAGE-----\n";
    let sentence = "1: list is PGP data, only clear-signed text can be read";
    assert_eq!(read(other.as_bytes()), [Err((0, sentence.to_owned()))]);
    let refused = read(signed(&format!("{}  a\n", "ab".repeat(32))).as_bytes());
    assert!(matches!(&refused[..], [Err((0, sentence))] if sentence.starts_with("5: list has")));
}

#[test]
fn objects_name_the_whole_path() {
    let digits = "d41d8cd98f00b204e9800998ecf8427e";
    for (line, name, md5) in [
        (r#"{"filename":"x/a"}"#.to_owned(), &b"x/a"[..], None),
        (r#"{"filename":"x/a","md5":""}"#.to_owned(), b"x/a", None),
        (r#"{"filename":"x/a","md5":null}"#.to_owned(), b"x/a", None),
        (
            format!(r#"{{"filename":"x/a","md5":"{digits}"}}"#),
            b"x/a",
            Some(digits),
        ),
        (
            format!(
                r#" {{"v":1, "md5":"{}", "filename":"x/ü\n"}} "#,
                digits.to_uppercase()
            ),
            "x/ü\n".as_bytes(),
            Some(digits),
        ),
        (
            r#"{"filename":"x/?","filename_b64":"eC9sYXRpbi3p","else":{"a":[1]}}"#.to_owned(),
            b"x/latin-\xe9",
            None,
        ),
    ] {
        // As a later line: a list of objects cannot begin with a space.
        let text = format!("{{\"filename\":\"x/0\"}}\n{line}\r\n");
        let read = read_below("x", text.as_bytes(), false);
        assert_eq!(read[1], Ok(file(name, md5)), "{line}");
    }
    let kinds = ["dir", "symlink", "other", "of tomorrow"].map(|kind| {
        let line = format!("{{\"filename\":\"a\",\"type\":\"{kind}\"}}");
        read(line.as_bytes()).remove(0).unwrap().kind
    });
    use ObjectKind::{Directory, Other, Symlink};
    assert_eq!(kinds, [Directory, Symlink, Other, Other]);
}

#[test]
fn bad_objects_have_their_line_number_in_the_error() {
    for (line, words) in [
        ("{", "EOF while parsing an object at column 1"),
        ("[]", "not a JSON object"),
        ("name", "not a JSON object"),
        (r#"{"filename":"a"} x"#, "trailing characters"),
        (r#"{"filename":"a","filename":"b"}"#, "duplicate field"),
        (r#"{"filename":5}"#, "invalid type"),
        (r#"{"filename":"\ud800"}"#, "not a JSON object"),
        (r#"{"name":"a"}"#, "no filename"),
        (r#"{"filename_b64":"-"}"#, "base64"),
        (r#"{"filename":"a","md5":"d41d"}"#, "32 hex digits"),
        (r#"{"filename":"a","md5":5}"#, "invalid type"),
        (r#"{"filename":""}"#, "file name is empty"),
        (r#"{"filename":"../a"}"#, ". or .."),
        (r#"{"filename":"/a"}"#, "empty part"),
        (r#"{"filename":"a\u0000"}"#, "NUL"),
    ] {
        let text = format!("# a list\n{{\"filename\":\"0\"}}\n\n{line}\n{{\"filename\":\"1\"}}");
        assert_bad(text.as_bytes(), 4, words);
        assert_eq!(read(text.as_bytes()).len(), 3, "the rest is read");
    }
    let outside = read_below("x", b"{\"filename\":\"xy/a\\u001b\"}", false);
    let sentence = "xy/a\\x1b is not below the directory x of the source";
    assert_eq!(outside, [Err((1, sentence.to_owned()))]);
}

#[test]
fn bad_names_have_their_line_number_in_the_error() {
    for (line, words) in [
        (&b"/etc/passwd"[..], "begins with /"),
        (b"..", ". or .."),
        (b"a/../b", ". or .."),
        (b"a//b", "empty part"),
        (b"a//", "empty part"),
        (b"a\0b", "NUL"),
        (b"a/.ft-b", "reserved for partial files"),
    ] {
        assert_bad(&[b"0\n", line, b"\n1"].concat(), 2, words);
    }
    let long = "x".repeat(256);
    assert_bad(format!("{long}\n").as_bytes(), 1, "256 bytes");
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
    for (length, words) in [
        (LINE_BYTES_MAX - 1, "the limit is 4096"),
        (LINE_BYTES_MAX, "the limit is 4096"),
        (LINE_BYTES_MAX + 1, "line is over 65536 bytes"),
        (10 * LINE_BYTES_MAX, "line is over 65536 bytes"),
    ] {
        let text = format!("a\n{}\nb\n", "x".repeat(length));
        assert_bad(text.as_bytes(), 2, words);
        assert_eq!(read(text.as_bytes()).len(), 3);
        // As the first and as the last line too.
        let alone = "x".repeat(length);
        assert_bad(alone.as_bytes(), 1, words);
    }
}

#[test]
fn many_comments_do_not_pile_up() {
    let digits = "d41d8cd98f00b204e9800998ecf8427e";
    let list = |comments: usize| format!("{}{digits}  a\n", "# x\n".repeat(comments));
    assert_eq!(read(list(HELD_LINES_MAX).as_bytes()).len(), 1);
    // With one comment more, the comments are taken for names.
    let too_many = read(list(HELD_LINES_MAX + 1).as_bytes());
    assert_eq!(too_many.len(), HELD_LINES_MAX + 2);
}

#[test]
fn binary_input_is_reported_once() {
    for (text, words) in [
        (&b"\xff\xfea\0\n\0b\0\n\0"[..], "UTF-16"),
        (b"\xfe\xff\0a\0\n\0b", "UTF-16"),
        (b"a\0b\0", "-0 reads names"),
        (b"\x7fELF\0\n\0\n", "-0 reads names"),
    ] {
        let read = read(text);
        assert!(
            matches!(&read[..], [Err((0, sentence))] if sentence.contains(words)),
            "{read:?}"
        );
    }
}

#[test]
fn a_list_that_cannot_be_read_any_further_ends() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let reader = BufReader::new((&b"a\nb"[..]).chain(Broken));
    let read: Vec<_> = ListReader::new(reader, path(b""), false).collect();
    assert!(
        matches!(&read[..], [Ok(_), Err(ListReadError::Read(error))] if error.to_string() == "broken"),
        "{read:?}"
    );
}

#[test]
fn a_million_lines_are_read_as_they_come() {
    /// Produces lines on demand, and counts them.
    struct Endless<'a>(&'a std::cell::Cell<u64>);
    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.set(self.0.get() + 1);
            let line = format!("directory/{}\n", self.0.get());
            buffer[..line.len()].copy_from_slice(line.as_bytes());
            Ok(line.len())
        }
    }
    let written = std::cell::Cell::new(0);
    let input = ListReader::new(BufReader::new(Endless(&written)), path(b""), false);
    for (number, wanted) in input.take(1_000_000).enumerate() {
        assert!(wanted.is_ok());
        assert_eq!(written.get(), number as u64 + 1, "not a line ahead");
    }
}

const EMPTY_LINE: &[u8] = b"\n";
