//! Command lines: parsing, output and exit codes. Only this floor prints, reads the environment or
//! picks an exit code.

mod activity;
mod blocking;
mod digests;
mod ending;
mod exit_code;
mod failure;
mod get;
mod index;
mod manual;
mod messages;
mod serve;
mod settings;
mod streams;
mod terminal;
mod usage;
mod values;

pub use exit_code::ExitCode;
pub use get::get;
pub use serve::serve;
pub use terminal::visible;
pub use values::{ValueError, parse_duration, parse_rate, parse_size};
