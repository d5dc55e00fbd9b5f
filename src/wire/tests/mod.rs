//! Tables and properties of the protocol. Expected bytes are written by hand or read with
//! `serde_json::Value`, never with the code under test.

mod first_bytes;
mod headers;
mod json;
mod lines;
mod paths;
mod properties;
mod requests;
mod values;
