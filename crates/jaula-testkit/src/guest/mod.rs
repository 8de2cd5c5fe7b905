//! A machine with a kernel of its own, for what a test cannot do on the host: load a module, register an interpreter,
//! need a feature that the host's kernel lacks.
//!
//! QEMU emulates it, so no right is needed and nothing of the host is touched. The kernel is Debian's own small one,
//! fetched once with the host's APT and never installed. There is no distribution inside: the root is a list of files
//! that the test names, and busybox. A start takes about three seconds of one CPU.
//!
//! ```ignore
//! let mut guest = match Guest::new() {
//!     Ok(guest) => guest,
//!     Err(reason) => skip!("{reason}"),
//! };
//! guest.modules(&["bonding", "dummy"]).unwrap();
//! guest.program("/usr/sbin/ip").unwrap();
//! let ran = guest.run("ip link add bond0 type bond && ip -o link show bond0", Duration::from_secs(60)).unwrap();
//! assert_eq!(ran.code, Some(0), "{ran}");
//! ```

mod archive;
mod kernel;

use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use archive::Archive;
use kernel::Kernel;

/// The emulator. With the host's own virtualisation it would be faster, where that is there and works.
const EMULATOR: &str = "qemu-system-x86_64";
/// The shell and the small programs of the guest.
const BUSYBOX: &str = "/usr/bin/busybox";
/// What the last line of a run that came to its end starts with.
const VERDICT: &str = "jaula-guest: exit ";
/// How often it is looked whether the guest has ended.
const POLL: Duration = Duration::from_millis(20);

/// The first process: a root that can be pivoted away from (the one a kernel starts with cannot), the usual file
/// systems (state is in memory that can do what any file system can, unlike the first root), the modules, the test's script on the second serial line, and the end.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS1 2>&1 </dev/null
/bin/busybox mount -o bind / /new
cd /new
/bin/busybox mount -o move . /
exec /bin/busybox chroot . /bin/busybox sh /guest/start
"#;
const START: &str = r#"
cd /
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm && mount -t devpts pts /dev/pts
mount -t tmpfs tmp /dev/shm
mount -t tmpfs -o mode=755 tmp /run
mount -t tmpfs -o mode=755 tmp /var/lib
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
for module in $(cat /guest/modules); do insmod /guest/$module.ko || exit 1; done
sh /guest/script
echo "jaula-guest: exit $?"
reboot -f
"#;

/// A machine that has not been started yet.
#[derive(Debug)]
pub struct Guest {
    kernel: Kernel,
    files: Archive,
    loaded: Vec<String>,
    memory: u32,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRan {
    /// The script's exit code; none when it did not come to its end.
    pub code: Option<u8>,
    /// What it wrote, to both streams, with plain line ends.
    pub output: String,
    /// What the kernel said.
    pub console: String,
}

impl fmt::Display for GuestRan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            output,
            console,
        } = self;
        write!(
            out,
            "exit {code:?}\n--- output\n{output}--- console\n{console}"
        )
    }
}

impl Guest {
    /// A machine with busybox and nothing else.
    ///
    /// # Errors
    /// The reason to skip: no emulator, no busybox, or no kernel and none to be had.
    pub fn new() -> Result<Self, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("guests are x86_64 machines".to_owned());
        }
        if Command::new(EMULATOR).arg("--version").output().is_err() {
            return Err(format!("there is no {EMULATOR}"));
        }
        let busybox = fs::read(BUSYBOX).map_err(|error| format!("{BUSYBOX}: {error}"))?;
        let kernel = Kernel::find().map_err(|error| format!("no kernel for a guest: {error:#}"))?;
        let mut files = Archive::default();
        let dirs = [
            "dev", "proc", "sys", "new", "run", "root", "etc", "var/lib", "usr/bin", "usr/sbin",
        ];
        for dir in dirs {
            files.dir(dir, 0o755);
        }
        files.dir("tmp", 0o1777);
        files.file("bin/busybox", 0o755, busybox);
        files.file("init", 0o755, INIT.into());
        files.file("guest/start", 0o644, START.into());
        files.file("etc/passwd", 0o644, PASSWD.into());
        files.file("etc/group", 0o644, GROUP.into());
        Ok(Self {
            kernel,
            files,
            loaded: Vec::new(),
            memory: 512,
        })
    }

    /// The kernel's release, as `uname -r` prints it inside.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.kernel.release
    }

    /// Mebibytes of memory; 512 without this.
    pub fn memory(&mut self, mebibytes: u32) {
        self.memory = mebibytes;
    }

    /// Modules of the kernel that are loaded before the script starts, in this order, each after those that it needs.
    ///
    /// # Errors
    /// When the kernel's package has none of that name.
    pub fn modules(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            self.module(name)?;
        }
        Ok(())
    }

    fn module(&mut self, name: &str) -> Result<()> {
        let name = name.replace('-', "_");
        if self.loaded.contains(&name) {
            return Ok(());
        }
        // One that is built in has no file, and nothing has to be done for it.
        let Some(module) = self.kernel.module(&name)? else {
            bail!("Linux {} has no module {name}", self.kernel.release);
        };
        for needed in &module.needs {
            self.module(needed)?;
        }
        self.files
            .file(&format!("guest/{name}.ko"), 0o644, module.bytes);
        self.loaded.push(name);
        Ok(())
    }

    /// A file of the guest.
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.files
            .file(path.trim_start_matches('/'), mode, content.into());
    }

    /// A program of the host at the same place in the guest, with the libraries it is linked with.
    ///
    /// # Errors
    /// When it cannot be read, or a library cannot be found.
    pub fn program(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let listed = Command::new("ldd").arg(path).output().context("ldd")?;
        // A static program has none, and ldd says so with an error.
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        ensure!(
            !text.contains("not found"),
            "{shown} lacks libraries:\n{text}"
        );
        let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.map(PathBuf::from).chain([path.to_owned()]) {
            let inside = file.display().to_string();
            let bytes = fs::read(&file).with_context(|| inside.clone())?;
            self.file(&inside, 0o755, bytes);
        }
        Ok(())
    }

    /// A program that was built here, at a place in the guest, without what only a debugger reads.
    ///
    /// # Errors
    /// When `strip` (binutils) fails.
    pub fn built(&mut self, host: impl AsRef<Path>, inside: &str) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let small = dir.path().join("program");
        let done = Command::new("strip")
            .arg("-o")
            .args([&small, host.as_ref()])
            .status();
        ensure!(
            done.context("strip")?.success(),
            "strip {}",
            host.as_ref().display()
        );
        self.file(inside, 0o755, fs::read(&small)?);
        Ok(())
    }

    /// Starts it, runs a shell script as root, and ends it.
    ///
    /// # Errors
    /// When the emulator cannot be started, or is not done in time: then it is ended.
    pub fn run(&self, script: &str, timeout: Duration) -> Result<GuestRan> {
        let dir = tempfile::Builder::new().prefix("jaula-guest-").tempdir()?;
        let place = |name: &str| dir.path().join(name);
        let mut files = self.files.clone();
        files.file("guest/modules", 0o644, self.loaded.join("\n").into());
        files.file("guest/script", 0o644, script.into());
        fs::write(place("initrd"), files.bytes())?;
        let serial = |name: &str| format!("file:{}", place(name).display());
        let child = Command::new(EMULATOR)
            .args(["-machine", "pc,accel=tcg", "-m", &self.memory.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-no-reboot", "-serial", &serial("console")])
            .args(["-serial", &serial("output")])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(place("initrd"))
            .args(["-append", "console=ttyS0 quiet panic=-1 nokaslr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(EMULATOR)?;
        let mut running = Running(child);
        let started = Instant::now();
        let ended = loop {
            if let Some(status) = running.0.try_wait()? {
                break Some(status);
            }
            if started.elapsed() > timeout {
                break None;
            }
            // The emulator says nothing when it ends, and waiting for it cannot be given a limit.
            std::thread::sleep(POLL);
        };
        drop(running);
        let text = |name: &str| -> Result<String> {
            let bytes = fs::read(place(name)).unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
        };
        let (mut output, console) = (text("output")?, text("console")?);
        ensure!(
            ended.is_some(),
            "the guest was not done after {timeout:?}:\n{output}\n{console}"
        );
        let code = output.rfind(VERDICT).and_then(|at| {
            let code = output.get(at + VERDICT.len()..)?.trim().parse().ok()?;
            output.truncate(at);
            Some(code)
        });
        Ok(GuestRan {
            code,
            output,
            console,
        })
    }
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000:Ana:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\nana:x:1000:\n";

/// An emulator that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::Guest;
    use std::time::Duration;

    #[test]
    fn a_guest_has_its_own_kernel_and_its_modules_and_says_how_it_went() {
        let mut guest = match Guest::new() {
            Ok(guest) => guest,
            Err(reason) => crate::skip!("{reason}"),
        };
        guest
            .modules(&["bonding", "dummy"])
            .expect("modules of Debian's kernel");
        guest.file("/etc/said", 0o644, "said\n");
        let script = "uname -r; cat /etc/said; grep -c '^bonding ' /proc/modules; ip link add bond7 type bond \
                      && ls -d /sys/class/net/bond7; exit 7";
        let ran = guest
            .run(script, Duration::from_secs(120))
            .expect("an emulator");
        let release = guest.release();
        let expected = format!("{release}\nsaid\n1\n/sys/class/net/bond7\n");
        assert_eq!(
            (ran.code, ran.output.as_str()),
            (Some(7), expected.as_str()),
            "{ran}"
        );
    }

    #[test]
    fn a_guest_that_does_not_end_is_ended() {
        let guest = match Guest::new() {
            Ok(guest) => guest,
            Err(reason) => crate::skip!("{reason}"),
        };
        let error = guest.run("sleep 1000", Duration::from_millis(300));
        let error = error.expect_err("it was not done").to_string();
        assert!(error.contains("was not done after 300ms"), "{error}");
    }
}
