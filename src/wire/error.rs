//! Errors in received bytes, and the error codes of the wire.

/// The codes of an error reply (`PROTOCOL.md`, "Errors").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the code of the same spelling")]
pub enum ErrorCode {
    NotFound,
    IsDirectory,
    NotADirectory,
    NotAFile,
    Forbidden,
    Unauthorized,
    BadFrame,
    BadRequest,
    BadName,
    BadRange,
    Unsupported,
    Changed,
    Exists,
    ReadOnly,
    NoSpace,
    TooLarge,
    DigestMismatch,
    Busy,
    Timeout,
    ShuttingDown,
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the document.
    pub const ALL: [ErrorCode; 21] = [
        ErrorCode::NotFound,
        ErrorCode::IsDirectory,
        ErrorCode::NotADirectory,
        ErrorCode::NotAFile,
        ErrorCode::Forbidden,
        ErrorCode::Unauthorized,
        ErrorCode::BadFrame,
        ErrorCode::BadRequest,
        ErrorCode::BadName,
        ErrorCode::BadRange,
        ErrorCode::Unsupported,
        ErrorCode::Changed,
        ErrorCode::Exists,
        ErrorCode::ReadOnly,
        ErrorCode::NoSpace,
        ErrorCode::TooLarge,
        ErrorCode::DigestMismatch,
        ErrorCode::Busy,
        ErrorCode::Timeout,
        ErrorCode::ShuttingDown,
        ErrorCode::Internal,
    ];

    /// The code as spelled on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorCode::NotFound => "not_found",
            ErrorCode::IsDirectory => "is_directory",
            ErrorCode::NotADirectory => "not_a_directory",
            ErrorCode::NotAFile => "not_a_file",
            ErrorCode::Forbidden => "forbidden",
            ErrorCode::Unauthorized => "unauthorized",
            ErrorCode::BadFrame => "bad_frame",
            ErrorCode::BadRequest => "bad_request",
            ErrorCode::BadName => "bad_name",
            ErrorCode::BadRange => "bad_range",
            ErrorCode::Unsupported => "unsupported",
            ErrorCode::Changed => "changed",
            ErrorCode::Exists => "exists",
            ErrorCode::ReadOnly => "read_only",
            ErrorCode::NoSpace => "no_space",
            ErrorCode::TooLarge => "too_large",
            ErrorCode::DigestMismatch => "digest_mismatch",
            ErrorCode::Busy => "busy",
            ErrorCode::Timeout => "timeout",
            ErrorCode::ShuttingDown => "shutting_down",
            ErrorCode::Internal => "internal",
        }
    }

    /// Parses a code; `None` for one of a later version.
    pub fn parse(text: &str) -> Option<ErrorCode> {
        ErrorCode::ALL
            .into_iter()
            .find(|code| code.as_str() == text)
    }

    /// Whether the server closes the connection after this answer.
    pub const fn closes(self) -> bool {
        matches!(
            self,
            ErrorCode::BadFrame | ErrorCode::Timeout | ErrorCode::ShuttingDown
        )
    }
}

/// Why the server refuses a request; the content of an error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code for programs.
    pub code: ErrorCode,
    /// The message for people, cut to [`crate::wire::ERROR_MESSAGE_BYTES_MAX`] when written. It
    /// never holds a path of the host.
    pub message: String,
    /// With `busy` and `shutting_down`: how long the client should wait before it tries again.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal without a time to try again.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

/// Why received bytes are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length before the JSON text is outside 2 to 65,536.
    #[error("frame length is {0}, it must be between 2 and 65536")]
    FrameLength(u32),
    /// The text of a frame is not one strict JSON object.
    #[error("frame is not a JSON object: {0}")]
    Json(String),
    /// A required key is absent.
    #[error("{0} is missing")]
    MissingKey(&'static str),
    /// A known key has a value of the wrong type or out of range.
    #[error("{key} must be {expected}")]
    WrongType {
        /// The key.
        key: &'static str,
        /// The valid values.
        expected: &'static str,
    },
    /// An entry of a listing has an invalid name.
    #[error("listed {0}")]
    BadName(String),
    /// The answer requires a key that this version does not know.
    #[error("answer needs {0}, which this version does not know")]
    UnknownNeed(String),
}
