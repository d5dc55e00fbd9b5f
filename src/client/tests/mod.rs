//! The client against a server that speaks by hand.

mod batches;
mod connections;
mod pouring;
mod scripted;
