//! One lasting change to the host, with its undo.
