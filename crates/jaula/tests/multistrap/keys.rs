//! What single keys of a configuration file do to a tree, each with a system that is made in a blink.

use super::multistrap;
use crate::who::{User, Who, everyone};
use jaula_testkit::{Compression, DebBuilder, Repo, RepoBuilder, TestKey, skip, small};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The small system, a second suite with newer packages, and configuration files in a user's place.
struct Small<'a> {
    user: &'a User,
    main: Repo,
    newer: Repo,
}

impl<'a> Small<'a> {
    fn of(user: &'a User, system: RepoBuilder) -> Self {
        let key = TestKey::sound("small").expect("a key");
        let write = |name: &str, repo: RepoBuilder| {
            let place = user.place.work().join(name);
            fs::create_dir(&place).expect("a directory");
            repo.write(&place, &key).expect("a repository")
        };
        let newer = RepoBuilder::new("newer")
            .also_arch("i386")
            .package(small::package("tool", "2.0", &[]).expect("a package"))
            .package(small::package("novel", "1.0", &[]).expect("a package"));
        Self {
            main: write("main", system),
            newer: write("other", newer),
            user,
        }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.user.place.work().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path.display().to_string()
    }

    /// Makes a tree of both suites, with more lines for `[General]`.
    #[track_caller]
    fn make(&self, name: &str, general: &str, packages: &str) -> Vec<String> {
        let section = |name: &str, repo: &Repo, packages: &str| {
            format!(
                "[{name}]\npackages={packages}\nsource={}\nsuite={}\nkeyring={}\nomitdebsrc=true\n",
                repo.url(),
                repo.suite,
                repo.keyring.display()
            )
        };
        let text = format!(
            "[General]\narch=amd64\n{}aptsources=Main\n{general}\n{}{}",
            if general.contains("bootstrap=") {
                ""
            } else {
                "bootstrap=Main Newer\n"
            },
            section("Main", &self.main, packages),
            section("Newer", &self.newer, "")
        );
        let conf = self.write(&format!("{name}.conf"), &text);
        multistrap(self.user, &["-f", &conf, "-d", name]).expect(0);
        let status = self.read(name, "var/lib/dpkg/status");
        let field = |stanza: &str, field: &str| {
            let mut lines = stanza.lines();
            let found = lines.find_map(|line| line.strip_prefix(field));
            found.unwrap_or_default().to_owned()
        };
        let mut names: Vec<String> = status
            .split("\n\n")
            .filter(|stanza| !stanza.trim().is_empty())
            .map(|stanza| {
                format!(
                    "{} {}",
                    field(stanza, "Package: "),
                    field(stanza, "Version: ")
                )
            })
            .collect();
        names.sort();
        names
    }

    fn read(&self, tree: &str, path: &str) -> String {
        let path = self.user.place.work().join(tree).join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn has(&self, tree: &str, path: &str) -> bool {
        self.user.place.work().join(tree).join(path).exists()
    }
}

fn has(list: &[String], name: &str) -> bool {
    list.iter().any(|line| line == name)
}

/// The system, or the reason to skip.
fn system() -> Result<RepoBuilder, String> {
    small::system("main").map_err(|error| format!("{error:#}"))
}

#[test]
fn priorities_recommends_and_suites_are_chosen_by_their_keys() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        // What is required, and the newest of what is named.
        let plain = small.make("plain", "", "tool");
        assert!(
            has(&plain, "login 1.0") && has(&plain, "tool 2.0"),
            "{plain:?}"
        );
        assert!(
            !has(&plain, "cron 1.0") && !has(&plain, "tool-doc 1.0"),
            "{plain:?}"
        );
        let more = small.make(
            "more",
            "addimportant=true\nallowrecommends=true\nexplicitsuite=true",
            "tool",
        );
        for name in ["cron 1.0", "libcron 1.0", "tool 1.0", "tool-doc 1.0"] {
            assert!(has(&more, name), "{name}: {more:?}");
        }
        let only = "omitrequired=true\nignorenativearch=true";
        assert_eq!(small.make("only", only, "tool"), ["tool 2.0"]);
        let release = format!("{only}\naptdefaultrelease=main");
        assert_eq!(small.make("release", &release, "tool"), ["tool 1.0"]);
    });
}

#[test]
fn a_file_that_includes_another_and_what_is_left_in_the_tree() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let script = small.write("config.sh", "#!/bin/sh\ntouch /ran\n");
        let parent =
            "[General]\nmarkauto=true\ncleanup=true\naddimportant=false\n[Main]\npackages=tool\n";
        let parent = small.write("parent.conf", parent);
        let general = format!("include={parent}\naddimportant=true\nconfigscript={script}");
        let made = small.make("tree", &general, "novel");
        for name in ["cron 1.0", "novel 1.0"] {
            assert!(has(&made, name), "{name}: {made:?}");
        }
        // The nearer file's packages are the section's.
        assert!(
            !made.iter().any(|line| line.starts_with("tool ")),
            "{made:?}"
        );
        // What nobody asked for goes when nothing needs it any more.
        let states = small.read("tree", "var/lib/apt/extended_states");
        let auto = "Package: libcron\nArchitecture: amd64\nAuto-Installed: 1\n";
        assert!(
            states.contains(auto) && !states.contains("Package: cron\n"),
            "{states}"
        );
        small.make("unmarked", "addimportant=true", "novel");
        assert_eq!(small.read("unmarked", "var/lib/apt/extended_states"), "");
        // The script is there, can be run, and was not.
        assert_eq!(small.read("tree", "config.sh"), "#!/bin/sh\ntouch /ran\n");
        let mode = fs::metadata(user.place.work().join("tree/config.sh")).expect("a script");
        assert!(mode.permissions().mode() & 0o111 != 0 && !small.has("tree", "ran"));
        // Nothing of the packages' way there is left.
        for dir in [
            "var/lib/apt/lists",
            "var/cache/apt",
            "var/cache/apt/archives",
        ] {
            let entries = fs::read_dir(user.place.work().join("tree").join(dir));
            let names: Vec<_> = entries
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            // Places and locks of apt's.
            let places = ["partial", "archives", "auxfiles", "lock"];
            let left = names
                .iter()
                .filter(|name| !places.iter().any(|place| name == place));
            assert_eq!(left.count(), 0, "{dir}: {names:?}");
        }
    });
}

#[test]
fn debconf_has_its_answers_before_packages_ask() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    let debconf = DebBuilder::new("debconf", "1.0")
        .field("Priority", "required")
        .compression(Compression::Gzip)
        .file(
            "usr/bin/debconf-set-selections",
            "#!/bin/sh\ncat \"$@\" >>/var/answers\n",
            0o755,
        );
    let asking = DebBuilder::new("asking", "1.0")
        .compression(Compression::Gzip)
        .script(
            "postinst",
            "#!/bin/sh\ngrep '^asking asking/what' /var/answers >/var/answered\n",
        );
    let system = system
        .package(debconf.build().expect("a package"))
        .package(asking.build().expect("a package"));
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let one = small.write("one.seed", "asking asking/what string this\n");
        let two = small.write("two.seed", "other other/what string that\n");
        let general = format!("debconfseed={one} {two}");
        small.make("tree", &general, "asking");
        assert_eq!(
            small.read("tree", "var/answered"),
            "asking asking/what string this\n"
        );
        assert!(
            small
                .read("tree", "var/answers")
                .contains("other other/what string that\n")
        );
        // And they are there for who configures the tree elsewhere.
        small.make(
            "later",
            &format!("{general}\nignorenativearch=true"),
            "asking",
        );
        for tree in ["tree", "later"] {
            let seed = small.read(tree, "tmp/preseeds/one.seed");
            assert_eq!(seed, "asking asking/what string this\n", "{tree}");
        }
        assert!(!small.has("later", "var/answers"));
    });
}

#[test]
fn packages_of_two_architectures_are_in_one_tree() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    let narrow = DebBuilder::new("narrow", "1.0")
        .arch("i386")
        .compression(Compression::Gzip)
        .file("usr/lib/narrow", "32", 0o644);
    let system = system
        .also_arch("i386")
        .package(narrow.build().expect("a package"));
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let general =
            "multiarch=amd64 i386\nomitrequired=true\nignorenativearch=true\nbootstrap=Main";
        let made = small.make("tree", general, "tool narrow:i386");
        assert!(
            has(&made, "narrow 1.0") && has(&made, "tool 1.0"),
            "{made:?}"
        );
        assert_eq!(small.read("tree", "usr/lib/narrow"), "32");
        assert_eq!(small.read("tree", "var/lib/dpkg/arch"), "amd64\ni386\n");
    });
}

/// Root alone can give the host other sources, where nobody else sees it.
#[test]
fn keys_come_out_of_a_package_of_the_hosts_own_sources() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        if user.who != Who::Root {
            return;
        }
        let work = user.place.work();
        let key = TestKey::sound("host").expect("a key");
        let guarded = TestKey::sound("guarded").expect("a key");
        let bring = DebBuilder::new("guarded-keys", "1.0")
            .arch("all")
            .compression(Compression::Gzip)
            .file(
                "usr/share/keyrings/guarded.gpg",
                guarded.keyring().expect("a keyring"),
                0o644,
            );
        let host = work.join("host");
        fs::create_dir_all(host.join("etc/apt/sources.list.d")).expect("a directory");
        let bring = bring.build().expect("a package");
        let of_host = RepoBuilder::new("bookworm")
            .package(bring.clone())
            .write(&host, &key)
            .expect("a repository");
        let list = format!(
            "deb [signed-by={}] {} bookworm main\n",
            of_host.keyring.display(),
            of_host.url()
        );
        fs::write(host.join("etc/apt/sources.list.d/own.list"), list).expect("a file");
        let place = work.join("guarded");
        fs::create_dir(&place).expect("a directory");
        // The package is installed, too.
        let repo = system
            .clone()
            .package(bring)
            .write(&place, &guarded)
            .expect("a repository");
        let conf = work.join("g.conf");
        let text = format!(
            "[General]\narch=amd64\nomitrequired=true\nignorenativearch=true\nbootstrap=Main\naptsources=Main\n\
             [Main]\npackages=tool\nsource={}\nsuite=main\nkeyring=guarded-keys\n",
            repo.url()
        );
        fs::write(&conf, text).expect("a file");
        let make = |packages: &Path| {
            let script = format!(
                "mount --bind {}/etc/apt /etc/apt && exec {} compat multistrap -f {} -d tree",
                packages.display(),
                env!("CARGO_BIN_EXE_jaula"),
                conf.display()
            );
            let words = ["--mount", "--propagation=private", "sh", "-c", &script];
            let output = user.other("unshare", &words).output().expect("a shell");
            let text = [output.stdout, output.stderr].concat();
            (
                output.status.code(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        };
        let (code, said) = make(&host);
        assert!(
            code == Some(0) && said.contains("I: Downloading guarded-keys\n"),
            "{said}"
        );
        for path in ["usr/share/tool/version", "usr/share/keyrings/guarded.gpg"] {
            assert!(work.join("tree").join(path).is_file(), "{path}");
        }
        // Nobody has such a package: apt's own code.
        let text = fs::read_to_string(&conf).expect("the file");
        fs::write(&conf, text.replace("guarded-keys", "no-such-keys")).expect("a file");
        let (code, said) = make(&host);
        let says = "Unable to download keyring package: 'no-such-keys'";
        assert!(code == Some(100) && said.contains(says), "{code:?} {said}");
    });
}
