//! Detects from the first bytes how a connection spells its requests.

/// How the requests of a connection are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Frames of JSON.
    Framed,
    /// Lines of text.
    Text,
    /// HTTP; answered with 501.
    Http,
    /// A TLS ClientHello; answered with an alert.
    Tls,
    /// No supported protocol.
    Bad,
}

/// Classifies the first bytes of a connection (`PROTOCOL.md`, "Requests"). `ended` means that no
/// more bytes come soon: the stream has ended, or silence makes fewer than three bytes text.
/// `None` means that more bytes are needed, at most 12 in total; with `ended` it is never
/// returned. The text reader finds lines that end in ` HTTP/1.1`.
pub fn classify(first_bytes: &[u8], ended: bool) -> Option<Spelling> {
    match first_bytes {
        // The third byte of a frame up to 65,535 bytes is 0; a frame of 65,536 begins with 00 00
        // 01 00.
        [_, _, 0, ..] | [0, 0, 1, ..] => return Some(Spelling::Framed),
        [0x16, 0x03, 0x01..=0x04, ..] => return Some(Spelling::Tls),
        // A telnet command. Its third byte is the number of an option, not a control byte.
        [0xFF, 0xFA..=0xFE, _, ..] => return Some(Spelling::Text),
        [_, _, _, ..] => {}
        _ if !ended => return None,
        _ => {}
    }
    if first_bytes.iter().take(3).any(|&byte| is_control(byte)) {
        return Some(Spelling::Bad);
    }
    let openings = HTTP_METHODS.iter().map(|&method| (method, Spelling::Http));
    let openings = openings.chain(PROXY_HEADERS.iter().map(|&header| (header, Spelling::Bad)));
    for (opening, spelling) in openings {
        if first_bytes.starts_with(opening) {
            return Some(spelling);
        }
        if opening.starts_with(first_bytes) && !ended {
            return None;
        }
    }
    Some(Spelling::Text)
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r')
}

// `PRI` opens HTTP/2 (RFC 9113, section 3.4).
const HTTP_METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"TRACE ",
    b"CONNECT ",
    b"PRI ",
];

/// What a proxy sends before the client's bytes, in both versions of haproxy's
/// proxy-protocol.txt.
const PROXY_HEADERS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
