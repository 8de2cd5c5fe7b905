//! The jail's resolv.conf(5): the host's, or one of its own. It lies on the tree's, which stays as it is.

use super::{ANY, BASE, JailError, Lowering, ROOT};
use jaula_sys::SysError;
use jaula_sys::beneath::Links;
use jaula_sys::child::{Op, TreeOp};
use jaula_sys::mount::attr;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

impl Lowering<'_> {
    pub(super) fn hosts_resolver(&mut self) -> Result<(), JailError> {
        self.plain(c"etc/resolv.conf", false);
        self.first(Op::OpenTree {
            path: c"/etc/resolv.conf".into(),
            recursive: false,
            slot: ANY,
        });
        self.resolver_from_slot()
    }

    fn resolver_from_slot(&mut self) -> Result<(), JailError> {
        self.first(Op::SetAttr {
            slot: ANY,
            set: attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::RDONLY,
            recursive: false,
        });
        self.attach(ANY, ROOT, "etc/resolv.conf", Links::Refuse)
    }

    pub(super) fn resolver(&mut self, servers: &[IpAddr]) -> Result<(), JailError> {
        let failed = |error| SysError::io("pipe2", "the jail's resolv.conf", &error);
        let (reader, mut writer) = std::io::pipe().map_err(failed)?;
        for server in servers {
            writeln!(writer, "nameserver {server}").map_err(failed)?;
        }
        drop(writer);
        let text = File::from(OwnedFd::from(reader));
        self.plain(c"etc/resolv.conf", false);
        self.first(Op::Tree(TreeOp::DataFile {
            from: text.as_raw_fd(),
            dir: BASE,
            name: c"resolv",
            mode: 0o644,
        }));
        self.out.held.push(text);
        self.first(Op::OpenPart {
            dir: BASE,
            path: c"resolv",
            slot: ANY,
        });
        self.resolver_from_slot()?;
        // Reached by no other name.
        self.first(Op::Tree(TreeOp::Unlink {
            dir: BASE,
            name: c"resolv",
        }));
        Ok(())
    }
}
