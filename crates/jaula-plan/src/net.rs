//! Networks: from what is asked and what is there to ordered changes, each with its undo.
//!
//! A link that is ours says so itself: [`crate::facts::net::MARK`] is written on it. What moved from a card to a
//! bridge is written on the card ([`mark`]), so that it can go back, whoever asks and from whatever store.

pub mod address;
mod back;
pub mod bridge;
pub mod error;
mod explain;
pub mod guest;
pub mod interfaces;
pub mod mark;
pub mod names;
pub mod nat;
pub mod port;
pub mod published;
pub mod save;
pub mod set;
pub mod step;
#[cfg(test)]
mod tests;
