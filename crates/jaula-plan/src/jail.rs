//! How a jail is planned: [`crate::spec::jail::JailSpec`] and facts become an ordered list of setup operations.
