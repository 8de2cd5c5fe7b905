//! Apps that are started, renewed and ended as files in a directory come, change and go, each in a jail of its own: the
//! emperor of uWSGI and his vassals.

mod app;
mod ini;
mod reign;

pub use app::{App, AppError, CONFIG_DIR, is_app};
pub use ini::{IniError, Line, Lines, lines};
pub use reign::{Order, Reign, Stamp, State, Vassal};

#[cfg(test)]
mod tests;
