//! Turns errors into replies, in this one place, every variant written out.

use std::borrow::Cow;
use std::io;

use crate::server::transfer::connection_state::RequestInfo;
use crate::store::{ObjectMeta, StoreError};
use crate::wire::{ErrorCode, ErrorReply, ObjectKind, Refusal, ResponseHeader};

/// Appends the answer to a refused request: `error`, no size, no digest.
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

/// The `error` key of a refusal.
pub(super) fn error_reply(refusal: &Refusal) -> ErrorReply<'_> {
    ErrorReply {
        code: Cow::Borrowed(refusal.code.as_str()),
        message: Cow::Borrowed(&refusal.message),
        retry_after_ms: refusal.retry_after_ms,
    }
}

/// The refusal for a store's error. Its message never holds a path of the host.
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

/// For a read error. Its cause concerns this machine only.
pub(super) fn unreadable() -> Refusal {
    Refusal::new(ErrorCode::Internal, "file could not be read")
}

/// The refusal for an error of an open file.
pub(super) fn read_refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::TimedOut => store_refusal(&StoreError::Stalled),
        _ => unreadable(),
    }
}

/// The refusal for a failed listing. `look` returns what is at the name.
pub(super) fn not_listed(
    error: &StoreError,
    look: impl FnOnce() -> Result<ObjectMeta, StoreError>,
) -> Refusal {
    let refusal = store_refusal(error);
    if refusal.code != ErrorCode::NotADirectory {
        return refusal;
    }
    match look().map(|meta| meta.kind) {
        // The path exists as a whole, but what it names is not a directory.
        Ok(ObjectKind::File | ObjectKind::Symlink | ObjectKind::Other) => {
            Refusal::new(refusal.code, "name is not a directory")
        }
        _ => refusal,
    }
}

/// The root was replaced, so the listing cannot continue.
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

/// For a browser or another HTTP client.
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
    fn the_http_answer_has_the_length_of_its_header() {
        let text = std::str::from_utf8(HTTP_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
            "body is {} bytes",
            body.len()
        );
    }

    #[test]
    fn no_message_contains_the_file_systems_text() {
        let secret = || std::io::Error::other("/srv/private/file: gone");
        for error in [StoreError::Busy(secret()), StoreError::Io(secret())] {
            assert!(
                !store_refusal(&error).message.contains("private"),
                "{error}"
            );
        }
    }
}
