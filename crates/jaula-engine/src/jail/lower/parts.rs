//! The parts of a jail that every one has: `/dev`, standard input and output, the program.

use super::{ANY, BASE, DEV, JailError, Lowering, PTY, ROOT, Stdio, text};
use jaula_plan::setup_op::StdioPlan;
use jaula_sys::beneath::Links;
use jaula_sys::child::{Op, Source};
use jaula_sys::mount::attr;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Lowering<'_> {
    pub(super) fn dev(&mut self, at: &Path, tty_group: bool) -> Result<(), JailError> {
        let attrs = attr::NOSUID | attr::NODEV | attr::NOEXEC;
        if self.devs == 0 {
            // A part of the memory that is there already: a file system of its own would cost its making and its end.
            let name = text("d")?;
            self.first(Op::MakeDir {
                dir: BASE,
                name,
                mode: 0o755,
            });
            self.first(Op::OpenPart {
                dir: BASE,
                path: c"d",
                slot: DEV,
            });
            self.first(Op::SetAttr {
                slot: DEV,
                set: attrs,
                recursive: false,
            });
        } else {
            self.new_fs(c"tmpfs", &[("mode", Some("0755"))], attrs, DEV)?;
        }
        self.devs += 1;
        if at == Path::new("/dev") {
            self.plain(c"dev", true);
            self.attach(DEV, ROOT, "dev", Links::Refuse)?;
        } else {
            self.put(DEV, at)?;
        }
        self.first(Op::Chdir(DEV));
        for (name, host) in [
            (c"null", c"/dev/null"),
            (c"zero", c"/dev/zero"),
            (c"full", c"/dev/full"),
            (c"random", c"/dev/random"),
            (c"urandom", c"/dev/urandom"),
            (c"tty", c"/dev/tty"),
        ] {
            self.first(Op::MakeFile { dir: DEV, name });
            self.first(Op::Bind {
                from: host.into(),
                to: name.into(),
            });
        }
        for (name, mode) in [("pts", 0o755), ("shm", 0o1777)] {
            let name = text(name)?;
            self.first(Op::MakeDir {
                dir: DEV,
                name,
                mode,
            });
        }
        for (name, to) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            let (path, to) = (text(name)?, text(to)?);
            self.first(Op::Symlink {
                dir: DEV,
                path,
                to,
                same: false,
            });
        }
        self.terminals(tty_group)?;
        if self.devs > 1 {
            return Ok(());
        }
        if matches!(self.stdio, Stdio::Pty) {
            self.first(Op::Pty {
                dev: DEV,
                slot: PTY,
            });
            self.first(Op::MakeFile {
                dir: DEV,
                name: c"console",
            });
            // The first terminal of a new devpts is the one just opened.
            self.first(Op::Bind {
                from: c"pts/0".into(),
                to: c"console".into(),
            });
        }
        Ok(())
    }

    fn terminals(&mut self, tty_group: bool) -> Result<(), JailError> {
        let mut list = vec![
            ("newinstance", None),
            ("ptmxmode", Some("0666")),
            ("mode", Some("0620")),
        ];
        if tty_group {
            list.push(("gid", Some("5")));
        }
        self.new_fs(c"devpts", &list, attr::NOSUID | attr::NOEXEC, ANY)?;
        self.attach(ANY, DEV, "pts", Links::Refuse)?;
        Ok(())
    }

    /// A terminal for the program where the tree has no `/dev`: reached by no path.
    pub(super) fn hidden_terminal(&mut self) -> Result<(), JailError> {
        if !matches!(self.stdio, Stdio::Pty) {
            return Ok(());
        }
        for name in ["d", "d/pts"] {
            self.first(Op::MakeDir {
                dir: BASE,
                name: text(name)?,
                mode: 0o755,
            });
        }
        self.first(Op::OpenPart {
            dir: BASE,
            path: c"d",
            slot: DEV,
        });
        self.attach(DEV, BASE, "d", Links::Refuse)?;
        self.terminals(false)?;
        self.first(Op::Pty {
            dev: DEV,
            slot: PTY,
        });
        Ok(())
    }

    pub(super) fn stdio(&mut self, _plan: StdioPlan) {
        self.last(Op::NewSession);
        match self.stdio {
            Stdio::Raw(fds) => self.last(Op::Stdio(fds.map(Source::Raw))),
            Stdio::Pty => {
                self.last(Op::Terminal(PTY));
                self.last(Op::Stdio([Source::Slot(PTY); 3]));
            }
        }
    }

    pub(super) fn exec(
        &mut self,
        command: &[OsString],
        env: &[(OsString, OsString)],
    ) -> Result<(), JailError> {
        let program = command.first().cloned().unwrap_or_default();
        self.out.args = command.iter().map(text).collect::<Result<_, _>>()?;
        let pair = |(name, value): &(OsString, OsString)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            text(pair)
        };
        self.out.env = env.iter().map(pair).collect::<Result<_, _>>()?;
        // The jail's own PATH, not the caller's.
        self.out.paths = if program.as_bytes().contains(&b'/') {
            vec![text(&program)?]
        } else {
            let path = env
                .iter()
                .find(|(name, _)| name == "PATH")
                .map(|(_, value)| value.as_bytes());
            let dirs = path
                .unwrap_or(b"/usr/local/bin:/usr/bin:/bin")
                .split(|b| *b == b':');
            let join = |dir: &[u8]| text(Path::new(OsStr::from_bytes(dir)).join(&program));
            dirs.filter(|dir| dir.first() == Some(&b'/'))
                .map(join)
                .collect::<Result<_, _>>()?
        };
        self.out.program = program;
        Ok(())
    }
}
