//! How an image is planned.
