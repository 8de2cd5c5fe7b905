//! What makes an image another one than its packages alone.

use crate::error::{At, PathError};
use crate::store::local;
use jaula_plan::explain::shown;
use jaula_plan::names::Digest;
use jaula_plan::spec::hook::HookStage;
use jaula_plan::spec::rootfs::{AptTraces, ImageOptions};
use jaula_plan::spec::source::SourceOptions;
use sha2::{Digest as _, Sha256};
use std::hash::{BuildHasher, RandomState};

/// Settings, hooks, filters and local files of a request as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Option<String>);

impl Identity {
    /// Of a request. `as_released` is whether the release has `/bin` and its like as links.
    ///
    /// # Errors
    /// A file that is named cannot be read.
    pub fn read(options: &ImageOptions, as_released: bool) -> Result<Self, PathError> {
        let other_usr = options.merged_usr.filter(|asked| *asked != as_released);
        let plain = ImageOptions {
            settings: options.settings.clone(),
            hooks: options.hooks.clone(),
            paths: options.paths.clone(),
            merged_usr: other_usr,
            foreign_archs: options.foreign_archs.clone(),
            sources: SourceOptions {
                preferences: options.sources.preferences.clone(),
                ..SourceOptions::default()
            },
            unpack_only: options.unpack_only,
            unguarded: options.unguarded.clone(),
            apt_traces: options.apt_traces,
            ..ImageOptions::default()
        };
        if plain == ImageOptions::default() {
            return Ok(Self(None));
        }
        let mut text = String::new();
        // Paths that are no text cannot be written so, but then Debug's text is as good a name.
        let mut line =
            |key: &str, value: Result<String, serde_json::Error>, debug: &dyn Fn() -> String| {
                text.push_str(&format!("{key} {}\n", value.unwrap_or_else(|_| debug())));
            };
        let (settings, paths) = (&plain.settings, &plain.paths);
        line("settings", serde_json::to_string(settings), &|| {
            format!("{settings:?}")
        });
        line("paths", serde_json::to_string(paths), &|| {
            format!("{paths:?}")
        });
        for hook in &plain.hooks {
            line("hook", serde_json::to_string(hook), &|| format!("{hook:?}"));
        }
        if plain.unpack_only {
            text.push_str("unpacked only\n");
        }
        for guard in &plain.unguarded {
            text.push_str(&format!("without {guard:?}\n"));
        }
        if plain.apt_traces != AptTraces::default() {
            text.push_str(&format!("{:?}\n", plain.apt_traces));
        }
        if let Some(merged) = other_usr {
            text.push_str(&format!("merged-usr {merged}\n"));
        }
        for arch in &plain.foreign_archs {
            text.push_str(&format!("foreign {arch}\n"));
        }
        for file in &plain.sources.preferences {
            // A length first: no two files are written the same way.
            let (name, content) = (&file.name, &file.text);
            text.push_str(&format!(
                "preferences {name} {}\n{content}\n",
                content.len()
            ));
        }
        for path in plain.hooks.iter().flat_map(|hook| hook.action.reads()) {
            let digest = local::digest(path).at("read", path)?;
            text.push_str(&format!("file {digest} {}\n", shown(path)));
        }
        if !options.is_repeatable() {
            // Never the same twice: what it does besides is to be done each time.
            let (one, two) = (RandomState::new(), RandomState::new());
            text.push_str(&format!(
                "once {:016x}{:016x}\n",
                one.hash_one(0),
                two.hash_one(1)
            ));
        }
        Ok(Self(Some(text)))
    }

    /// The same with more that counts.
    pub fn and(self, more: Option<String>) -> Self {
        match (self.0, more) {
            (Some(text), Some(more)) => Self(Some(text + &more)),
            (text, more) => Self(text.or(more)),
        }
    }

    /// The digest of an image with these packages: theirs, when nothing else was asked.
    pub fn over(&self, packages: Digest) -> Digest {
        match &self.0 {
            None => packages,
            Some(text) => {
                let text = format!("jaula image with settings 1\npackages {packages}\n{text}");
                Digest(Sha256::digest(text.as_bytes()).into())
            }
        }
    }
}

/// Whether an image may be gone on from to make this: only what is done after all packages are there is asked for.
pub fn may_go_on(options: &ImageOptions) -> bool {
    options.paths.is_empty()
        && options.foreign_archs.is_empty()
        && options.sources.preferences.is_empty()
        && !options.unpack_only
        && options.merged_usr.is_none()
        && options.settings.preseed.is_empty()
        && options
            .hooks
            .iter()
            .all(|hook| hook.stage == HookStage::Customize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::spec::hook::{Hook, HookAction};
    use jaula_plan::spec::settings::PathRule;
    use jaula_plan::spec::source::Preferences;

    fn over(options: &ImageOptions) -> Digest {
        Identity::read(options, true).unwrap().over(Digest([7; 32]))
    }

    fn with(action: HookAction) -> ImageOptions {
        let stage = HookStage::Customize;
        ImageOptions {
            hooks: vec![Hook { stage, action }],
            ..ImageOptions::default()
        }
    }

    #[test]
    fn packages_alone_are_an_identity() {
        let mut options = ImageOptions {
            arch: "i386".parse().ok(),
            merged_usr: Some(true),
            ..ImageOptions::default()
        };
        assert_eq!(over(&options), Digest([7; 32]));
        options.merged_usr = Some(false);
        assert_ne!(over(&options), Digest([7; 32]));
    }

    #[test]
    fn every_setting_counts() {
        let script = |text: &str| {
            with(HookAction::Inside {
                name: "x".into(),
                script: text.into(),
                args: vec![],
                network: false,
            })
        };
        let mut all = vec![ImageOptions::default(), script("a"), script("b")];
        let mut settings = ImageOptions::default();
        settings.settings.timezone = Some("UTC".into());
        all.push(settings);
        all.push(ImageOptions {
            paths: vec![PathRule::Exclude("/usr/share/doc/*".into())],
            ..ImageOptions::default()
        });
        for (lent, lists, cache) in [
            (true, false, false),
            (true, true, false),
            (true, false, true),
        ] {
            all.push(ImageOptions {
                apt_traces: AptTraces { lent, lists, cache },
                ..ImageOptions::default()
            });
        }
        all.push(ImageOptions {
            foreign_archs: vec!["i386".parse().unwrap()],
            ..ImageOptions::default()
        });
        let mut pinned = ImageOptions::default();
        pinned.sources.preferences.push(Preferences {
            name: "pins".into(),
            text: "Package: a\n".into(),
        });
        all.push(pinned);
        let digests: Vec<Digest> = all.iter().map(over).collect();
        assert_eq!(digests, all.iter().map(over).collect::<Vec<_>>());
        let count = digests
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        assert_eq!(count, all.len());
    }

    #[test]
    fn what_a_file_holds_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let options = with(HookAction::Upload {
            from: file.clone(),
            to: "/etc/file".into(),
        });
        assert!(Identity::read(&options, true).is_err());
        std::fs::write(&file, "one").unwrap();
        let one = over(&options);
        assert_eq!(over(&options), one);
        std::fs::write(&file, "two").unwrap();
        assert_ne!(over(&options), one);
    }

    #[test]
    fn what_is_done_besides_is_done_each_time() {
        let options = with(HookAction::Outside {
            apt_config: None,
            mounts: Vec::new(),
            command: vec!["true".into()],
            after: vec![],
            env: vec![],
        });
        assert_ne!(over(&options), over(&options));
    }
}
