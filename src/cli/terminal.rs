//! The one writer that escapes what peers send before a person sees it.
