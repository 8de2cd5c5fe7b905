//! Named jails: an image, a layer that lasts, and settings.

mod error;
mod record;

pub use error::NamedError;
pub use record::{Record, Running, jail_dir, record, records, run_path, running, stale_runs};
