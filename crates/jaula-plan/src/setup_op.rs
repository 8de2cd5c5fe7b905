//! One change inside the new namespaces.
