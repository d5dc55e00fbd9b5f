//! The client against a server that speaks by hand.

mod batches;
mod connections;
mod lasting;
mod limits;
mod listings;
mod local;
mod looking;
mod questions;
mod scripted;
mod streaming;
mod twins;

pub(in crate::client) use scripted::at_some_pace;
