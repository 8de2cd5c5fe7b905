//! jailkit's files of settings, and what they ask for.

mod ini;
mod init;

pub use ini::{Ini, IniEntry, IniError, IniSection, IniWrong};
pub use init::{Init, InitSection};
