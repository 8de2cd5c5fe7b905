//! jailkit's files of settings, and what they ask for.

mod ini;
mod init;
mod launch;
mod socketd;

pub use ini::{Ini, IniEntry, IniError, IniSection, IniWrong};
pub use init::{Init, InitSection};
pub use launch::{LaunchFacts, LaunchRefusal, LaunchSpec, ProgramFacts, plan_launch};
pub use socketd::{LogSocket, SocketsError};
