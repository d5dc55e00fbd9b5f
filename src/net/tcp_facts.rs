//! What the kernel knows of a TCP connection that the standard library does not tell.
