//! The arguments of `ftserve index`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::BoolishValueParser;

use crate::cli::values::{Hidden, not_empty};

/// Hash the files of a directory now, for an ftserve that starts later. Files with a known digest are
/// not read again.
#[derive(Parser, Debug)]
#[command(
    name = "ftserve index",
    bin_name = "ftserve index",
    version,
    max_term_width = 100,
    after_help = "To serve a directory named index: ftserve ./index\n\n\
        Exit codes: 0 all files are in the index, 2 usage, 3 a file cannot be read or the index \
        cannot be written, 9 no space, 130 and 143 on signals; digests so far are kept."
)]
pub(super) struct IndexArgs {
    /// Hash this directory or file
    #[arg(value_name = "PATH")]
    pub(super) path: PathBuf,

    /// Remember digests in FILE
    ///
    /// [default: ftserve/index.sqlite3 in the user's cache directory]
    #[arg(long, value_name = "FILE", value_parser = not_empty())]
    pub(super) index: Option<OsString>,

    /// Choose whether dotfiles are hashed
    #[arg(long, value_enum, default_value_t = Hidden::Hide)]
    pub(super) hidden: Hidden,

    /// Print errors only
    #[arg(short, long, value_parser = BoolishValueParser::new())]
    pub(super) quiet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_accepts_the_options() {
        use clap::CommandFactory;
        IndexArgs::command().debug_assert();
    }
}
