use crate::wire::{ByteRange, ErrorCode, Md5Digest, SIZE_MAX};

#[test]
fn a_digest_is_its_bytes_however_it_was_created() {
    let bytes: [u8; 16] = std::array::from_fn(|at| 0x0f + 0x10 * at as u8);
    let text = "0f1f2f3f4f5f6f7f8f9fafbfcfdfefff";
    let digest = Md5Digest::from_bytes(bytes);
    assert_eq!(Md5Digest::parse(text), Some(digest));
    assert_eq!(digest.as_bytes(), &bytes);
    assert_eq!(&digest.to_hex(), text.as_bytes());
    assert_eq!(
        format!("{digest} {digest:?}"),
        format!("{text} Md5Digest({text})")
    );
}

#[test]
fn a_range_ends_at_its_length_or_at_the_end_of_the_file() {
    for (offset, length, total_size, end) in [
        (0, None, 0, Ok(0)),
        (0, None, 9, Ok(9)),
        (4, None, 9, Ok(9)),
        (9, None, 9, Ok(9)),
        (4, Some(0), 9, Ok(4)),
        (4, Some(3), 9, Ok(7)),
        (4, Some(5), 9, Ok(9)),
        (4, Some(6), 9, Ok(9)),
        (4, Some(SIZE_MAX), 9, Ok(9)),
        (10, None, 9, Err(ErrorCode::BadRange)),
        (10, Some(0), 9, Err(ErrorCode::BadRange)),
    ] {
        let range = ByteRange { offset, length };
        let found = range.end(total_size).map_err(|refusal| refusal.code);
        assert_eq!(found, end, "{range:?} of {total_size}");
    }
}

#[test]
fn only_codes_that_allow_no_next_request_close() {
    let closes: Vec<_> = ErrorCode::ALL
        .into_iter()
        .filter(|code| code.closes())
        .collect();
    assert_eq!(
        closes,
        [
            ErrorCode::BadFrame,
            ErrorCode::Timeout,
            ErrorCode::ShuttingDown
        ]
    );
}
