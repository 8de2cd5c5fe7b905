//! Doing it: package files fetched and checked here, handed to the jail's own dpkg as open descriptors of copies that
//! have no name: what the jail does with them is nothing to the store.

use super::plan::{PkgPlan, Taken};
use super::{PkgError, PkgTarget};
use crate::configure::{self, Log};
use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::event::{Event, Observer, Phase};
use crate::fetch::{Wanted, download_all};
use crate::image::BuildError;
use crate::outcome::{Io, Status};
use crate::spec::{ExecSpec, GuardSpec};
use jaula_plan::spec::jail::{Changes, JailSpec, RootSpec, Terminal};
use jaula_repo::hex;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Runs what its arguments say: `states FD`, then any number of `unpack COUNT FILE…`, `configure COUNT PACKAGE…`,
/// `remove COUNT PACKAGE…`, `purge COUNT PACKAGE…`, `pending`. Services are kept from starting meanwhile
/// (invoke-rc.d(8)), also by scripts that call dpkg's starter by its path: as while an image is made, another stands in its
/// place. What one that was killed left of that is taken away. No argument is ever read as
/// a script.
const DRIVER: &str = r#"
set -f
guard=/usr/sbin/policy-rc.d
mine=no
starters='/usr/sbin/start-stop-daemon /sbin/start-stop-daemon'
aside=
stand_in='#!/bin/sh
echo
echo "Warning: Fake start-stop-daemon called, doing nothing"'
is_stand_in() {
    IFS= read -r line <"$1" && [ "$line" = '#!/bin/sh' ] && [ "$(cat "$1")" = "$stand_in" ]
}
stand_in() {
    for one in $starters; do
        if [ ! -f "$one" ] || [ -L "$one" ]; then continue; fi
        if is_stand_in "$one"; then
            if [ -f "$one.REAL" ]; then aside="$aside $one"; fi
            continue
        fi
        case " $aside " in
            *" $one "*) ;;
            *) if [ -e "$one.REAL" ] || [ -L "$one.REAL" ]; then continue; fi ;;
        esac
        # At each moment there is one of the two by its name, whole, and what is to be taken back is known before.
        printf '%s\n' "$stand_in" >"$one.jaula" && chmod 755 "$one.jaula" || exit 98
        aside="$aside $one"
        ln -f "$one" "$one.REAL" || exit 98
        mv -f "$one.jaula" "$one" || exit 98
    done
}
# What one that was killed left: both names of the program, or, of older ones, its other name alone or beside an empty file.
restore() {
    for one in $starters; do
        rm -f "$one.jaula"
        if [ -L "$one" ] || [ -L "$one.REAL" ] || [ ! -s "$one.REAL" ]; then continue; fi
        if [ ! -s "$one" ]; then mv -f "$one.REAL" "$one" || exit 98; fi
        if [ "$one" -ef "$one.REAL" ]; then rm -f "$one.REAL"; fi
    done
}
end() {
    if [ "$mine" = yes ]; then rm -f "$guard"; mine=no; fi
    for one in $aside; do
        rm -f "$one.jaula"
        if [ ! -f "$one.REAL" ]; then continue; fi
        if [ ! -e "$one" ] || is_stand_in "$one"; then mv -f "$one.REAL" "$one"; else rm -f "$one.REAL"; fi
    done
    aside=
}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -f "$guard" ] && [ ! -L "$guard" ]; then
    case $(cat "$guard") in
        *'# while jaula changes packages'*) rm -f "$guard" ;;
    esac
fi
if [ -d /usr/sbin ] && [ ! -e "$guard" ] && [ ! -L "$guard" ]; then
    mine=yes
    printf '#!/bin/sh\n# while jaula changes packages\nexit 101\n' >"$guard" && chmod 755 "$guard" || exit 98
fi
restore
while [ "$#" -gt 0 ]; do
    stand_in
    verb=$1
    shift
    case $verb in
        states)
            if [ -d /var/lib/apt ]; then
                cat "/proc/self/fd/$1" >/var/lib/apt/extended_states.new || exit 98
                mv -f /var/lib/apt/extended_states.new /var/lib/apt/extended_states || exit 98
            fi
            shift
            continue ;;
        pending)
            dpkg --force-confdef --force-confold --configure --pending || exit "$?"
            continue ;;
    esac
    count=$1
    shift
    list=
    while [ "$count" -gt 0 ]; do
        list="$list $1"
        shift
        count=$((count - 1))
    done
    case $verb in
        unpack) dpkg --force-confdef --force-confold --auto-deconfigure --no-triggers --unpack $list ;;
        configure) dpkg --force-confdef --force-confold --no-triggers --configure $list ;;
        remove) dpkg --no-triggers --remove $list ;;
        purge) dpkg --no-triggers --purge $list ;;
        *) exit 97 ;;
    esac || exit "$?"
done
"#;

/// The least number of a descriptor that is lent: scripts use those below for themselves, debconf(7) number 3.
const FIRST: i32 = 100;
/// Package files that are open at once; processes may usually have 1024.
const AT_ONCE: usize = 400;

/// What one run of the driver is told.
#[derive(Default)]
struct Words {
    words: Vec<OsString>,
    lent: Vec<OwnedFd>,
}

impl Words {
    fn say(&mut self, verb: &str, list: &[String]) {
        if list.is_empty() {
            return;
        }
        self.words.push(verb.into());
        self.words.push(list.len().to_string().into());
        self.words.extend(list.iter().map(OsString::from));
    }

    /// A descriptor that the driver has, by its number.
    fn lend(&mut self, file: &File) -> std::io::Result<i32> {
        let lent = jaula_sys::process::lend(file.as_fd(), FIRST)?;
        let number = lent.as_raw_fd();
        self.lent.push(lent);
        Ok(number)
    }
}

impl Engine {
    /// Changes the packages of a jail.
    ///
    /// # Errors
    /// [`EngineError::Pkg`]: the jail is as its dpkg left it, and nothing of ours is in it.
    pub fn pkg(&self, plan: &PkgPlan, observer: &dyn Observer) -> Result<(), EngineError> {
        if plan.is_empty() {
            return Ok(());
        }
        // No package goes from the store between its coming and its use.
        let _content = self.store().use_content().map_err(PkgError::from)?;
        self.fetch_taken(plan, observer)?;
        let started = Instant::now();
        let items = (plan.install.len() + plan.remove.len()) as u64;
        observer.event(Event::Started {
            phase: Phase::Configure,
            items,
            bytes: 0,
        });
        let mut runs = self.driver_runs(plan)?;
        let last = runs.len().saturating_sub(1);
        for (number, run) in runs.iter_mut().enumerate() {
            if number == last && !(plan.install.is_empty() && plan.remove.is_empty()) {
                run.words.push("pending".into());
            }
            self.drive(plan, run, observer)?;
        }
        observer.event(Event::Finished {
            phase: Phase::Configure,
            items,
            bytes: 0,
            millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        Ok(())
    }

    /// Fetches what the store lacks.
    fn fetch_taken(&self, plan: &PkgPlan, observer: &dyn Observer) -> Result<(), PkgError> {
        let mut wanted = Vec::new();
        for taken in &plan.install {
            if self.store().package(&taken.sha256).is_some() {
                continue;
            }
            let path = self.store().package_path(&taken.sha256);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).at("make", parent)?;
            }
            wanted.push(Wanted {
                urls: taken.urls.clone(),
                size: taken.size,
                sha256: taken.sha256,
                label: taken.name.clone(),
                part: self.store().partial_path(&taken.sha256)?,
                path,
            });
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let (items, bytes) = (
            wanted.len() as u64,
            wanted.iter().map(|file| file.size).sum(),
        );
        observer.event(Event::Started {
            phase: Phase::Fetch,
            items,
            bytes,
        });
        let tell = |items, bytes, item: &str| {
            observer.event(Event::Progress {
                phase: Phase::Fetch,
                items,
                bytes,
                item: item.to_owned(),
            });
        };
        let client = self.client_as(&plan.sources, plan.logins)?;
        let client = client.with_logins(&plan.entries);
        download_all(&client, &wanted, &tell).map_err(BuildError::from)?;
        observer.event(Event::Finished {
            phase: Phase::Fetch,
            items,
            bytes,
            millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        Ok(())
    }

    /// What the driver is told, in as many runs as descriptors need.
    fn driver_runs(&self, plan: &PkgPlan) -> Result<Vec<Words>, PkgError> {
        let mut words = Words::default();
        if let Some(states) = &plan.states {
            let number = self.lend_text(&mut words, states)?;
            words
                .words
                .extend(["states".into(), number.to_string().into()]);
        }
        let gone: Vec<String> = plan
            .remove
            .iter()
            .map(|leaving| qualified(&leaving.name, &leaving.arch))
            .collect();
        words.say(if plan.purge { "purge" } else { "remove" }, &gone);
        let mut runs = Vec::new();
        let mut batch: Vec<String> = Vec::new();
        let mut configured = vec![false; plan.install.len()];
        for taken in &plan.install {
            let due: Vec<usize> = taken
                .before
                .iter()
                .copied()
                .filter(|at| !configured.get(*at).copied().unwrap_or(true))
                .collect();
            if !due.is_empty() || words.lent.len() >= AT_ONCE {
                words.say("unpack", &batch);
                batch.clear();
                let name = |at: &usize| {
                    plan.install
                        .get(*at)
                        .map(|taken| qualified(&taken.name, &taken.arch))
                };
                words.say(
                    "configure",
                    &due.iter().filter_map(name).collect::<Vec<_>>(),
                );
                for at in due {
                    if let Some(done) = configured.get_mut(at) {
                        *done = true;
                    }
                }
            }
            if words.lent.len() >= AT_ONCE {
                runs.push(std::mem::take(&mut words));
            }
            let file = self.checked(taken)?;
            let number = words
                .lend(&file)
                .at("lend", self.store().package_path(&taken.sha256))?;
            batch.push(format!("/proc/self/fd/{number}"));
        }
        words.say("unpack", &batch);
        runs.push(words);
        Ok(runs)
    }

    /// A file of no name, to be filled and to be read. Who is lent it may write into it where he is its owner, which is
    /// his own affair: it is nobody else's.
    fn private(&self) -> Result<(File, File, PathBuf), PkgError> {
        let path = self
            .store()
            .made("run")?
            .join(format!("{}.lent", self.store().fresh_id()?));
        let mut options = File::options();
        let filled = options.write(true).create_new(true).mode(0o600).open(&path);
        let filled = filled.at("make", &path)?;
        let reader = File::open(&path);
        std::fs::remove_file(&path).at("remove", &path)?;
        // The jail's root may be nobody to it, and opens it anew: it has no name by which others could.
        filled
            .set_permissions(Permissions::from_mode(0o644))
            .at("change", &path)?;
        Ok((filled, reader.at("open", &path)?, path))
    }

    /// A copy of a package file whose bytes are checked as they are copied.
    fn checked(&self, taken: &Taken) -> Result<File, PkgError> {
        let path = self.store().package_path(&taken.sha256);
        let mut file = File::open(&path).at("open", &path)?;
        let (mut filled, reader, copy) = self.private()?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer).at("read", &path)?;
            if count == 0 {
                break;
            }
            let piece = buffer.get(..count).unwrap_or_default();
            hash.update(piece);
            filled.write_all(piece).at("write", &copy)?;
        }
        let got: [u8; 32] = hash.finalize().into();
        if got != taken.sha256 {
            // Best effort: the next run would find the same again, and say so.
            drop(std::fs::remove_file(&path));
            let altered = crate::fetch::FetchError::Altered {
                url: jaula_plan::explain::shown(&path),
                expected: hex::encode(&taken.sha256),
                got: hex::encode(&got),
            };
            return Err(BuildError::from(altered).into());
        }
        Ok(reader)
    }

    /// A text as a descriptor.
    fn lend_text(&self, words: &mut Words, text: &str) -> Result<i32, PkgError> {
        let (mut filled, reader, path) = self.private()?;
        filled.write_all(text.as_bytes()).at("write", &path)?;
        Ok(words.lend(&reader).at("lend", &path)?)
    }

    /// One run of the driver.
    fn drive(
        &self,
        plan: &PkgPlan,
        run: &mut Words,
        observer: &dyn Observer,
    ) -> Result<(), PkgError> {
        let mut command: Vec<OsString> = ["/bin/sh", "-c", DRIVER, "jaula"]
            .iter()
            .map(Into::into)
            .collect();
        command.extend(run.words.iter().cloned());
        self.script(
            &plan.target,
            command,
            std::mem::take(&mut run.lent),
            observer,
        )
    }

    /// Runs a script that changes packages in a jail, with descriptors that it is lent.
    pub(super) fn script(
        &self,
        target: &PkgTarget,
        command: Vec<OsString>,
        lent: Vec<OwnedFd>,
        observer: &dyn Observer,
    ) -> Result<(), PkgError> {
        let guards = GuardSpec {
            keep_fds: lent
                .iter()
                .filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok())
                .collect(),
            ..GuardSpec::default()
        };
        let env = [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/root"),
            ("SHELL", "/bin/sh"),
            ("TERM", "dumb"),
            ("LC_ALL", "C"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("DEBCONF_NOWARNINGS", "yes"),
        ];
        let env = env.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let mut log = Log::new(observer);
        let status = match target {
            PkgTarget::Jail(name) => {
                let spec = ExecSpec {
                    command,
                    cwd: Some("/".into()),
                    env: env.to_vec(),
                    terminal: Terminal::Captured,
                    guards,
                    ..ExecSpec::default()
                };
                let exec = self.plan_exec(name, &spec).map_err(boxed)?;
                let io = Io::Captured(&mut |bytes| log.hear(bytes));
                self.exec(&exec, io, observer).map_err(boxed)?.status
            }
            PkgTarget::Tree(path) => {
                let root = RootSpec::Tree {
                    dir: path.clone(),
                    changes: Changes::Direct,
                };
                let mut jail = JailSpec::new(root, command);
                guards.apply(&mut jail);
                jail.hostname = "localhost".parse().ok();
                jail.cwd = Some("/".into());
                jail.env = env.to_vec();
                jail.terminal = Terminal::Captured;
                configure::in_jail(jail, &mut |bytes| log.hear(bytes))?
            }
        };
        log.end();
        if status == Status::Exited(0) {
            return Ok(());
        }
        let (package, script) = log.failed().unwrap_or_default();
        Err(PkgError::Dpkg {
            package,
            script,
            status,
            tail: log.tail_of_failure(),
            unfinished: self.unfinished(target).unwrap_or_default(),
        })
    }
}

/// The name of a package as dpkg takes it in any case.
fn qualified(name: &str, arch: &str) -> String {
    match arch {
        "all" => name.to_owned(),
        arch => format!("{name}:{arch}"),
    }
}

/// A verb of the engine that this one uses.
fn boxed(error: EngineError) -> PkgError {
    match error {
        EngineError::Named(error) => error.into(),
        EngineError::Jail(error) => error.into(),
        EngineError::JailPlan(error) => configure::ConfigureError::from(error).into(),
        EngineError::Store(error) => error.into(),
        EngineError::Build(error) => error.into(),
        EngineError::Pkg(error) => *error,
        other => PkgError::Io(crate::error::PathError {
            action: "start",
            path: Path::new("the jail").to_owned(),
            source: std::io::Error::other(other),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ASIDE, NO_STARTER, STARTERS};

    #[test]
    fn the_starter_that_stands_in_is_the_one_of_builds() {
        let [first, second] = STARTERS;
        assert!(DRIVER.contains(&format!("starters='/{first} /{second}'\n")));
        assert!(DRIVER.contains(&format!("stand_in='{}'\n", NO_STARTER.trim_end())));
        assert!(DRIVER.contains(&format!("\"$one{ASIDE}\"")));
    }

    /// The driver in a directory that plays the root, with programs that end it at their `at`th call, before they do
    /// their work or after. Whether it was ended.
    fn driven(dir: &Path, at: Option<(usize, bool)>) -> bool {
        let shown = dir.display();
        let tools = dir.join("tools");
        drop(std::fs::remove_dir_all(&tools));
        std::fs::create_dir(&tools).unwrap();
        let (number, early) = at.unwrap_or((0, false));
        for tool in ["mv", "ln", "chmod", "rm"] {
            let text = format!(
                "#!/bin/sh\necho >>{shown}/tools/calls\ncalls=$(wc -l <{shown}/tools/calls)\n\
                 if [ $calls = {number} ] && {early}; then kill -KILL $PPID; exit; fi\n\
                 /bin/{tool} \"$@\"\ncode=$?\nif [ $calls = {number} ]; then kill -KILL $PPID; fi\nexit $code\n"
            );
            std::fs::write(tools.join(tool), text).unwrap();
        }
        let dpkg = format!("#!/bin/sh\ncat {shown}/starter >{shown}/seen\n");
        std::fs::write(tools.join("dpkg"), dpkg).unwrap();
        for entry in std::fs::read_dir(&tools).unwrap() {
            let mode = Permissions::from_mode(0o755);
            std::fs::set_permissions(entry.unwrap().path(), mode).unwrap();
        }
        let driver = DRIVER
            .replace(
                "'/usr/sbin/start-stop-daemon /sbin/start-stop-daemon'",
                &format!("{shown}/starter"),
            )
            .replace("/usr/sbin", &shown.to_string());
        assert!(!driver.contains("sbin"));
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", &driver, "jaula", "pending"])
            .env("PATH", format!("{shown}/tools:/bin:/usr/bin"))
            .status()
            .unwrap();
        assert!(at.is_some() || status.success(), "{status}");
        !status.success()
    }

    const REAL: &str = "#!/bin/sh\necho the program\n";

    fn put(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    /// The driver, not ended: packages see the one that does nothing, and what is there in the end is the program alone.
    fn mends(dir: &Path, what: &str) {
        driven(dir, None);
        let seen = std::fs::read_to_string(dir.join("seen")).unwrap();
        assert_eq!(seen, NO_STARTER, "{what}");
        let starter = dir.join("starter");
        assert_eq!(std::fs::read_to_string(&starter).unwrap(), REAL, "{what}");
        let mode = std::fs::metadata(&starter).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{what}");
        let names = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["seen", "starter", "tools"], "{what}");
    }

    #[test]
    fn killed_at_any_point_the_starter_is_there_and_the_next_run_mends_the_rest() {
        let mut ended = 0;
        for number in 1.. {
            for early in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                put(&dir.path().join("starter"), REAL);
                if !driven(dir.path(), Some((number, early))) {
                    // It has fewer calls.
                    assert!(ended > 10, "{ended}");
                    return;
                }
                ended += 1;
                let what = format!("ended at {number}, early: {early}");
                // By its own name or by the other one, whole.
                let texts = ["starter", "starter.REAL"]
                    .map(|name| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default());
                assert!(
                    texts[0] == REAL || texts[0] == NO_STARTER && texts[1] == REAL,
                    "{what}: {texts:?}"
                );
                mends(dir.path(), &what);
            }
        }
    }

    #[test]
    fn what_older_ones_left_when_they_were_killed_is_mended() {
        for beside in [None, Some(""), Some(NO_STARTER)] {
            let dir = tempfile::tempdir().unwrap();
            put(&dir.path().join("starter.REAL"), REAL);
            if let Some(text) = beside {
                put(&dir.path().join("starter"), text);
            }
            put(&dir.path().join("starter.jaula"), "");
            mends(dir.path(), &format!("{beside:?}"));
        }
    }
}
