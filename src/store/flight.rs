//! Many askers, one hash.
