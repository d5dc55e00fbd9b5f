//! The engine and the transfer handler.
