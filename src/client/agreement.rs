//! What an answer must agree with: its request, and itself. `PROTOCOL.md`, section 7, has the same
//! as a table. Nothing of an answer that contradicts either is believed.

use std::ops::Range;

use crate::client::ProtocolError;
use crate::client::question::{Content, Question};
use crate::wire::{
    LIST_CURSOR_BYTES_MAX, LIST_PAGE_BYTES_MAX, ListEntry, Md5Digest, ObjectKind, ResourcePath,
    ResponseHeader,
};

/// A request, as far as its answers must agree with it.
#[derive(Clone, Copy)]
pub(super) enum Request<'q> {
    /// `get`, or `run` if the question is for a command.
    Content(&'q Question),
    /// `stat`.
    Stat(&'q ResourcePath),
    /// `list`.
    List {
        path: &'q ResourcePath,
        recursive: bool,
        after: Option<&'q str>,
    },
}

impl Request<'_> {
    fn path(&self) -> &ResourcePath {
        match self {
            Request::Content(question) => &question.path,
            Request::Stat(path) | Request::List { path, .. } => path,
        }
    }

    fn operation(&self) -> Operation {
        match self {
            Request::Content(question) if question.is_command => Operation::Run,
            Request::Content(_) => Operation::Get,
            Request::Stat(_) => Operation::Stat,
            Request::List { .. } => Operation::List,
        }
    }
}

/// The operations that a client asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Get,
    Run,
    Stat,
    List,
}

use Operation::{Get, List, Run, Stat};

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Get => "get",
            Run => "run",
            Stat => "stat",
            List => "list",
        }
    }
}

/// A key that not every answer may have.
struct Key {
    name: &'static str,
    is_there: fn(&ResponseHeader<'_>) -> bool,
    /// The operations whose answers may have it.
    with: &'static [Operation],
    /// Whether it belongs to a result, so that neither `error` nor `status` can stand beside it.
    is_of_result: bool,
}

const fn key(
    name: &'static str,
    is_there: fn(&ResponseHeader<'_>) -> bool,
    with: &'static [Operation],
    is_of_result: bool,
) -> Key {
    Key {
        name,
        is_there,
        with,
        is_of_result,
    }
}

/// The keys that depend on the operation. A client sends no `hello`.
const KEYS: [Key; 9] = [
    key("ft", |header| header.hello.is_some(), &[], false),
    key("offset", |header| header.offset.is_some(), &[Get], true),
    key("match", |header| header.matched, &[Get], true),
    // A command that failed has them, beside an error too.
    key(
        "exit_status",
        |header| header.exit_status.is_some(),
        &[Run],
        false,
    ),
    key(
        "error_output",
        |header| header.error_output.is_some(),
        &[Run],
        false,
    ),
    key("next", |header| header.next.is_some(), &[List], true),
    key("last", |header| header.last, &[List], true),
    key("recursive", |header| header.recursive, &[List], false),
    key(
        "hidden",
        |header| header.hidden.is_some_and(|hidden| hidden > 0),
        &[List],
        true,
    ),
];

/// Whether a header, be it an interim one, may answer this request.
///
/// # Errors
/// [`ProtocolError`]: what contradicts the request, or itself.
pub(super) fn check(
    request: Request<'_>,
    header: &ResponseHeader<'_>,
) -> Result<(), ProtocolError> {
    let path = request.path();
    if *header.name != *path.as_bytes() {
        return Err(ProtocolError::OtherName {
            asked: path.as_bytes().to_vec(),
            answered: header.name.to_vec(),
        });
    }
    let operation = request.operation();
    let instead = match (&header.error, &header.interim) {
        (Some(_), Some(_)) => return Err(beside("status", "error")),
        (Some(_), None) => Some("error"),
        (None, Some(_)) => Some("status"),
        (None, None) => None,
    };
    for key in KEYS.iter().filter(|key| (key.is_there)(header)) {
        if !key.with.contains(&operation) {
            return Err(ProtocolError::KeyOfOther {
                key: key.name,
                operation: operation.as_str(),
            });
        }
        if let Some(instead) = instead.filter(|_| key.is_of_result) {
            return Err(beside(key.name, instead));
        }
    }
    if let Some(interim) = &header.interim {
        // No command is hashed, and no file runs. Other values are those of later versions.
        let is_other = match &*interim.status {
            HASHING => operation == Run,
            RUNNING => operation != Run,
            _ => return Ok(()),
        };
        if is_other {
            return Err(ProtocolError::KeyOfOther {
                key: "this status",
                operation: operation.as_str(),
            });
        }
        // 0: nothing is measured, or the size is not known yet.
        return match header.total_size {
            0 => Ok(()),
            total_size => at_most("done", interim.done, total_size),
        };
    }
    if header.error.is_some() {
        return nothing_follows(header);
    }
    match request {
        Request::Content(question) if header.matched => check_match(question, header),
        Request::Content(question) => check_content(question, header),
        Request::Stat(_) => {
            nothing_follows(header)?;
            check_kind(header.kind, header.md5)
        }
        Request::List {
            recursive, after, ..
        } => check_page(recursive, after, header),
    }
}

/// The file is the one that is here: the same digest, the same size, and what the request asks
/// for.
fn check_match(question: &Question, header: &ResponseHeader<'_>) -> Result<(), ProtocolError> {
    // A match announces the size of the file; `body_size` says that it does not come.
    nothing_follows(header)?;
    let md5 = header.md5.ok_or(ProtocolError::NoDigest)?;
    match question.have_sent() {
        Some((have_md5, have_bytes)) if have_md5 == md5 => {
            same("total_size", header.total_size, have_bytes)?;
            same("offset", header.offset.unwrap_or(0), 0)
        }
        Some(_) | None => Err(ProtocolError::UnexpectedMatch),
    }
}

/// All of the file, or the range that was asked for. Another content than `want_md5` is no
/// contradiction if all of it comes: a server may know the three keys only.
fn check_content(question: &Question, header: &ResponseHeader<'_>) -> Result<(), ProtocolError> {
    let md5 = header.md5.ok_or(ProtocolError::NoDigest)?;
    if !matches!(header.kind, None | Some(ObjectKind::File)) {
        return Err(ProtocolError::KeyOfOther {
            key: "this type",
            operation: "get",
        });
    }
    if question.is_command && header.exit_status.is_none() {
        return Err(ProtocolError::Missing("exit_status"));
    }
    let offset = header.offset.unwrap_or(0);
    if offset != 0 {
        same("offset", offset, question.offset)?;
    }
    at_most("offset", offset, header.total_size)?;
    let to_the_end = header.total_size - offset;
    let asked = question
        .length
        .map_or(to_the_end, |most| most.min(to_the_end));
    let body_bytes = header.bytes_that_follow();
    if body_bytes != to_the_end {
        same("body_size", body_bytes, asked)?;
    }
    if let Some((have_md5, have_bytes)) = question.have
        && have_md5 == md5
    {
        same("total_size", header.total_size, have_bytes)?;
    }
    match question.want_md5 {
        Some(expected) if offset > 0 && expected != md5 => Err(ProtocolError::OtherContent {
            expected,
            found: md5,
        }),
        _ => Ok(()),
    }
}

/// What no digest covers: were it damaged, a tree would be shorter than it is.
fn check_page(
    recursive: bool,
    after: Option<&str>,
    header: &ResponseHeader<'_>,
) -> Result<(), ProtocolError> {
    if header.md5.is_none() {
        return Err(ProtocolError::NoDigest);
    }
    if !matches!(header.kind, None | Some(ObjectKind::Directory)) {
        return Err(ProtocolError::KeyOfOther {
            key: "this type",
            operation: "list",
        });
    }
    let (asked, answered) = (recursive, header.recursive);
    if asked != answered {
        return Err(ProtocolError::OtherDepth { asked, answered });
    }
    if header.next.is_some() == header.last {
        return Err(ProtocolError::NextOrLast);
    }
    if let Some(next) = header.next.as_deref() {
        if Some(next) == after {
            return Err(ProtocolError::RepeatedNext);
        }
        at_most("length of next", next.len() as u64, NEXT_BYTES_MAX)?;
    }
    same("body_size", header.bytes_that_follow(), header.total_size)?;
    at_most("total_size", header.total_size, PAGE_BYTES_MAX)
}

/// Whether an entry of a listing agrees with itself; its place is for the listing to check.
///
/// # Errors
/// [`ProtocolError`].
pub(super) fn check_entry(entry: &ListEntry<'_>) -> Result<(), ProtocolError> {
    if entry.target.is_some() && entry.kind != ObjectKind::Symlink {
        return Err(beside("target", entry.kind.as_str()));
    }
    if entry.error.is_some() && entry.target.is_some() {
        return Err(beside("target", "error"));
    }
    if entry.error.is_some() && entry.md5.is_some() {
        return Err(beside("md5", "error"));
    }
    check_kind(Some(entry.kind), entry.md5)
}

/// Only a file has a digest. Who does not say what it is has answered for a file.
fn check_kind(kind: Option<ObjectKind>, md5: Option<Md5Digest>) -> Result<(), ProtocolError> {
    match kind {
        Some(kind) if kind != ObjectKind::File && md5.is_some() => {
            Err(beside("md5", kind.as_str()))
        }
        _ => Ok(()),
    }
}

/// Whether a content is this block of that content, and nothing else.
///
/// # Errors
/// [`ProtocolError`].
pub(super) fn check_block(
    content: &Content,
    whole: &Content,
    block: &Range<u64>,
) -> Result<(), ProtocolError> {
    same("offset", content.offset, block.start)?;
    same("body_size", content.body_bytes, block.end - block.start)?;
    check_continued(content, whole)
}

/// Whether an answer is about the same content as an earlier one.
///
/// # Errors
/// [`ProtocolError`].
pub(super) fn check_continued(content: &Content, before: &Content) -> Result<(), ProtocolError> {
    same("total_size", content.total_size, before.total_size)?;
    if content.md5 != before.md5 {
        return Err(ProtocolError::OtherContent {
            expected: before.md5,
            found: content.md5,
        });
    }
    Ok(())
}

/// Whether digests of so many files may have been begun so often: each once, and again whenever
/// the file has changed meanwhile.
///
/// # Errors
/// [`ProtocolError::BegunTooOften`].
pub(super) fn check_beginnings(beginnings: usize, files_max: usize) -> Result<(), ProtocolError> {
    if beginnings > files_max * BEGINNINGS_MAX {
        return Err(ProtocolError::BegunTooOften(beginnings));
    }
    Ok(())
}

fn nothing_follows(header: &ResponseHeader<'_>) -> Result<(), ProtocolError> {
    match header.bytes_that_follow() {
        0 => Ok(()),
        bytes => Err(ProtocolError::UnexpectedBody(bytes)),
    }
}

fn same(key: &'static str, found: u64, expected: u64) -> Result<(), ProtocolError> {
    if found != expected {
        return Err(ProtocolError::Contradiction {
            key,
            found,
            expected,
        });
    }
    Ok(())
}

fn at_most(key: &'static str, found: u64, most: u64) -> Result<(), ProtocolError> {
    if found > most {
        return Err(ProtocolError::TooMuch { key, found, most });
    }
    Ok(())
}

fn beside(key: &'static str, beside: &'static str) -> ProtocolError {
    ProtocolError::Beside { key, beside }
}

/// `status`, while a digest is being made.
pub(super) const HASHING: &str = "hashing";
/// `status`, while a command runs.
const RUNNING: &str = "running";
/// A page ends at 1 MiB; a server that takes this for "with the entry that exceeds it" is
/// understood all the same.
const PAGE_BYTES_MAX: u64 = 2 * LIST_PAGE_BYTES_MAX as u64;
const NEXT_BYTES_MAX: u64 = LIST_CURSOR_BYTES_MAX as u64;
/// Beginnings of one digest. Servers give up a file that changes so often, and sooner.
const BEGINNINGS_MAX: usize = 16;
