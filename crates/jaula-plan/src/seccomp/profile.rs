//! The profile file: JSON in the form of the OCI runtime specification (config-linux.md, seccomp), with what Docker and
//! Podman add to it. What is not understood is refused: it might have been a refusal.

use super::{Action, Condition, Flags, Test, errno, syscalls};
use serde::Deserialize;

/// The most bytes of a profile: Docker's has 17 thousand.
pub const MAX_BYTES: usize = 1 << 20;
/// The most entries.
const MAX_ENTRIES: usize = 4096;
/// The most names in all entries together.
const MAX_NAMES: usize = 65536;
/// The most conditions of an entry.
const MAX_CONDITIONS: usize = 16;

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON, or not of this form.
    #[error("it is no seccomp profile: {0}")]
    Form(String),
    /// More than is read.
    #[error("it has more than {most} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// A word that has no meaning in its place.
    #[error("{word:?} is no {what}")]
    Word {
        /// What it was to be.
        what: &'static str,
        /// The word.
        word: String,
    },
    /// Something that jaula does not do.
    #[error("it asks for {what}: {why}")]
    Refused {
        /// What.
        what: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// Two statements that exclude each other.
    #[error("{0}")]
    Contradiction(String),
    /// Calls that no kernel has.
    #[error("it names system calls that do not exist: {}", .0.join(" "))]
    UnknownCalls(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileForm {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchForm>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<EntryForm>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchForm {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntryForm {
    names: Option<Vec<String>>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<ArgForm>>,
    // Its reader is a person.
    #[serde(rename = "comment")]
    _comment: Option<serde_json::Value>,
    includes: Option<FilterForm>,
    excludes: Option<FilterForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArgForm {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FilterForm {
    arches: Option<Vec<String>>,
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// On which machines, with which capabilities and from which kernel on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scope {
    pub(super) arches: Vec<String>,
    /// By number.
    pub(super) caps: Vec<u32>,
    pub(super) kernel: Option<(u32, u32)>,
}

/// Calls that are answered alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    /// Each a list of conditions that must all hold; one list, empty, for an entry without any.
    pub(super) alternatives: Vec<Vec<Condition>>,
    pub(super) includes: Scope,
    pub(super) excludes: Scope,
}

/// A profile that was read, for any machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub(super) name: String,
    pub(super) default: Action,
    /// The architectures of `architectures`, and with each of `archMap` those below it.
    pub(super) architectures: Vec<String>,
    pub(super) arch_map: Vec<(String, Vec<String>)>,
    pub(super) flags: Flags,
    pub(super) entries: Vec<Entry>,
    /// Whether the built-in list holds besides.
    pub(super) beside: bool,
}

impl Profile {
    /// Reads a profile; `name` is what it is called in messages.
    ///
    /// # Errors
    /// When it is not of the form, asks for what is not there, or is larger than any profile should be. Names of calls
    /// are looked at by [`Self::unknown`] and [`super::compile`] only.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX_BYTES {
            return Err(too_much("bytes", MAX_BYTES));
        }
        let form: FileForm =
            serde_json::from_str(text).map_err(|e| ProfileError::Form(e.to_string()))?;
        if form.listener_path.is_some() || form.listener_metadata.is_some() {
            return Err(listener("a listener (listenerPath)"));
        }
        let default = action(
            &form.default_action,
            form.default_errno_ret,
            form.default_errno.as_deref(),
        )?;
        let syscalls = form.syscalls.unwrap_or_default();
        if syscalls.len() > MAX_ENTRIES {
            return Err(too_much("entries", MAX_ENTRIES));
        }
        let entries: Vec<Entry> = syscalls.into_iter().map(entry).collect::<Result<_, _>>()?;
        if entries.iter().map(|entry| entry.names.len()).sum::<usize>() > MAX_NAMES {
            return Err(too_much("names", MAX_NAMES));
        }
        let mut flags = Flags::default();
        for flag in form.flags.unwrap_or_default() {
            match flag.as_str() {
                "SECCOMP_FILTER_FLAG_LOG" => flags.log = true,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => flags.spec_allow = true,
                "SECCOMP_FILTER_FLAG_TSYNC" => flags.tsync = true,
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => {
                    return Err(listener("a listener's flag"));
                }
                _ => return Err(no_word("flag of seccomp(2)", flag)),
            }
        }
        let architectures = form.architectures.unwrap_or_default();
        let arch_map: Vec<(String, Vec<String>)> = form
            .arch_map
            .unwrap_or_default()
            .into_iter()
            .map(|arch| {
                (
                    arch.architecture,
                    arch.sub_architectures.unwrap_or_default(),
                )
            })
            .collect();
        let below = arch_map
            .iter()
            .flat_map(|(arch, below)| below.iter().chain([arch]));
        if let Some(arch) = below.chain(&architectures).find(|arch| !is_arch(arch)) {
            return Err(no_word("architecture", arch.clone()));
        }
        Ok(Self {
            name: name.to_owned(),
            default,
            architectures,
            arch_map,
            flags,
            entries,
            beside: false,
        })
    }

    /// The same, in which the built-in list holds too: for one that nobody has thought about what arguments mean in.
    #[must_use]
    pub fn beside_the_list(self) -> Self {
        Self {
            beside: true,
            ..self
        }
    }

    /// Whether the built-in list holds too.
    pub fn is_beside_the_list(&self) -> bool {
        self.beside
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The calls it names that no machine has, each once, in the order of the profile.
    pub fn unknown(&self) -> Vec<&str> {
        let mut unknown: Vec<&str> = Vec::new();
        for name in self.entries.iter().flat_map(|entry| &entry.names) {
            if !syscalls::is_known(name) && !unknown.contains(&name.as_str()) {
                unknown.push(name);
            }
        }
        unknown
    }
}

fn too_much(what: &'static str, most: usize) -> ProfileError {
    ProfileError::TooMuch { what, most }
}

fn no_word(what: &'static str, word: String) -> ProfileError {
    ProfileError::Word { what, word }
}

fn listener(what: &'static str) -> ProfileError {
    ProfileError::Refused {
        what,
        why: "a program outside would answer the jail's calls, and jaula runs none",
    }
}

/// The architectures of the runtime specification, so that a slip in one is seen.
fn is_arch(word: &str) -> bool {
    const ARCHES: [&str; 23] = [
        "NATIVE",
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SHEB",
    ];
    word.strip_prefix("SCMP_ARCH_")
        .is_some_and(|arch| ARCHES.contains(&arch))
}

fn action(word: &str, ret: Option<u32>, name: Option<&str>) -> Result<Action, ProfileError> {
    let by_name = match name {
        None | Some("") => None,
        Some(name) => Some(errno::number(name).ok_or_else(|| no_word("errno", name.to_owned()))?),
    };
    if let (Some(ret), Some(named)) = (ret, by_name)
        && ret != u32::from(named)
    {
        return Err(ProfileError::Contradiction(format!(
            "errnoRet {ret} and errno {} are not the same",
            name.unwrap_or_default()
        )));
    }
    let number = match (ret, by_name) {
        (Some(ret), _) => u16::try_from(ret)
            .ok()
            .filter(|ret| u32::from(*ret) <= errno::MAX)
            .ok_or_else(|| no_word("errno, which ends at 4095", ret.to_string()))?,
        (None, Some(named)) => named,
        (None, None) => errno::EPERM,
    };
    let plain = |action| match (ret, by_name) {
        // Podman writes 0 and "" where there is none.
        (None | Some(0), None) => Ok(action),
        _ => Err(ProfileError::Contradiction(format!("{word} has no errno"))),
    };
    match word {
        "SCMP_ACT_ERRNO" => Ok(Action::Errno(number)),
        "SCMP_ACT_TRACE" => Ok(Action::Trace(number)),
        "SCMP_ACT_ALLOW" => plain(Action::Allow),
        "SCMP_ACT_LOG" => plain(Action::Log),
        "SCMP_ACT_TRAP" => plain(Action::Trap),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => plain(Action::KillThread),
        "SCMP_ACT_KILL_PROCESS" => plain(Action::KillProcess),
        "SCMP_ACT_NOTIFY" => Err(listener("SCMP_ACT_NOTIFY")),
        _ => Err(no_word("action", word.to_owned())),
    }
}

fn entry(form: EntryForm) -> Result<Entry, ProfileError> {
    let mut names = form.names.unwrap_or_default();
    names.extend(form.name.filter(|name| !name.is_empty()));
    if names.is_empty() {
        return Err(ProfileError::Form(
            "an entry names no system call".to_owned(),
        ));
    }
    let args = form.args.unwrap_or_default();
    if args.len() > MAX_CONDITIONS {
        return Err(too_much("conditions in an entry", MAX_CONDITIONS));
    }
    let conditions: Vec<Condition> = args.iter().map(condition).collect::<Result<_, _>>()?;
    let twice = conditions.iter().enumerate().any(|(at, c)| {
        conditions
            .iter()
            .skip(at + 1)
            .any(|other| other.arg == c.arg)
    });
    let alternatives = if twice {
        conditions.into_iter().map(|c| vec![c]).collect()
    } else {
        vec![conditions]
    };
    Ok(Entry {
        names,
        action: action(&form.action, form.errno_ret, form.errno.as_deref())?,
        alternatives,
        includes: scope(form.includes)?,
        excludes: scope(form.excludes)?,
    })
}

fn condition(form: &ArgForm) -> Result<Condition, ProfileError> {
    let arg = u8::try_from(form.index)
        .ok()
        .filter(|arg| *arg < 6)
        .ok_or_else(|| {
            no_word(
                "argument of a call, which has 0 to 5",
                form.index.to_string(),
            )
        })?;
    let value = form.value;
    let test = match form.op.as_str() {
        "SCMP_CMP_EQ" => Test::Eq(value),
        "SCMP_CMP_NE" => Test::Ne(value),
        "SCMP_CMP_LT" => Test::Lt(value),
        "SCMP_CMP_LE" => Test::Le(value),
        "SCMP_CMP_GT" => Test::Gt(value),
        "SCMP_CMP_GE" => Test::Ge(value),
        // seccomp_rule_add(3): both are masked.
        "SCMP_CMP_MASKED_EQ" => Test::Masked {
            mask: value,
            value: form.value_two & value,
        },
        _ => return Err(no_word("comparison", form.op.clone())),
    };
    Ok(Condition { arg, test })
}

fn scope(form: Option<FilterForm>) -> Result<Scope, ProfileError> {
    let form = form.unwrap_or_default();
    let caps = form.caps.unwrap_or_default();
    let number = |name: &String| {
        crate::setup_op::CapSet::number(name).ok_or_else(|| no_word("capability", name.clone()))
    };
    let kernel = match form.min_kernel {
        None => None,
        Some(text) => {
            let version = text
                .split_once('.')
                .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
            Some(version.ok_or_else(|| no_word("version of a kernel, as in 5.4", text))?)
        }
    };
    Ok(Scope {
        arches: form.arches.unwrap_or_default(),
        caps: caps.iter().map(number).collect::<Result<_, _>>()?,
        kernel,
    })
}
