//! From words to structures: [`options`] names them, [`low`] reads them without looking at the host, [`high`]
//! resolves them with the environment, the terminal and the configuration.

pub mod complaint;
pub mod disk;
pub mod files;
pub mod high;
pub mod isolation;
pub mod limits;
pub mod low;
pub mod nearest;
pub mod options;
pub mod output;
pub mod packages;
pub mod protection;
pub mod reference;
pub mod settings;
pub mod sources;
pub mod tree;
