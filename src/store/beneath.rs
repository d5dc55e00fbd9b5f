//! The only path system calls: opening below a root and nowhere else.
