//! What the host is and allows.
