//! `hello`: the operations and digests that this server supports.

use std::borrow::Cow;

use crate::server::transfer::connection_state::RequestInfo;
use crate::wire::{Hello, ResponseHeader};

/// Appends the answer to `hello`.
pub(super) fn hello(info: &RequestInfo, publishes: bool, output: &mut Vec<u8>) {
    let text = |word: &'static str| Cow::Borrowed(word);
    let header = ResponseHeader {
        id: info.id.clone(),
        body_size: Some(0),
        hello: Some(Hello {
            ft: PROTOCOL_VERSION,
            ops: OPS
                .into_iter()
                .chain(publishes.then_some("run"))
                .map(text)
                .collect(),
            digests: DIGESTS.map(text).into(),
            writable: false,
        }),
        ..ResponseHeader::default()
    };
    header.encode(output);
}

const PROTOCOL_VERSION: u64 = 1;
const OPS: [&str; 4] = ["get", "stat", "list", "hello"];
const DIGESTS: [&str; 1] = ["md5"];
