//! Which of the spellings a connection speaks, from its first bytes.

/// How the requests of a connection are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Length and JSON.
    Framed,
    /// Lines of text.
    Text,
    /// HTTP; answered with 501.
    Http,
    /// A TLS ClientHello; answered with an alert.
    Tls,
    /// Nothing that this server speaks.
    Bad,
}

/// Classifies the first bytes of a connection (`PROTOCOL.md`, "Requests"). `ended` says that
/// no more bytes come soon: end of stream, or the silence that makes fewer than three
/// bytes text. `None` means that more bytes are needed. A line that ends in ` HTTP/1.1`
/// is found by the text reader.
pub fn classify(first_bytes: &[u8], ended: bool) -> Option<Spelling> {
    let _ = (first_bytes, ended);
    todo!()
}
