//! mmdebstrap's hooks as the engine's.

use super::options::{HookWord, Place, Stage};
use super::voice::Voice;
use jaula_plan::spec::hook::{Hook, HookAction, HookStage};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a hook is told by its environment.
#[derive(Debug, Clone)]
pub struct Told {
    /// `MMDEBSTRAP_ARGV0`: how the tool was called.
    pub called: String,
    /// `MMDEBSTRAP_MODE`
    pub mode: String,
    /// `MMDEBSTRAP_SUITE`
    pub suite: Option<String>,
    /// `MMDEBSTRAP_VERBOSITY`
    pub verbosity: u8,
    /// `MMDEBSTRAP_INCLUDE`
    pub include: Vec<String>,
    /// Whether nodes of devices are left out of archives that are unpacked (`--skip=tar-in/mknod`).
    pub no_devices: bool,
    /// What hooks find mounted in the tree of `proc`, `sys` and `dev`: less with `--skip=chroot/mount`.
    pub mounts: Vec<String>,
}

impl Told {
    fn env(&self, stage: Stage) -> Vec<(String, String)> {
        // A comma parts the packages, so that one in a name is written otherwise, and the percent sign with it.
        let escaped = |word: &String| word.replace('%', "%25").replace(',', "%2C");
        let include: Vec<String> = self.include.iter().map(escaped).collect();
        let suite = self.suite.clone().map(|suite| ("MMDEBSTRAP_SUITE", suite));
        // By this a hook knows that devices cannot be made.
        let container =
            (self.mode == "unshare").then(|| ("container", "mmdebstrap-unshare".to_owned()));
        [
            ("MMDEBSTRAP_ARGV0", self.called.clone()),
            ("MMDEBSTRAP_MODE", self.mode.clone()),
            ("MMDEBSTRAP_HOOK", stage.as_str().to_owned()),
            ("MMDEBSTRAP_VERBOSITY", self.verbosity.to_string()),
            ("MMDEBSTRAP_INCLUDE", include.join(",")),
            // What a hook gives `--hook-helper` to speak through. Ours does all by itself: any descriptor will do.
            ("MMDEBSTRAP_HOOKSOCK", "2".to_owned()),
            ("DEBIAN_FRONTEND", "noninteractive".to_owned()),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true".to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("LANGUAGE", "C.UTF-8".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
        ]
        .into_iter()
        .chain(suite)
        .chain(container)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

const fn stage_of(stage: Stage) -> HookStage {
    match stage {
        Stage::Setup => HookStage::Setup,
        Stage::Extract => HookStage::Extract,
        Stage::Essential => HookStage::Essential,
        Stage::Customize => HookStage::Customize,
    }
}

/// The engine's hooks, in the order they were given.
///
/// # Errors
/// One line, in the tool's words where it has some.
pub fn hooks(words: &[HookWord], told: &Told, voice: &Voice) -> Result<Vec<Hook>, String> {
    let mut hooks = Vec::new();
    for word in words {
        match word {
            HookWord::Command { stage, place, text } => {
                hooks.extend(command(*stage, *place, text, told)?)
            }
            HookWord::Directory(dir) => {
                for (stage, script) in directory(dir, voice)? {
                    hooks.push(outside(stage, vec![script], told));
                }
            }
        }
    }
    Ok(hooks)
}

/// Tells hooks what is written: `MMDEBSTRAP_FORMAT`.
pub fn tell_format(hooks: &mut [Hook], format: &str) {
    for hook in hooks {
        if let HookAction::Outside { env, .. } = &mut hook.action {
            env.push(("MMDEBSTRAP_FORMAT".to_owned(), format.to_owned()));
        }
    }
}

fn outside(stage: Stage, command: Vec<String>, told: &Told) -> Hook {
    Hook {
        stage: stage_of(stage),
        action: HookAction::Outside {
            command,
            after: Vec::new(),
            env: told.env(stage),
            apt_config: Some("MMDEBSTRAP_APT_CONFIG".to_owned()),
            // As there: not before packages are unpacked.
            mounts: match stage {
                Stage::Setup => Vec::new(),
                _ => told.mounts.clone(),
            },
        },
    }
}

fn command(stage: Stage, place: Place, text: &str, told: &Told) -> Result<Vec<Hook>, String> {
    if place == Place::Tree {
        let action = HookAction::Inside {
            name: text.to_owned(),
            script: text.as_bytes().to_vec(),
            args: Vec::new(),
            network: true,
        };
        return Ok(vec![Hook {
            stage: stage_of(stage),
            action,
        }]);
    }
    if let Some(actions) = special(text)? {
        let hook = |mut action| {
            if let HookAction::TarIn { no_devices, .. } = &mut action {
                *no_devices = told.no_devices;
            }
            Hook {
                stage: stage_of(stage),
                action,
            }
        };
        return Ok(actions.into_iter().map(hook).collect());
    }
    // An executable, or a word that means nothing else to a shell, is run as it is.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if is_executable(Path::new(text)) || text.chars().all(plain) {
        return Ok(vec![outside(stage, vec![text.to_owned()], told)]);
    }
    let shell = ["sh", "-c", text, "exec"].map(str::to_owned).to_vec();
    Ok(vec![outside(stage, shell, told)])
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Hooks that are no programs.
pub const SPECIAL: [&str; 8] = [
    "copy-in", "copy-out", "sync-in", "sync-out", "tar-in", "tar-out", "upload", "download",
];

/// What `copy-in FILE… DIR` and its like mean; none for another command.
fn special(text: &str) -> Result<Option<Vec<HookAction>>, String> {
    let Some((name, _)) = text.split_once(' ') else {
        return Ok(None);
    };
    if !SPECIAL.contains(&name) {
        return Ok(None);
    }
    let words = shell_words(text).ok_or_else(|| format!("cannot part the words of: {text}"))?;
    let (_, words) = words.split_first().ok_or("an empty hook")?;
    Ok(Some(transfers(name, words)?))
}

/// What one of them does with its words.
///
/// # Errors
/// One line.
pub fn transfers(name: &str, words: &[String]) -> Result<Vec<HookAction>, String> {
    let host = |word: &str| std::path::absolute(word).map_err(|error| format!("{word}: {error}"));
    let at_least = |least: usize| match words.len() < least {
        true => Err(format!("{name} requires at least {least} arguments")),
        false => Ok(()),
    };
    let exactly_two = || match words {
        [from, to] => Ok((from.as_str(), to.as_str())),
        _ => Err(format!("{name} requires two arguments")),
    };
    let tree = |word: &str| PathBuf::from(word);
    let action = match name {
        "copy-in" | "copy-out" => {
            at_least(2)?;
            let (to, from) = words.split_last().ok_or("no arguments")?;
            if name == "copy-in" {
                let from = from
                    .iter()
                    .map(|word| host(word))
                    .collect::<Result<_, _>>()?;
                HookAction::CopyIn { from, to: tree(to) }
            } else {
                HookAction::CopyOut {
                    from: from.iter().map(|word| tree(word)).collect(),
                    to: host(to)?,
                }
            }
        }
        "upload" => {
            let (from, to) = exactly_two()?;
            HookAction::Upload {
                from: host(from)?,
                to: tree(to),
            }
        }
        "download" => {
            let (from, to) = exactly_two()?;
            HookAction::Download {
                from: tree(from),
                to: host(to)?,
            }
        }
        "tar-in" => {
            let (from, to) = exactly_two()?;
            HookAction::TarIn {
                from: host(from)?,
                to: tree(to),
                no_devices: false,
            }
        }
        "tar-out" => {
            let (from, to) = exactly_two()?;
            HookAction::TarOut {
                from: tree(from),
                to: host(to)?,
                named: true,
            }
        }
        // What is in a directory, into another one.
        "sync-in" => {
            let (from, to) = exactly_two()?;
            HookAction::CopyIn {
                from: vec![host(from)?.join(".")],
                to: tree(to),
            }
        }
        _ => {
            let (from, to) = exactly_two()?;
            HookAction::CopyOut {
                from: vec![tree(from).join(".")],
                to: host(to)?,
            }
        }
    };
    Ok(vec![action])
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(dir)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut entries =
        list().map_err(|error| format!("{} is not a directory: {error}", dir.display()))?;
    entries.sort();
    Ok(entries)
}

/// Words as a shell parts them: blanks, quotes and backslashes (shellwords of Text::ParseWords(3perl)).
fn shell_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        inner => word.push(inner),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => word.push(letters.next()?),
                        inner => word.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next()?),
            blank if blank.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// The hooks of a directory: executables named by their stage, sorted within it.
fn directory(dir: &str, voice: &Voice) -> Result<Vec<(Stage, String)>, String> {
    let path = Path::new(dir);
    if !path.exists() {
        return Err(format!("hook directory \"{dir}\" does not exist"));
    }
    if !path.is_dir() {
        return Err(format!("hook directory \"{dir}\" is not a directory"));
    }
    let mut found = Vec::new();
    for entry in entries(path)? {
        let name = entry
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let shown = format!("{dir}/{name}");
        let stage = Stage::ALL
            .into_iter()
            .find(|stage| name.starts_with(stage.as_str()));
        match (stage, is_executable(&entry)) {
            (Some(stage), true) => {
                let path = std::path::absolute(&entry).unwrap_or(entry);
                found.push((stage, path.to_string_lossy().into_owned()));
            }
            (Some(_), false) => {
                voice.warning(&format!("{shown} is named like a hook but not executable"))
            }
            (None, true) => {
                voice.warning(&format!(
                    "{shown}: is executable but not prefixed with a hook name"
                ));
            }
            (None, false) => {}
        }
    }
    if found.is_empty() {
        voice.warning(&format!("No executable hook scripts found in {dir}"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::mmdebstrap::options::Loudness;

    fn told() -> Told {
        Told {
            called: "mmdebstrap".into(),
            mode: "root".into(),
            suite: Some("sid".into()),
            verbosity: 1,
            include: vec!["a,b".into()],
            no_devices: false,
            mounts: vec!["dev".into()],
        }
    }

    fn made(text: &str) -> Result<Vec<HookAction>, String> {
        let word = HookWord::Command {
            stage: Stage::Customize,
            place: Place::Host,
            text: text.to_owned(),
        };
        let hooks = hooks(&[word], &told(), &Voice::new(Loudness::Quiet, None))?;
        Ok(hooks.into_iter().map(|hook| hook.action).collect())
    }

    #[test]
    fn a_shell_is_asked_only_where_one_is_needed() {
        let commands = |text: &str| match made(text).expect("sound").as_slice() {
            [
                HookAction::Outside {
                    command,
                    env,
                    mounts,
                    ..
                },
            ] => {
                assert_eq!(mounts, &["dev"]);
                assert!(env.contains(&("MMDEBSTRAP_HOOK".into(), "customize".into())));
                assert!(env.contains(&("MMDEBSTRAP_INCLUDE".into(), "a%2Cb".into())));
                command.clone()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(commands("true"), ["true"]);
        assert_eq!(
            commands("touch \"$1/x\""),
            ["sh", "-c", "touch \"$1/x\"", "exec"]
        );
    }

    #[test]
    fn special_hooks_have_their_own_actions() {
        let actions = made("copy-in /a '/b c' /tmp").expect("sound");
        let from = vec!["/a".into(), "/b c".into()];
        assert_eq!(
            actions,
            [HookAction::CopyIn {
                from,
                to: "/tmp".into()
            }]
        );
        assert!(made("upload /a").is_err());
        assert!(made("copy-out 'x").is_err());
    }

    #[test]
    fn words_are_parted_as_a_shell_does() {
        assert_eq!(
            shell_words(r#"a 'b c' "d \" e" f\ g ''"#),
            Some(
                ["a", "b c", "d \" e", "f g", ""]
                    .map(str::to_owned)
                    .to_vec()
            )
        );
        assert_eq!(shell_words("a 'b"), None);
    }
}
