//! The suite: the real programs, seen from outside. One module per noun; the peers' bytes
//! are written by hand (`harness`).

#[path = "../harness/mod.rs"]
mod harness;

mod addresses;
mod attributes;
mod cases;
mod changing_files;
mod checks;
mod closing;
mod comforts;
mod crates;
mod drain;
mod fetching;
mod files;
mod filters;
mod frames;
mod hostile;
mod index;
mod json;
mod kinds;
mod layering;
mod limits;
mod linked;
mod listing;
mod listings;
mod lists;
mod logs;
mod manuals;
mod mirrors;
mod mutations;
mod names;
mod outcomes;
mod peers;
mod picture;
mod pipelining;
mod place;
mod preflight;
mod proxies;
mod ranges;
mod rates;
mod readme;
mod receipts;
mod resuming;
mod run;
mod sample_files;
mod scripting;
mod second_runs;
mod settings;
mod spellings;
mod splits;
mod texts;
mod transcripts;
mod tree_choices;
mod trees;
mod unix_sockets;
