//! The arguments: one pass, each option done where it stands.

use crate::output::write_stderr;
use jaula_engine::jail::bwrap::read_descriptor;
use jaula_plan::bwrap::{BwrapSpec, Source, TreeSpec};
use jaula_plan::setup_op::CapSet;
use jaula_plan::spec::jail::{BindOptions, OverlayTop};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The most arguments, with those of files.
const MOST: usize = 9000;

/// The largest tmpfs that can be asked for.
const MOST_BYTES: u64 = u64::MAX >> 1;

const OVERLAY_SRC: &str = "--overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay";

/// Why reading stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// Something is wrong, in bwrap's words.
    Wrong(String),
}

fn wrong<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(why.into()))
}

/// What was asked.
#[derive(Debug)]
pub struct Asked {
    /// The sandbox.
    pub spec: BwrapSpec,
    /// `--level-prefix`
    pub level_prefix: bool,
    perms: Option<u32>,
    size: Option<u64>,
    overlay_src: Vec<PathBuf>,
    read: usize,
    host_name: bool,
}

/// The words that are left.
struct Words<'w> {
    rest: &'w [OsString],
}

impl<'w> Words<'w> {
    /// The arguments of an option.
    fn take<const N: usize>(&mut self, complaint: &str) -> Result<[&'w OsStr; N], Stop> {
        match self.rest.split_at_checked(N) {
            Some((taken, rest)) => {
                self.rest = rest;
                let mut all = [OsStr::new(""); N];
                for (to, from) in all.iter_mut().zip(taken) {
                    *to = from;
                }
                Ok(all)
            }
            None => wrong(complaint),
        }
    }

    fn one(&mut self, option: &str) -> Result<&'w OsStr, Stop> {
        let [word] = self.take(&format!("{option} takes an argument"))?;
        Ok(word)
    }

    fn two(&mut self, option: &str) -> Result<[&'w OsStr; 2], Stop> {
        self.take(&format!("{option} takes two arguments"))
    }

    fn fd(&mut self, option: &str) -> Result<i32, Stop> {
        let word = self.one(option)?;
        descriptor(word)
    }
}

/// A number as strtol(3) reads it; what is left is not empty when it is none.
fn number(word: &OsStr) -> Option<i32> {
    let text = word.to_str()?.trim_start();
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn descriptor(word: &OsStr) -> Result<i32, Stop> {
    match number(word) {
        Some(fd) => Ok(fd),
        None => wrong(format!("Invalid fd: {}", word.to_string_lossy())),
    }
}

fn octal(word: &OsStr) -> Option<u32> {
    let text = word.to_str()?.trim_start();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| plain && *mode <= 0o7777)
}

/// A number as strtoull(3) with base 0 reads it.
fn bytes(word: &OsStr) -> Option<u64> {
    let text = word.to_str()?;
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
        (Some(hex), _) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        (None, Some(octal)) if !octal.is_empty() && !octal.starts_with('+') => {
            u64::from_str_radix(octal, 8).ok()
        }
        (Some(_), _) => None,
        _ => lower.parse().ok(),
    }
}

/// As cap_from_name(3): with `cap_` in any case, or a number.
fn capability(word: &OsStr) -> Option<u32> {
    let text = word.to_str()?;
    let prefix = text.get(..4)?.eq_ignore_ascii_case("cap_");
    match text.parse::<u32>() {
        Ok(number) => Some(number).filter(|number| *number < 64),
        Err(_) if prefix => CapSet::number(text),
        Err(_) => None,
    }
}

fn path(word: &OsStr) -> PathBuf {
    PathBuf::from(word)
}

/// A filter from a descriptor.
pub fn filter(fd: i32) -> Result<Vec<u8>, String> {
    let bytes = read_descriptor(fd)
        .map_err(|errno| format!("Can't read seccomp data: {}", super::message::errno(errno)))?;
    match bytes.len() % 8 {
        0 => Ok(bytes),
        _ => Err("Invalid seccomp data, must be multiple of 8".to_owned()),
    }
}

impl Asked {
    /// Nothing yet, with the caller's environment.
    pub fn new(env: Vec<(OsString, OsString)>) -> Self {
        Self {
            spec: BwrapSpec {
                env,
                ..BwrapSpec::default()
            },
            level_prefix: false,
            perms: None,
            size: None,
            overlay_src: Vec::new(),
            read: 0,
            host_name: false,
        }
    }

    /// Reads all of them; what is left is the command.
    pub fn read(&mut self, words: &[OsString]) -> Result<(), Stop> {
        self.read = words.len();
        let rest = self.options(words, false)?;
        if !self.overlay_src.is_empty() {
            return wrong(OVERLAY_SRC);
        }
        self.spec.command = rest.to_vec();
        Ok(())
    }

    fn options<'w>(&mut self, words: &'w [OsString], file: bool) -> Result<&'w [OsString], Stop> {
        if self.read > MOST {
            return wrong(format!("Exceeded maximum number of arguments {MOST}"));
        }
        let mut words = Words { rest: words };
        while let Some((word, rest)) = words.rest.split_first() {
            if !word.as_bytes().starts_with(b"-") {
                break;
            }
            words.rest = rest;
            let shown = word.to_string_lossy();
            if shown == "--" {
                break;
            }
            self.option(&shown, &mut words, file)?;
            if !matches!(&*shown, "--perms" | "--size") {
                if self.perms.is_some() {
                    return wrong("--perms must be followed by an option that creates a file");
                }
                if self.size.is_some() {
                    return wrong("--size must be followed by --tmpfs");
                }
            }
            if shown != "--overlay-src" && !self.overlay_src.is_empty() {
                return wrong(OVERLAY_SRC);
            }
        }
        Ok(words.rest)
    }

    fn option(&mut self, option: &str, words: &mut Words<'_>, file: bool) -> Result<(), Stop> {
        match option {
            "--help" => return Err(Stop::Help),
            "--version" => return Err(Stop::Version),
            "--args" if file => return wrong("--args not supported in arguments file"),
            "--args" => self.arguments(words.fd(option)?)?,
            "--argv0" => {
                let [name] = words.take("--argv0 takes one argument")?;
                if self.spec.argv0.replace(name.to_owned()).is_some() {
                    return wrong("--argv0 used multiple times");
                }
            }
            "--level-prefix" => self.level_prefix = true,
            "--chdir" => {
                let [dir] = words.take("--chdir takes one argument")?;
                let before = self.spec.chdir.replace(path(dir)).is_some();
                self.warn(before, option);
            }
            "--clearenv" => self.spec.env.clear(),
            "--setenv" => {
                let [name, value] = words.two(option)?;
                self.set(name, value)?;
            }
            "--unsetenv" => {
                let name = words.one(option)?;
                if !is_variable(name) {
                    return wrong("unsetenv failed");
                }
                self.spec.env.retain(|(known, _)| known != name);
            }
            "--lock-file" => self.spec.lock_files.push(path(words.one(option)?)),
            "--new-session" => self.spec.new_session = true,
            "--die-with-parent" => self.spec.die_with_parent = true,
            "--as-pid-1" => self.spec.as_pid_1 = true,
            "--disable-userns" => self.spec.disable_userns = true,
            "--assert-userns-disabled" => self.spec.assert_userns_disabled = true,
            "--perms" => {
                let word = words.one(option)?;
                if self.perms.is_some() {
                    return wrong("--perms given twice for the same action");
                }
                self.perms = octal(word);
                if self.perms.is_none() {
                    return wrong("--perms takes an octal argument <= 07777");
                }
            }
            "--size" => self.size(words.one(option)?)?,
            "--seccomp" => {
                let fd = words.fd_after(
                    option,
                    !self.spec.seccomp.is_empty(),
                    "--seccomp cannot be combined with --add-seccomp-fd",
                )?;
                let before = self.spec.seccomp_fd.replace(fd).is_some();
                self.warn(before, option);
            }
            "--add-seccomp-fd" => {
                let fd = words.fd_after(
                    option,
                    self.spec.seccomp_fd.is_some(),
                    "--add-seccomp-fd cannot be combined with --seccomp",
                )?;
                self.spec.seccomp.push(filter(fd).map_err(Stop::Wrong)?);
            }
            "--uid" | "--gid" => self.id(option, words)?,
            "--cap-add" | "--cap-drop" => self.capability(option, words.one(option)?)?,
            "--exec-label" | "--file-label" => {
                // Without SELinux they mean nothing, as in bwrap itself; with it they would protect.
                let label = words.one(option)?;
                if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
                    return wrong(format!(
                        "{option} {} is not supported",
                        label.to_string_lossy()
                    ));
                }
            }
            _ if self.namespace(option) => {}
            _ if self.descriptor(option, words)? => {}
            _ if self.tree(option, words)? => {}
            _ => return wrong(format!("Unknown option {option}")),
        }
        Ok(())
    }

    fn warn(&self, before: bool, option: &str) {
        if before {
            let level = if self.level_prefix { "<4>" } else { "" };
            write_stderr(&format!(
                "{level}bwrap: Only the last {option} option will take effect\n"
            ));
        }
    }

    /// `--args`
    fn arguments(&mut self, fd: i32) -> Result<(), Stop> {
        let data = read_descriptor(fd).map_err(|errno| {
            Stop::Wrong(format!(
                "Can't read --args data: {}",
                super::message::errno(errno)
            ))
        })?;
        let mut list: Vec<OsString> = data
            .split(|b| *b == 0)
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect();
        // What follows the last NUL is a word only when there is something.
        if list.last().is_some_and(|last| last.is_empty()) {
            list.pop();
        }
        self.read = self.read.saturating_add(list.len());
        self.options(&list, true)?;
        Ok(())
    }

    fn set(&mut self, name: &OsStr, value: &OsStr) -> Result<(), Stop> {
        if !is_variable(name) {
            return wrong("setenv failed");
        }
        match self.spec.env.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value.to_owned(),
            None => self.spec.env.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    fn size(&mut self, word: &OsStr) -> Result<(), Stop> {
        if self.size.is_some() {
            return wrong("--size given twice for the same action");
        }
        match bytes(word) {
            None | Some(0) => wrong("--size takes a non-zero number of bytes"),
            Some(size) if size > MOST_BYTES => {
                wrong(format!("--size (for tmpfs) is limited to {MOST_BYTES}"))
            }
            size => {
                self.size = size;
                Ok(())
            }
        }
    }

    fn id(&mut self, option: &str, words: &mut Words<'_>) -> Result<(), Stop> {
        let what = option.trim_start_matches('-');
        let word = words.one(option)?;
        let id = number(word).and_then(|id| u32::try_from(id).ok());
        let Some(id) = id else {
            return wrong(format!("Invalid {what}: {}", word.to_string_lossy()));
        };
        let place = match what {
            "uid" => &mut self.spec.uid,
            _ => &mut self.spec.gid,
        };
        let before = place.replace(id).is_some();
        self.warn(before, option);
        Ok(())
    }

    fn capability(&mut self, option: &str, word: &OsStr) -> Result<(), Stop> {
        let bits = match word.to_str() {
            Some(all) if all.eq_ignore_ascii_case("all") => u64::MAX,
            _ => match capability(word) {
                Some(number) => 1 << number,
                None => return wrong(format!("unknown cap: {}", word.to_string_lossy())),
            },
        };
        let own = CapSet(self.spec.own_capabilities);
        let CapSet(now) = self.spec.capabilities.unwrap_or(own);
        let set = if option == "--cap-add" {
            now | bits
        } else {
            now & !bits
        };
        self.spec.capabilities = Some(CapSet(set));
        Ok(())
    }

    fn namespace(&mut self, option: &str) -> bool {
        let spec = &mut self.spec;
        let place = match option {
            "--unshare-all" => {
                (spec.user_try, spec.ipc, spec.pid, spec.uts, spec.cgroup_try) =
                    (true, true, true, true, true);
                &mut spec.net
            }
            "--unshare-user" => &mut spec.user,
            "--unshare-user-try" => &mut spec.user_try,
            "--unshare-ipc" => &mut spec.ipc,
            "--unshare-pid" => &mut spec.pid,
            "--unshare-net" | "--share-net" => &mut spec.net,
            "--unshare-uts" => &mut spec.uts,
            "--unshare-cgroup" => &mut spec.cgroup,
            "--unshare-cgroup-try" => &mut spec.cgroup_try,
            _ => return false,
        };
        *place = option != "--share-net";
        true
    }

    fn descriptor(&mut self, option: &str, words: &mut Words<'_>) -> Result<bool, Stop> {
        let spec = &mut self.spec;
        let place = match option {
            "--sync-fd" => &mut spec.sync_fd,
            "--block-fd" => &mut spec.block_fd,
            "--userns-block-fd" => &mut spec.userns_block_fd,
            "--info-fd" => &mut spec.info_fd,
            "--json-status-fd" => &mut spec.json_status_fd,
            "--userns" => &mut spec.userns,
            "--userns2" => &mut spec.userns2,
            "--pidns" => &mut spec.pidns,
            _ => return Ok(false),
        };
        let before = place.is_some();
        *place = Some(words.fd(option)?);
        self.warn(before, option);
        Ok(true)
    }

    fn mode(&mut self, usual: u32) -> u32 {
        self.perms.take().unwrap_or(usual)
    }

    fn tree(&mut self, option: &str, words: &mut Words<'_>) -> Result<bool, Stop> {
        let step = match option {
            "--bind" | "--ro-bind" | "--dev-bind" | "--bind-try" | "--ro-bind-try"
            | "--dev-bind-try" => {
                let [from, to] = words.two(option)?;
                let options = BindOptions {
                    read_only: option.starts_with("--ro-"),
                    devices: option.starts_with("--dev-"),
                    optional: option.ends_with("-try"),
                    ..BindOptions::WRITABLE
                };
                TreeSpec::Bind {
                    from: Source::Path(path(from)),
                    to: path(to),
                    options,
                }
            }
            "--bind-fd" | "--ro-bind-fd" => {
                let [fd, to] = words.take("--bind-fd takes two arguments")?;
                let options = BindOptions {
                    read_only: option.starts_with("--ro-"),
                    ..BindOptions::WRITABLE
                };
                TreeSpec::Bind {
                    from: Source::Descriptor(descriptor(fd)?),
                    to: path(to),
                    options,
                }
            }
            "--overlay-src" => {
                if let Some((word, rest)) = words.rest.split_first() {
                    self.overlay_src.push(path(word));
                    words.rest = rest;
                }
                return Ok(true);
            }
            "--overlay" => {
                let [upper, work, to] = words.take("--overlay takes three arguments")?;
                let top = OverlayTop::Directory {
                    upper: path(upper),
                    work: path(work),
                };
                self.overlay(option, "one", 1, to, top)?
            }
            "--tmp-overlay" => {
                let to = words.one(option)?;
                self.overlay(option, "one", 1, to, OverlayTop::Memory)?
            }
            "--ro-overlay" => {
                let to = words.one(option)?;
                self.overlay(option, "two", 2, to, OverlayTop::Nothing)?
            }
            "--proc" => TreeSpec::Proc(path(words.one(option)?)),
            "--dev" => TreeSpec::Dev(path(words.one(option)?)),
            "--mqueue" => TreeSpec::Mqueue(path(words.one(option)?)),
            "--tmpfs" => TreeSpec::Tmpfs {
                to: path(words.one(option)?),
                mode: self.mode(0o755),
                size: self.size.take(),
            },
            "--dir" => TreeSpec::Directory {
                to: path(words.one(option)?),
                mode: self.mode(0o755),
            },
            "--file" => {
                let [fd, to] = words.two(option)?;
                TreeSpec::File {
                    from: descriptor(fd)?,
                    to: path(to),
                    mode: self.mode(0o666),
                }
            }
            "--bind-data" | "--ro-bind-data" => {
                let [fd, to] = words.two(option)?;
                TreeSpec::Data {
                    from: descriptor(fd)?,
                    to: path(to),
                    mode: self.mode(0o600),
                    read_only: option == "--ro-bind-data",
                }
            }
            "--symlink" => {
                let [text, to] = words.two(option)?;
                TreeSpec::Symlink {
                    text: path(text),
                    to: path(to),
                }
            }
            "--remount-ro" => {
                let [to] = words.take("--remount-ro takes one argument")?;
                TreeSpec::RemountReadOnly(path(to))
            }
            "--chmod" => {
                let [mode, to] = words.two(option)?;
                let Some(mode) = octal(mode) else {
                    return wrong("--chmod takes an octal argument <= 07777");
                };
                TreeSpec::Chmod { to: path(to), mode }
            }
            "--hostname" => {
                let name = words.one(option)?.to_owned();
                self.warn(self.host_name, option);
                self.host_name = true;
                TreeSpec::HostName(name)
            }
            _ => return Ok(false),
        };
        self.spec.tree.push(step);
        Ok(true)
    }

    fn overlay(
        &mut self,
        option: &str,
        least_word: &str,
        least: usize,
        to: &OsStr,
        top: OverlayTop,
    ) -> Result<TreeSpec, Stop> {
        if self.overlay_src.len() < least {
            return wrong(format!(
                "{option} requires at least {least_word} --overlay-src"
            ));
        }
        let mut lower = std::mem::take(&mut self.overlay_src);
        // They stand from bottom to top.
        lower.reverse();
        Ok(TreeSpec::Overlay {
            lower,
            to: path(to),
            top,
        })
    }
}

impl Words<'_> {
    /// A descriptor, unless another option stands against it; that is said before its number is looked at.
    fn fd_after(&mut self, option: &str, against: bool, why: &str) -> Result<i32, Stop> {
        let word = self.one(option)?;
        if against {
            return wrong(why);
        }
        descriptor(word)
    }
}

fn is_variable(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().contains(&b'=')
}

#[cfg(test)]
mod tests;
