use super::scripted::{Play, ScriptedServer, config, frame, md5_hex, refusal};
use crate::client::{ClientError, Folder, Listing, ProtocolError};
use crate::wire::ResourcePath;

/// A folder if there is a slash behind the name.
fn entry(name: &str) -> String {
    let (name, kind) = match name.strip_suffix('/') {
        Some(name) => (name, "dir"),
        None => (name, "file"),
    };
    format!(r#"{{"filename":"{name}","total_size":0,"md5":"","type":"{kind}"}}"#) + "\n"
}

fn page(names: &[&str], next: Option<&str>) -> Vec<u8> {
    page_of(
        &names.iter().map(|name| entry(name)).collect::<String>(),
        next,
    )
}

fn page_of(body: &str, next: Option<&str>) -> Vec<u8> {
    let more = match next {
        Some(next) => format!(r#","next":"{next}","recursive":true,"hidden":2"#),
        None => r#","last":true,"recursive":true"#.to_owned(),
    };
    page_with(body, &more)
}

/// One with these further keys.
fn page_with(body: &str, more: &str) -> Vec<u8> {
    let (size, md5) = (body.len(), md5_hex(body.as_bytes()));
    let header = format!(r#"{{"filename":"d","total_size":{size},"md5":"{md5}"{more}}}"#);
    [frame(&header), body.as_bytes().to_vec()].concat()
}

/// The names that a listing gives, what is hidden, and how it ended.
fn list_from(server: &ScriptedServer) -> (Vec<String>, u64, Result<(), ClientError>) {
    list_to_depth(server, true)
}

fn list_to_depth(
    server: &ScriptedServer,
    recursive: bool,
) -> (Vec<String>, u64, Result<(), ClientError>) {
    let folder = Folder {
        address: server.address.clone(),
        path: ResourcePath::parse(b"d").unwrap(),
        recursive,
        digests: false,
    };
    let config = config();
    let mut listing = Listing::new(folder, &config);
    let (mut names, mut hidden) = (Vec::new(), 0);
    loop {
        match listing.next_page(&mut |_| {}) {
            Ok(Some(page)) => {
                hidden += page.hidden;
                let name = |path: &ResourcePath| String::from_utf8_lossy(path.as_bytes()).into();
                names.extend(page.entries.iter().map(|entry| name(&entry.path)));
            }
            Ok(None) => return (names, hidden, Ok(())),
            Err(error) => {
                assert!(
                    matches!(listing.next_page(&mut |_| {}), Ok(None)),
                    "it is over"
                );
                return (names, hidden, Err(error));
            }
        }
    }
}

#[test]
fn pages_are_asked_for_until_one_has_no_next_and_may_be_empty() {
    let script = [
        page(&["d/a/", "d/a/b"], Some("1")),
        page(&[], Some("2")),
        page(&["d/a.b"], Some("3")),
        page(&[], None),
    ];
    let server = ScriptedServer::play(script.map(Play::Answer).into());
    let (names, hidden, end) = list_from(&server);
    end.unwrap();
    assert_eq!((names.join(" "), hidden), ("d/a d/a/b d/a.b".into(), 6));
    let requests = server.requests();
    let after: Vec<_> = requests
        .iter()
        .map(|request| request["after"].as_str())
        .collect();
    assert_eq!(after, [None, Some("1"), Some("2"), Some("3")]);
    assert!(
        requests
            .iter()
            .all(|request| request["op"] == "list" && request["recursive"] == true)
    );
}

#[test]
fn a_page_that_is_cut_off_or_damaged_is_asked_for_again() {
    let second = page(&["d/b", "d/c"], None);
    let mut damaged = second.clone();
    *damaged.last_mut().unwrap() = b' ';
    let cut = second[..second.len() - 5].to_vec();
    let server = ScriptedServer::play(vec![
        Play::Answer(page(&["d/a"], Some("1"))),
        Play::Close(cut),
        Play::Close(damaged),
        Play::Close(refusal("d", "busy")),
        Play::Answer(second),
    ]);
    let (names, _, end) = list_from(&server);
    end.unwrap();
    assert_eq!(names, ["d/a", "d/b", "d/c"]);
    let requests = server.requests();
    assert!(
        requests[1..].iter().all(|request| request["after"] == "1"),
        "{requests:?}"
    );
}

#[test]
fn a_listing_that_no_server_may_send_is_refused() {
    let lies: [(&str, Vec<Vec<u8>>); 13] = [
        ("not ascending", vec![page(&["d/b", "d/a"], None)]),
        ("twice", vec![page(&["d/a", "d/a"], None)]),
        (
            "a folder behind its contents",
            vec![page(&["d/a/b", "d/a/"], None)],
        ),
        (
            "in a folder that was not listed",
            vec![page(&["d/a/b"], None)],
        ),
        (
            "in a folder that was not listed, of one that was",
            vec![page(&["d/a/", "d/a/b/c"], None)],
        ),
        ("in a file", vec![page(&["d/a", "d/a/b"], None)]),
        (
            "in a folder of the last page that is behind",
            vec![page(&["d/a/", "d/b/"], Some("1")), page(&["d/a/c"], None)],
        ),
        ("outside", vec![page(&["e/a"], None)]),
        ("the folder itself", vec![page(&["d"], None)]),
        (
            "behind the last page",
            vec![page(&["d/b"], Some("1")), page(&["d/a"], None)],
        ),
        (
            "the same next",
            vec![page(&["d/a"], Some("1")), page(&["d/b"], Some("1"))],
        ),
        ("climbing", vec![page(&["d/../../etc/passwd"], None)]),
        ("no entry", vec![page_of("nonsense\n", None)]),
    ];
    for (case, script) in lies {
        let server = ScriptedServer::play(script.into_iter().map(Play::Answer).collect());
        let (_, _, end) = list_from(&server);
        assert!(
            matches!(end, Err(ClientError::Protocol(_))),
            "{case}: {end:?}"
        );
    }
    let server = ScriptedServer::play(vec![Play::Answer(frame(&format!(
        r#"{{"filename":"d","total_size":{},"md5":"{}","last":true,"recursive":true}}"#,
        1_u64 << 40,
        md5_hex(b"")
    )))]);
    let (_, _, end) = list_from(&server);
    assert!(
        matches!(
            end,
            Err(ClientError::Protocol(ProtocolError::TooMuch { .. }))
        ),
        "a huge page: {end:?}"
    );
}

#[test]
fn a_page_whose_header_would_make_the_tree_shorter_is_refused() {
    let body = entry("d/a");
    for (case, recursive, more) in [
        (
            "neither next nor last",
            true,
            r#","nexu":"1","recursive":true"#,
        ),
        ("neither, of one folder", false, ""),
        ("both", true, r#","next":"1","last":true,"recursive":true"#),
        ("last, and not", true, r#","last":false,"recursive":true"#),
        ("one folder of a tree", true, r#","last":true"#),
        ("no folder below", true, r#","last":true,"recursive":false"#),
        (
            "a tree of one folder",
            false,
            r#","last":true,"recursive":true"#,
        ),
    ] {
        let server = ScriptedServer::play(vec![Play::Answer(page_with(&body, more))]);
        let (names, _, end) = list_to_depth(&server, recursive);
        assert!(names.is_empty(), "{case}: {names:?}");
        let is_refused = matches!(
            end,
            Err(ClientError::Protocol(
                ProtocolError::NextOrLast | ProtocolError::OtherDepth { .. }
            ))
        );
        assert!(is_refused, "{case}: {end:?}");
    }
    // What is spelled out is no lie.
    let page = page_with(&body, r#","last":true,"recursive":false"#);
    let server = ScriptedServer::play(vec![Play::Answer(page)]);
    list_to_depth(&server, false).2.unwrap();
}

#[test]
fn folders_go_on_over_pages_however_deep() {
    let script = [
        page(&["d/a/", "d/a/b/"], Some("1")),
        page(&["d/a/b/c", "d/a/b.c/", "d/a/b.c/d"], Some("2")),
        page(&["d/a/e", "d/f/", "d/g"], None),
    ];
    let server = ScriptedServer::play(script.map(Play::Answer).into());
    let (names, _, end) = list_from(&server);
    end.unwrap();
    assert_eq!(
        names.join(" "),
        "d/a d/a/b d/a/b/c d/a/b.c d/a/b.c/d d/a/e d/f d/g"
    );
}

#[test]
fn what_is_deeper_has_no_place_in_a_listing_of_one_folder() {
    let flat = |names: &[&str], more| {
        let body: String = names.iter().map(|name| entry(name)).collect();
        Play::Answer(page_with(&body, more))
    };
    let (last, next) = (r#","last":true"#, r#","next":"1""#);
    let server = ScriptedServer::play(vec![flat(&["d/a/", "d/b"], last)]);
    let (names, _, end) = list_to_depth(&server, false);
    end.unwrap();
    assert_eq!(names, ["d/a", "d/b"]);
    for script in [
        vec![flat(&["d/a/b"], last)],
        vec![flat(&["d/a/", "d/a/b"], last)],
        vec![flat(&["d/a/"], next), flat(&["d/a/b"], last)],
        vec![flat(&["d/a"], next), flat(&["d/a/b"], last)],
    ] {
        let server = ScriptedServer::play(script);
        let (_, _, end) = list_to_depth(&server, false);
        assert!(
            matches!(
                end,
                Err(ClientError::Protocol(ProtocolError::MisplacedEntry { .. }))
            ),
            "{end:?}"
        );
    }
}

#[test]
fn a_file_that_became_a_folder_between_two_pages_is_left_at_that() {
    let script = [
        page(&["d/a"], Some("1")),
        page(&["d/a/new", "d/a/newer/", "d/a/newer/x", "d/b"], None),
    ];
    let server = ScriptedServer::play(script.map(Play::Answer).into());
    let (names, _, end) = list_from(&server);
    end.unwrap();
    assert_eq!(names, ["d/a", "d/b"]);
}

#[test]
fn what_is_no_folder_is_listed_as_itself_and_what_is_missing_is_not() {
    let stat = frame(
        r#"{"filename":"d","total_size":7,"md5":"","body_size":0,"type":"file","mode":"0644"}"#,
    );
    let server = ScriptedServer::play(vec![
        Play::Answer(refusal("d", "not_a_directory")),
        Play::Answer(stat),
    ]);
    let (names, _, end) = list_from(&server);
    end.unwrap();
    assert_eq!(names, ["d"]);

    let missing = || Play::Answer(refusal("d", "not_a_directory"));
    let server = ScriptedServer::play(vec![missing(), missing()]);
    assert!(matches!(list_from(&server).2, Err(ClientError::Refused(_))));
}
