//! What is set in an image after its packages are there: what an installer would ask for.

use crate::names::HostName;
use serde::Serialize;

/// Settings of an image. The default sets nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Settings {
    /// `/etc/hostname`.
    pub hostname: Option<HostName>,
    /// Accounts to be made, in order.
    pub users: Vec<Account>,
    /// The password of root as crypt(5) writes it; locked when absent.
    pub root_password: Option<String>,
    /// Locales to be generated, `es_ES.UTF-8`; the first is the default one. Their language packs come along.
    pub locales: Vec<String>,
    /// The time zone, `Europe/Madrid`.
    pub timezone: Option<String>,
    /// The keyboard.
    pub keyboard: Option<Keyboard>,
    /// Answers to questions of packages, the text of files for debconf-set-selections(1).
    pub preseed: Vec<String>,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: Option<String>,
    /// The text of `/etc/apt/sources.list`, instead of the sources the image was made from.
    pub sources_list: Option<String>,
    /// Further options for apt in the image, in the words of apt.conf(5).
    pub apt_options: Vec<String>,
    /// Further options for dpkg in the image, in the words of dpkg.cfg(5).
    pub dpkg_options: Vec<String>,
    /// The name of the files in `apt.conf.d` and `dpkg.cfg.d` that these options are written to; [`OPTIONS_NAME`] when
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options_name: Option<&'static str>,
    /// A `policy-rc.d` that refuses to start services stays in the image.
    pub no_services: bool,
}

/// The name of the files of options in an image.
pub const OPTIONS_NAME: &str = "99jaula";

impl Settings {
    /// The name of the files of options.
    pub const fn options_name(&self) -> &'static str {
        match self.options_name {
            Some(name) => name,
            None => OPTIONS_NAME,
        }
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number; the next free one when absent.
    pub uid: Option<u32>,
    /// Full name and the like (GECOS).
    pub comment: String,
    /// The password as crypt(5) writes it; locked when absent.
    pub password: Option<String>,
    /// Groups besides its own.
    pub groups: Vec<String>,
    /// Login shell.
    pub shell: Option<String>,
    /// Home directory; below `/home` when absent.
    pub home: Option<String>,
}

/// A keyboard in the words of keyboard(5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keyboard {
    /// `es`.
    pub layout: String,
    /// `nodeadkeys`.
    pub variant: Option<String>,
    /// `pc105`.
    pub model: Option<String>,
    /// `compose:rctrl`.
    pub options: Vec<String>,
}

/// A file of a package that is laid or left out, as `path-exclude` and `path-include` of dpkg(1): the last rule that
/// fits decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PathRule {
    /// Left out.
    Exclude(String),
    /// Laid nevertheless.
    Include(String),
}
