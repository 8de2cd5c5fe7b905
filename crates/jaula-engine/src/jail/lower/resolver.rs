//! The jail's resolv.conf(5) and hosts(5): the host's, or its own. They lie on the tree's, which stay as they are.

use super::{ANY, BASE, JailError, Lowering, ROOT};
use jaula_plan::net::names::NamePlan;
use jaula_sys::SysError;
use jaula_sys::beneath::Links;
use jaula_sys::child::{Op, TreeOp};
use jaula_sys::mount::attr;
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

impl Lowering<'_> {
    pub(super) fn hosts_resolver(&mut self) -> Result<(), JailError> {
        self.plain(c"etc/resolv.conf", false);
        self.first(Op::OpenTree {
            path: c"/etc/resolv.conf".into(),
            recursive: false,
            slot: ANY,
        });
        self.over("etc/resolv.conf")
    }

    /// Puts what is in [`ANY`] over a file of the tree's.
    fn over(&mut self, path: &'static str) -> Result<(), JailError> {
        self.first(Op::SetAttr {
            slot: ANY,
            set: attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::RDONLY,
            recursive: false,
        });
        self.attach(ANY, ROOT, path, Links::Refuse)
    }

    /// Files of the jail's own, in its memory and read-only, over those of its tree.
    pub(super) fn names(&mut self, names: &NamePlan) -> Result<(), JailError> {
        // A tree of a few files has no such directory.
        self.plain(c"etc", true);
        if let Some(text) = names.resolv_conf() {
            self.own_file("etc/resolv.conf", c"etc/resolv.conf", c"resolv", &text)?;
        }
        if let Some(text) = names.hosts() {
            self.own_file("etc/hosts", c"etc/hosts", c"hosts", &text)?;
        }
        Ok(())
    }

    fn own_file(
        &mut self,
        shown: &'static str,
        path: &'static CStr,
        name: &'static CStr,
        text: &str,
    ) -> Result<(), JailError> {
        let failed = |error| SysError::io("pipe2", shown, &error);
        let (reader, mut writer) = std::io::pipe().map_err(failed)?;
        writer.write_all(text.as_bytes()).map_err(failed)?;
        drop(writer);
        let text = File::from(OwnedFd::from(reader));
        self.plain(path, false);
        self.first(Op::Tree(TreeOp::DataFile {
            from: text.as_raw_fd(),
            dir: BASE,
            name,
            mode: 0o644,
        }));
        self.out.held.push(text);
        self.first(Op::OpenPart {
            dir: BASE,
            path: name,
            slot: ANY,
        });
        self.over(shown)?;
        // Reached by no other name.
        self.first(Op::Tree(TreeOp::Unlink { dir: BASE, name }));
        Ok(())
    }
}
