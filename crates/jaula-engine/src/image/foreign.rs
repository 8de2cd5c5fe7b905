//! Which architectures' programs run here: by the processor, or by an interpreter that the kernel starts for them
//! (binfmt_misc of the kernel's documentation).

use crate::minimal::Bytes;
use jaula_plan::binfmt::{self, Interpreter};
use jaula_plan::names::Arch;
use jaula_plan::rootfs::SourcesError;
use jaula_repo::elf::{Dynamic, Identity, NEEDED};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the kernel tells of interpreters.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
/// The first Linux whose user namespaces have a binfmt_misc of their own.
const SINCE: (u32, u32) = (6, 7);
/// Longest entry that is read.
const LIMIT: usize = 16 << 10;

/// Debian's name of the architecture this program was built for, which the host runs, and of those that run with it.
pub fn native() -> Vec<Arch> {
    let names: &[&str] = match std::env::consts::ARCH {
        "x86_64" => &["amd64", "i386"],
        "x86" => &["i386"],
        "aarch64" => &["arm64", "armhf", "armel"],
        "arm" => &["armhf", "armel"],
        "riscv64" => &["riscv64"],
        "powerpc64" => &["ppc64el"],
        "s390x" => &["s390x"],
        "loongarch64" => &["loong64"],
        _ => &[],
    };
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// An entry of binfmt_misc.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    arch: &'static str,
    /// The kernel holds the interpreter open, so that it is found whatever the root is.
    fixed: bool,
}

/// Reads an entry. None when it is switched off, or is for no programs of a machine.
fn entry(text: &str) -> Option<Entry> {
    let mut lines = text.lines();
    if lines.next() != Some("enabled") {
        return None;
    }
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    if value("offset ").is_some_and(|offset| offset.trim() != "0") {
        return None;
    }
    let magic = value("magic ")?.trim();
    let mut start = [0u8; NEEDED];
    for (byte, at) in start.iter_mut().zip((0..magic.len()).step_by(2)) {
        *byte = u8::from_str_radix(magic.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    let arch = Identity::read(&start)?.debian_arch()?;
    let fixed = value("flags: ").unwrap_or_default().contains('F');
    Some(Entry { arch, fixed })
}

/// The entries of the host.
fn entries() -> Vec<Entry> {
    let listed = std::fs::read_dir(BINFMT).into_iter().flatten().flatten();
    let read = |path: &Path| {
        use std::io::Read;
        let mut text = String::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(LIMIT as u64).read_to_string(&mut text).ok()?;
        entry(&text)
    };
    listed
        .map(|file| file.path())
        .filter(|path| !path.ends_with("register") && !path.ends_with("status"))
        .filter_map(|path| read(&path))
        .collect()
}

/// The interpreter that a jail registers for itself, where the programs of an architecture run neither by the processor nor
/// by the host's own: a static program of QEMU's, and a kernel that has binfmt_misc for user namespaces.
pub fn interpreter(arch: &Arch) -> Option<Interpreter> {
    if native().contains(arch) {
        return None;
    }
    let path = installed(arch)?;
    let fixed = entries()
        .iter()
        .any(|entry| entry.fixed && entry.arch == arch.as_str());
    (!fixed && own_work()).then(|| Interpreter {
        arch: arch.clone(),
        path,
    })
}

/// Whether the kernel has binfmt_misc for user namespaces; it is asked once.
fn own_work() -> bool {
    static WORK: OnceLock<bool> = OnceLock::new();
    *WORK.get_or_init(|| {
        jaula_sys::process::kernel_version() >= SINCE && crate::probe::gate::interpreters().is_ok()
    })
}

/// An interpreter that needs no other file: in the jail there is nothing of the host's.
fn installed(arch: &Arch) -> Option<PathBuf> {
    let fits = |path: &PathBuf| {
        let bytes = std::fs::File::open(path).and_then(Bytes::new);
        // What cannot be read so is no such program.
        bytes.is_ok_and(|bytes| {
            let read = Dynamic::read(&bytes);
            read.is_ok_and(|read| read.interpreter.is_none() && read.needed.is_empty())
        })
    };
    binfmt::candidates(arch).into_iter().find(fits)
}

/// The same, where only the one that is asked for matters: emulators are looked at for others than the processor's alone,
/// for that takes longer than finding an image.
pub fn runnable_for(asked: Option<&Arch>) -> Vec<Arch> {
    let native = native();
    if asked.is_none_or(|arch| native.contains(arch)) {
        return native;
    }
    runnable()
}

/// The architectures whose programs run here in a root that has nothing but them, the host's own first.
pub fn runnable() -> Vec<Arch> {
    let mut all = native();
    let own = |arch: &Arch| installed(arch).is_some() && own_work();
    all.extend(
        binfmt::archs()
            .filter(|arch| !native().contains(arch))
            .filter(own),
    );
    let fixed: BTreeSet<&str> = entries()
        .iter()
        .filter(|entry| entry.fixed)
        .map(|entry| entry.arch)
        .collect();
    let both_arms = fixed.contains("armhf").then_some("armel");
    for arch in fixed.into_iter().chain(both_arms) {
        if let Ok(arch) = arch.parse()
            && !all.contains(&arch)
        {
            all.push(arch);
        }
    }
    all
}

/// An error when an architecture's programs do not run here.
pub fn refuse(arch: &Arch) -> Option<SourcesError> {
    let runnable = runnable();
    (!runnable.contains(arch)).then(|| SourcesError::ForeignArch {
        arch: arch.clone(),
        runnable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_as_the_kernel_writes_them() {
        let arm64 = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
                     magic 7f454c460201010000000000000000000200b700\n\
                     mask ffffffffffffff00fffffffffffffffffeffffff\n";
        let found = |text: &str| entry(text).map(|entry| (entry.arch, entry.fixed));
        assert_eq!(found(arm64), Some(("arm64", true)));
        let open = arm64.replace("flags: POCF", "flags: ");
        assert_eq!(found(&open), Some(("arm64", false)));
        assert_eq!(found(&arm64.replace("enabled", "disabled")), None);
        assert_eq!(found(&arm64.replace("offset 0", "offset 4")), None);
        // python, by an ending; java, by its own magic; a cut one.
        assert_eq!(
            found("enabled\ninterpreter /x\nflags: \nextension .py\n"),
            None
        );
        assert_eq!(
            found("enabled\ninterpreter /x\nflags: \noffset 0\nmagic cafebabe\n"),
            None
        );
        assert_eq!(found(&arm64.replace("b700\n", "b70\n")), None);
    }

    #[test]
    fn the_hosts_own_runs() {
        let all = runnable();
        assert_eq!(all.first(), native().first());
        let unlikely = "s390x".parse().unwrap();
        assert_eq!(refuse(&unlikely).is_some(), !all.contains(&unlikely));
        assert_eq!(refuse(all.first().unwrap()), None);
    }
}
