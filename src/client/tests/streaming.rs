use std::io;

use super::scripted::{
    Play, ScriptedServer, config, file, lying_file, md5_hex, md5_of, noise, refusal, rest,
};
use crate::client::{ClientError, DownloadResult, StreamDownload, stream_to};
use crate::wire::ResourcePath;

fn stream_from(server: &ScriptedServer) -> (Vec<u8>, DownloadResult) {
    let wanted = StreamDownload {
        address: server.address.clone(),
        path: ResourcePath::parse(b"f").unwrap(),
        is_command: false,
        want_md5: None,
        spool: None,
    };
    let mut output = Vec::new();
    let result = stream_to(&wanted, &config(), &mut output, &mut |_| {});
    (output, result)
}

#[test]
fn files_of_every_size_are_poured_out() {
    for size in [0, 1, 262_144, 262_145, 3_000_000] {
        let content = noise(size);
        let server = ScriptedServer::play(vec![Play::Answer(file("f", &content))]);
        let (output, result) = stream_from(&server);
        assert!(output == content, "{size}");
        assert_eq!(result.unwrap().md5, Some(md5_of(&content)));
    }
}

#[test]
fn a_small_file_of_a_wrong_digest_is_asked_for_anew_before_a_byte_is_out() {
    let wrong = || Play::Answer(lying_file("f", b"wrong", &md5_hex(b"right")));
    let server = ScriptedServer::play(vec![wrong(), Play::Answer(file("f", b"right"))]);
    let (output, result) = stream_from(&server);
    assert_eq!((output, result.unwrap().attempts), (b"right".to_vec(), 2));

    let server = ScriptedServer::play(vec![wrong(), wrong()]);
    let (output, result) = stream_from(&server);
    assert!(
        matches!(result, Err(ClientError::DigestMismatch { .. })),
        "{result:?}"
    );
    assert_eq!(output, b"");
}

#[test]
fn a_large_file_of_a_wrong_digest_is_a_failure_at_its_end() {
    let content = noise(500_000);
    let server = ScriptedServer::play(vec![Play::Answer(lying_file("f", &content, &md5_hex(b"")))]);
    let (output, result) = stream_from(&server);
    assert!(
        matches!(result, Err(ClientError::DigestMismatch { .. })),
        "{result:?}"
    );
    assert!(output == content);
}

#[test]
fn a_cut_is_mended_behind_what_is_out() {
    let content = noise(2_000_000);
    let whole = file("f", &content);
    let cut = whole.len() - 500_000;
    let out = cut - (whole.len() - content.len());
    // By a range, or by a server that knows three keys only and sends it all again.
    for second in [rest("f", &content, out), whole.clone()] {
        let server = ScriptedServer::play(vec![
            Play::Close(whole[..cut].to_vec()),
            Play::Answer(second),
        ]);
        let (output, result) = stream_from(&server);
        assert!(output == content);
        assert_eq!(result.unwrap().attempts, 2);
        let requests = server.requests();
        assert_eq!(
            (&requests[1]["offset"], &requests[1]["want_md5"]),
            (&out.into(), &md5_hex(&content).into())
        );
    }
}

#[test]
fn content_that_changed_after_a_cut_is_not_joined_to_what_is_out() {
    let content = noise(2_000_000);
    let whole = file("f", &content);
    let cut = || Play::Close(whole[..1_000_000].to_vec());
    let server = ScriptedServer::play(vec![cut(), Play::Answer(refusal("f", "changed"))]);
    assert!(matches!(
        stream_from(&server).1,
        Err(ClientError::Refused(_))
    ));
    let server = ScriptedServer::play(vec![cut(), Play::Answer(file("f", &noise(1_999_999)))]);
    let (output, result) = stream_from(&server);
    assert!(
        matches!(result, Err(ClientError::OtherContent { .. })),
        "{result:?}"
    );
    assert!(content.starts_with(&output));
}

#[test]
fn an_output_that_is_closed_ends_it() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for size in [10, 1_000_000] {
        let server = ScriptedServer::play(vec![Play::Answer(file("f", &noise(size)))]);
        let wanted = StreamDownload {
            address: server.address.clone(),
            path: ResourcePath::parse(b"f").unwrap(),
            is_command: false,
            want_md5: None,
            spool: None,
        };
        let error = stream_to(&wanted, &config(), &mut Closed, &mut |_| {}).unwrap_err();
        assert!(matches!(error, ClientError::Output(_)), "{error:?}");
    }
}
