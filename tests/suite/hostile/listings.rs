//! Listings that no server may send.

use super::answers::{answer, header};
use super::server::{Act, HostileServer};
use crate::harness::{ftget, md5_hex};

/// A server whose listing of `d` has these names, one on each page, as files.
fn listing(names: &'static [&'static str], more: &'static str) -> HostileServer {
    HostileServer::start(move |request| {
        let page = request.str("after").parse().unwrap_or(0_usize);
        let name = names[page];
        let body = format!(r#"{{"filename":"{name}","total_size":0,"md5":"","type":"file"}}"#);
        let body = format!("{body}\n");
        let next = if page + 1 < names.len() {
            format!(r#", "next": "{}""#, page + 1)
        } else {
            r#", "last": true"#.to_owned()
        };
        let md5 = md5_hex(&body);
        let text = header("d", body.len() as u64, &md5, &format!("{next}{more}"));
        vec![Act::Send(answer(text, body.as_bytes()))]
    })
}

#[test]
fn names_that_do_not_lie_in_the_listed_folder_are_not_shown() {
    for names in [&["d/x1/deep/er"][..], &["d/a", "d/a/b"], &["d/b/c"], &["e"]] {
        let server = listing(names, "");
        let shown = ftget(["--list", &server.source("d")]).expect_code(7);
        assert_eq!(shown.text().lines().count(), names.len() - 1, "{names:?}");
        assert!(
            shown.stderr.contains("server broke the protocol"),
            "{}",
            shown.stderr
        );
    }
}

#[test]
fn what_is_told_of_a_misplaced_name_quotes_the_names_and_calls_the_root_the_root() {
    let server = listing(&["d/x1/deep/er"], "");
    let shown = ftget(["--list", &server.source("d")]).expect_code(7);
    let told = r#"listing has "d/x1/deep/er", only names in "d" and after "d" may follow"#;
    assert!(shown.stderr.contains(told), "{}", shown.stderr);
    let server = HostileServer::start(|_| {
        let body = "{\"filename\":\"\",\"total_size\":0,\"md5\":\"\",\"type\":\"file\"}\n";
        let text = header("", body.len() as u64, &md5_hex(body), r#", "last": true"#);
        vec![Act::Send(answer(text, body.as_bytes()))]
    });
    let shown = ftget(["--list", &server.source("")]).expect_code(7);
    let told = "listing has the root, only names in the root and after the root may follow";
    assert!(shown.stderr.contains(told), "{}", shown.stderr);
}

#[test]
fn hidden_entries_beyond_every_number_are_counted_without_a_panic() {
    let server = listing(&["d/a", "d/b", "d/c"], r#", "hidden": 9223372036854775807"#);
    let shown = ftget(["--list", &server.source("d")]).expect_code(0);
    assert_eq!(shown.text(), "a\nb\nc\n");
    assert_eq!(
        shown.stderr,
        format!(
            "ftget: note: {} hidden entries are not shown by the server\n",
            u64::MAX
        )
    );
}
