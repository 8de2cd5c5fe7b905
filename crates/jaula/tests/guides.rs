//! Every command of the guides, typed as it stands there, as root and as an ordinary user, with the
//! links to the old names first in PATH. A block is what a person sees: after `# ` (root) or `$ ` (anyone) a command
//! that may go on after `> `, below it what it shows; `…` stands for anything.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod typed;
mod who;

use jaula_testkit::{Server, partial_mirror, skip};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use typed::{Block, blocks, fits};
use who::{User, Who, everyone_and_ana};

/// What the guide to content installs besides the smallest system.
const PACKAGES: &[&str] = &["nginx-light", "locales", "hello"];

/// A shell that reads what is typed, byte by byte, so that a shell it starts goes on where it stopped. Root's has a host
/// name and mounts of its own, so that a command that does not do what it should does it to nobody; and the network of a
/// guide to networks.
fn shell(user: &User, network: Option<&Network>) -> Command {
    let mut shell = match (user.who, network) {
        (Who::Root, Some(network)) => {
            let net = format!("--net=/proc/{}/ns/net", network.0.id());
            let words = [net.as_str(), "/usr/bin/unshare", "--uts", "--mount", "bash"];
            user.other("/usr/bin/nsenter", &words)
        }
        (Who::Root, None) => user.other("/usr/bin/unshare", &["--uts", "--mount", "bash"]),
        (Who::Caller | Who::Ana, _) => user.other("bash", &[]),
    };
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    shell.stderr(Stdio::piped());
    shell
}

/// A mirror of Debian's that stands for the reader's.
struct Mirror {
    server: Server,
    /// Instead of the host's `/etc/apt/sources.list.d`.
    sources: tempfile::TempDir,
}

impl Mirror {
    fn start() -> Result<Self, String> {
        let dir = partial_mirror(PACKAGES).map_err(|error| format!("no mirror: {error:#}"))?;
        let server = Server::start(&dir).map_err(|error| format!("no server: {error:#}"))?;
        let sources = tempfile::tempdir().expect("a directory");
        let keyring = dir.join("keyring.gpg");
        let line = format!(
            "deb [signed-by={}] {} bookworm main\n",
            keyring.display(),
            server.url()
        );
        std::fs::write(sources.path().join("debian.list"), line).expect("a file");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(sources.path(), open).expect("a directory of ours");
        Ok(Self { server, sources })
    }
}

/// A network that all blocks of a guide share and that is nobody else's, as long as this process lives.
struct Network(std::process::Child);

impl Network {
    fn start() -> Self {
        let words = [
            "--net",
            "sh",
            "-c",
            "ip link set lo up && echo up && exec sleep infinity",
        ];
        let mut child = Command::new("/usr/bin/unshare")
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut said = [0; 3];
        let out = child.stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(out, &mut said).expect("a network");
        Self(child)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn run(
    user: &User,
    guide: &str,
    block: &Block,
    mirror: Option<&Mirror>,
    network: Option<&Network>,
) {
    let bin = user.place.path().join("bin");
    let mut shell = shell(user, network);
    let mut script = format!(
        "exec 2>&1\nexport PATH={}:$PATH\nexport SHELL=/bin/bash\n",
        bin.display(),
    );
    if let Some(mirror) = mirror {
        let sources = mirror.sources.path();
        script.push_str(&format!("export mirror={}\n", mirror.server.url()));
        match user.who {
            Who::Root => script.push_str(&format!(
                "mount --bind {} /etc/apt/sources.list.d\n",
                sources.display()
            )),
            Who::Caller | Who::Ana => drop(shell.env("JAULA_TEST_APT", sources)),
        }
    }
    script.push_str(&block.script);
    let mut child = shell.spawn().expect("bash");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(script.as_bytes()).expect("typed");
    drop(input);
    let output = child.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        fits(&text, &block.shown),
        "{guide}:{} as {:?}\n--- typed\n{}--- to be shown\n{}--- shown\n{text}{}",
        block.line,
        user.who,
        block.script,
        block.shown,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// A place with the program and its links in `bin`.
fn prepare(user: &User) -> bool {
    let bin = user.place.path().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    let program = std::env::var_os("JAULA_TEST_PROGRAM");
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_jaula").into());
    std::fs::copy(program, bin.join("jaula")).expect("a copy of the program");
    let link = |name: &str| std::os::unix::fs::symlink("jaula", bin.join(name)).expect("a link");
    [
        "unshare",
        "nsenter",
        "lsns",
        "chroot",
        "bwrap",
        "brctl",
        "debootstrap",
        "multistrap",
        "jk_init",
        "jk_cp",
        "jk_chrootlaunch",
    ]
    .into_iter()
    .for_each(link);
    ["bash", "genisoimage"].iter().all(|tool| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .stdout(Stdio::null())
            .status();
        found.is_ok_and(|status| status.success())
    })
}

/// The top of the source tree.
fn top() -> PathBuf {
    let workspace = std::env::var_os("INSTA_WORKSPACE_ROOT");
    workspace.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        Into::into,
    )
}

/// What a guide needs besides the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Packages,
    Network,
}

fn guide(path: &str, needs: Needs) {
    let packages = needs == Needs::Packages;
    let text = std::fs::read_to_string(top().join(path)).expect(path);
    let blocks = blocks(&text);
    assert!(blocks.len() > 1, "{path} has {} blocks", blocks.len());
    let mirror = match packages.then(Mirror::start).transpose() {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone_and_ana(|user| {
        if !prepare(user) {
            skip!("there is no bash or no genisoimage");
        }
        if packages && (user.who == Who::Caller || Path::new("/etc/apt/sources.list").exists()) {
            skip!("the mirror of the tests cannot stand for that of this host");
        }
        let network = (needs == Needs::Network && user.who == Who::Root).then(Network::start);
        for block in &blocks {
            if user.who == Who::Root || !block.root {
                run(user, path, block, mirror.as_ref(), network.as_ref());
            }
        }
    });
}

#[test]
fn the_guide_to_isolation_shows_what_happens() {
    guide("docs/guide/isolation.md", Needs::Nothing);
}

#[test]
fn the_guide_to_content_shows_what_happens() {
    guide("docs/guide/content.md", Needs::Packages);
}

#[test]
fn the_guide_to_networks_shows_what_happens() {
    guide("docs/guide/networks.md", Needs::Network);
}

#[test]
fn the_guide_to_minimal_jails_shows_what_happens() {
    guide("docs/guide/minimal-jails.md", Needs::Nothing);
}

#[test]
fn the_guide_to_services_shows_what_happens() {
    for program in ["/usr/sbin/nginx", "/usr/bin/curl", "/bin/busybox"] {
        if !Path::new(program).exists() {
            skip!("no {program}");
        }
    }
    guide("docs/guide/services.md", Needs::Network);
}

#[test]
fn what_is_shown_is_matched_whole() {
    assert!(fits("a\n", "a\n"));
    assert!(!fits("a\nb\n", "a\n"));
    assert!(fits("pid 42 of 43\n", "pid … of …\n"));
    assert!(!fits("pid 42 of 43\nmore\n", "pid … of 43\n"));
    assert!(fits("one\ntwo\nthree\n", "one\n…three\n"));
    assert!(!fits("", "x\n"));
}

#[test]
fn both_languages_type_and_show_the_same() {
    let read = |path: &str| std::fs::read_to_string(top().join(path)).expect(path);
    let typed = |text: &str| {
        blocks(text)
            .into_iter()
            .map(|block| (block.root, block.script, block.shown))
            .collect::<Vec<_>>()
    };
    // So that one run does for both.
    for (english, spanish) in [
        ("docs/guide/isolation.md", "docs/guia/aislamiento.md"),
        ("docs/guide/content.md", "docs/guia/contenido.md"),
        ("docs/guide/networks.md", "docs/guia/redes.md"),
        ("docs/guide/users.md", "docs/guia/usuarios.md"),
        ("docs/guide/minimal-jails.md", "docs/guia/jaulas-minimas.md"),
        ("docs/guide/services.md", "docs/guia/servicios.md"),
    ] {
        assert_eq!(typed(&read(english)), typed(&read(spanish)));
    }
}
