//! Who runs the program in a test: root, and an ordinary user with subordinate ids.
#![allow(dead_code, reason = "no test uses all of it")]

use jaula_testkit::{Hermetic, hermetic};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Root of the host.
    Root,
    /// The user of this test run, who is not root.
    Caller,
    /// A user `ana`, who exists only in a mount namespace with its own passwd(5) and subuid(5); root plays her.
    Ana,
}

/// A user with a place of his own.
pub struct User {
    /// Who.
    pub who: Who,
    /// Where his program runs.
    pub place: Hermetic,
    _tools: Option<TempDir>,
}

impl User {
    /// Another program than jaula, in the same place and as the same user.
    pub fn other(&self, program: &str, words: &[&str]) -> Command {
        if self.who == Who::Ana {
            let mut command = self.place.command(words);
            command.env("JAULA_TEST_INSTEAD", program);
            return command;
        }
        let model = self.place.command::<&str>(&[]);
        let mut command = Command::new(program);
        command.args(words).env_clear().stdin(Stdio::null());
        command.current_dir(self.place.work());
        let set = model
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        command.envs(set);
        command
    }
}

/// Copies a program by another one: a process that another thread starts meanwhile would hold a file open that this one
/// writes, and such a file cannot be executed (ETXTBSY).
fn install(from: &Path, to: &Path) {
    let mut command = Command::new("install");
    let done = command.args(["-m", "755"]).args([from, to]).status();
    assert!(done.expect("install(1)").success(), "{}", to.display());
}

/// Ana's identifier.
const ANA: u32 = 4242;

/// Set where an ordinary user runs the same tests afterwards.
const USER_FOLLOWS: &str = "JAULA_TEST_USER_FOLLOWS";

/// Runs the test for each user there can be; for ana only where no real user follows root.
pub fn everyone(test: impl FnMut(&User)) {
    each(std::env::var_os(USER_FOLLOWS).is_none(), test);
}

/// The same, and for ana in any case: for what a real user of this host may lack.
pub fn everyone_and_ana(test: impl FnMut(&User)) {
    each(true, test);
}

fn each(play_ana: bool, mut test: impl FnMut(&User)) {
    let root = fs::metadata("/proc/self").expect("our own process").uid() == 0;
    if !root {
        test(&User {
            who: Who::Caller,
            place: hermetic!(),
            _tools: None,
        });
        return;
    }
    test(&User {
        who: Who::Root,
        place: hermetic!(),
        _tools: None,
    });
    if play_ana {
        test(&ana());
    }
}

fn ana() -> User {
    let tools = tempfile::Builder::new()
        .prefix("jaula-ana-")
        .tempdir()
        .expect("a directory");
    let dir = tools.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("a directory of ours");
    install(Path::new(env!("CARGO_BIN_EXE_jaula")), &dir.join("jaula"));
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
    let own = |name: &str| fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
    write(
        "passwd",
        &format!("{}ana:x:{ANA}:{ANA}::/:/bin/sh\n", own("passwd")),
    );
    write("group", &format!("{}ana:x:{ANA}:\n", own("group")));
    write("subuid", "ana:2000000:65536\n");
    write("subgid", "ana:2000000:65536\n");
    // The outer half makes the namespace, the inner one fills it and becomes ana. All that the host sees of her is
    // the owner of her own files.
    write(
        "inside",
        &format!(
            "#!/bin/sh\nset -e\nfor name in passwd group subuid subgid; do\n  [ -e /etc/$name ] || {{ echo \"no /etc/$name\" >&2; exit 125; }}\n  \
             mount --bind {dir}/$name /etc/$name\ndone\n\
             if [ \"$JAULA_TEST_FUSE\" ] && [ -c /dev/fuse ]; then\n  [ -e {dir}/fuse ] || mknod -m 666 {dir}/fuse c 10 229\n  \
             mount --bind {dir}/fuse /dev/fuse\nfi\n\
             if [ \"$JAULA_TEST_APT\" ]; then mount --bind \"$JAULA_TEST_APT\" /etc/apt/sources.list.d; fi\nhere=${{JAULA_STORE%/store}}\n\
             [ \"$(stat -c %u \"$here\")\" = {ANA} ] || chown -R {ANA}:{ANA} \"$here\"\n\
             exec setpriv --reuid {ANA} --regid {ANA} --clear-groups ${{JAULA_TEST_INSTEAD:-{dir}/jaula}} \"$@\"\n",
            dir = dir.display()
        ),
    );
    write(
        "ana",
        &format!(
            "#!/bin/sh\nexec unshare --mount --propagation private {}/inside \"$@\"\n",
            dir.display()
        ),
    );
    for name in ["inside", "ana"] {
        let (path, new) = (dir.join(name), dir.join(format!("{name}.sh")));
        fs::rename(&path, &new).expect("a file of ours");
        install(&new, &path);
    }
    User {
        who: Who::Ana,
        place: Hermetic::new(dir.join("ana")),
        _tools: Some(tools),
    }
}
