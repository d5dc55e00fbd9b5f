//! From what went wrong to what the peer is told: the only place, every case written out.

use std::borrow::Cow;
use std::io;

use crate::server::transfer::connection_state::RequestInfo;
use crate::store::{ObjectMeta, StoreError};
use crate::wire::{ErrorCode, ErrorReply, ObjectKind, Refusal, ResponseHeader};

/// The bytes before a refusal's answer: `error`, no size, no digest.
pub(super) fn refuse(info: &RequestInfo, refusal: &Refusal, output: &mut Vec<u8>) {
    let header = ResponseHeader {
        name: Cow::Borrowed(&info.name),
        id: info.id.clone(),
        error: Some(error_reply(refusal)),
        exit_status: info.exit_status,
        ..ResponseHeader::default()
    };
    header.encode(output);
}

/// `error`, as it is written.
pub(super) fn error_reply(refusal: &Refusal) -> ErrorReply<'_> {
    ErrorReply {
        code: Cow::Borrowed(refusal.code.as_str()),
        message: Cow::Borrowed(&refusal.message),
        retry_after_ms: refusal.retry_after_ms,
    }
}

/// What a peer is told of a store's error: never a path of the host.
pub(super) fn store_refusal(error: &StoreError) -> Refusal {
    let code = match error {
        StoreError::NotFound | StoreError::Away | StoreError::OffRoot => ErrorCode::NotFound,
        StoreError::IsDirectory => ErrorCode::IsDirectory,
        StoreError::NotADirectory => ErrorCode::NotADirectory,
        StoreError::NotAFile => ErrorCode::NotAFile,
        StoreError::NotAtRest | StoreError::Forbidden => ErrorCode::Forbidden,
        StoreError::TooDeep => ErrorCode::TooLarge,
        StoreError::Busy(_) | StoreError::Stalled => ErrorCode::Busy,
        StoreError::Io(_) => ErrorCode::Internal,
    };
    let retry_after_ms = (code == ErrorCode::Busy).then_some(RETRY_AFTER_MS);
    Refusal {
        code,
        message: error.to_string(),
        retry_after_ms,
    }
}

/// The file cannot be read; the reason is this machine's.
pub(super) fn unreadable() -> Refusal {
    Refusal::new(ErrorCode::Internal, "file could not be read")
}

/// What a peer is told of an error of an open file.
pub(super) fn read_refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::TimedOut => store_refusal(&StoreError::Stalled),
        _ => unreadable(),
    }
}

/// Why there is no listing of a name at which this was found.
pub(super) fn not_listed(
    error: &StoreError,
    look: impl FnOnce() -> Result<ObjectMeta, StoreError>,
) -> Refusal {
    let refusal = store_refusal(error);
    if refusal.code != ErrorCode::NotADirectory {
        return refusal;
    }
    match look().map(|meta| meta.kind) {
        // No part of the path is at fault, the whole of it is no folder's.
        Ok(ObjectKind::File | ObjectKind::Symlink | ObjectKind::Other) => Refusal::new(
            refusal.code,
            "name stands for something that is no directory",
        ),
        _ => refusal,
    }
}

/// A listing cannot go on in another root.
pub(super) fn root_replaced() -> Refusal {
    let message = "served directory was replaced while it was listed";
    Refusal::new(ErrorCode::Changed, message)
}

pub(super) fn busy(message: &str) -> Refusal {
    Refusal {
        code: ErrorCode::Busy,
        message: message.into(),
        retry_after_ms: Some(RETRY_AFTER_MS),
    }
}

pub(super) fn too_many_wait() -> Refusal {
    busy("too many requests wait for their answers")
}

pub(super) fn too_many_unread() -> Refusal {
    busy("too many answers wait to be read")
}

pub(super) fn shutting_down() -> Refusal {
    Refusal {
        code: ErrorCode::ShuttingDown,
        message: "server is shutting down".into(),
        retry_after_ms: Some(RETRY_AFTER_MS),
    }
}

/// For a browser, or whatever else speaks HTTP.
pub(super) const HTTP_ANSWER: &[u8] = b"HTTP/1.1 501 Not Implemented\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 89\r\n\
    Connection: close\r\n\
    \r\n\
    This server speaks FT/1, not HTTP. To fetch a file from it: ftget HOST:PORT/PATH/OF/FILE\n";

/// A fatal `handshake_failure` alert (RFC 5246, section 7.2).
pub(super) const TLS_ANSWER: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];

const RETRY_AFTER_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(HTTP_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
            "body is {} bytes",
            body.len()
        );
    }

    #[test]
    fn no_message_says_what_the_file_system_said() {
        let secret = || std::io::Error::other("/srv/private/file: gone");
        for error in [StoreError::Busy(secret()), StoreError::Io(secret())] {
            assert!(
                !store_refusal(&error).message.contains("private"),
                "{error}"
            );
        }
    }
}
