//! All effects: probing the host, fetching, unpacking, configuring, storing, and running what a plan says.
//! Never prints, never reads arguments or the environment, never asks.
#![forbid(unsafe_code)]

pub mod event;
