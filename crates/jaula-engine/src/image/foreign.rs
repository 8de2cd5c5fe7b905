//! Which architectures' programs run here: by the processor, or by an interpreter that the kernel starts for them
//! (binfmt_misc of the kernel's documentation).

use jaula_plan::names::Arch;
use jaula_plan::rootfs::SourcesError;
use jaula_repo::elf::{Identity, NEEDED};
use std::collections::BTreeSet;
use std::path::Path;

/// Where the kernel tells of interpreters.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
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

/// The architectures whose programs run here in a root that has nothing but them, the host's own first.
pub fn runnable() -> Vec<Arch> {
    let mut all = native();
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
