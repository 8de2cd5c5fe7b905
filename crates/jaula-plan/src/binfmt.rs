//! Programs of other machines, which the kernel starts by an interpreter (binfmt_misc of the kernel's documentation). Since
//! Linux 6.7 a user namespace may have interpreters of its own: a jail's are nobody else's.

use crate::names::Arch;
use std::path::PathBuf;

/// What runs the programs of an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Whose programs.
    pub arch: Arch,
    /// The program on the host, which needs nothing else: the kernel opens it when it is registered.
    pub path: PathBuf,
}

/// A machine as its programs say it.
struct Machine {
    /// Debian's name of the architecture.
    arch: &'static str,
    /// What QEMU calls it: `qemu-NAME`.
    qemu: &'static str,
    /// `EI_CLASS` of elf(5): 1 for 32, 2 for 64 bits.
    class: u8,
    /// `EI_DATA`: 1 for the little end first, 2 for the big one.
    data: u8,
    /// `e_machine`.
    number: u8,
    /// The second byte of `e_machine`, the high one.
    high: u8,
}

const fn machine(
    arch: &'static str,
    qemu: &'static str,
    class: u8,
    data: u8,
    number: u16,
) -> Machine {
    let [high, low] = number.to_be_bytes();
    Machine {
        arch,
        qemu,
        class,
        data,
        number: low,
        high,
    }
}

const MACHINES: [Machine; 14] = [
    machine("amd64", "x86_64", 2, 1, 62),
    machine("i386", "i386", 1, 1, 3),
    machine("arm64", "aarch64", 2, 1, 183),
    machine("armhf", "arm", 1, 1, 40),
    machine("armel", "arm", 1, 1, 40),
    machine("riscv64", "riscv64", 2, 1, 243),
    machine("ppc64el", "ppc64le", 2, 1, 21),
    machine("ppc64", "ppc64", 2, 2, 21),
    machine("powerpc", "ppc", 1, 2, 20),
    machine("s390x", "s390x", 2, 2, 22),
    machine("loong64", "loongarch64", 2, 1, 258),
    machine("mips64el", "mips64el", 2, 1, 8),
    machine("mipsel", "mipsel", 1, 1, 8),
    machine("m68k", "m68k", 1, 2, 4),
];

/// Where QEMU's interpreters of an architecture may be; none when it has none.
pub fn candidates(arch: &Arch) -> Vec<PathBuf> {
    let found = MACHINES
        .iter()
        .find(|machine| machine.arch == arch.as_str());
    let paths = found.map(|machine| {
        let name = machine.qemu;
        [
            format!("/usr/bin/qemu-{name}-static"),
            format!("/usr/bin/qemu-{name}"),
            format!("/usr/local/bin/qemu-{name}"),
        ]
    });
    paths.into_iter().flatten().map(PathBuf::from).collect()
}

/// The architectures that an interpreter may be for.
pub fn archs() -> impl Iterator<Item = Arch> {
    MACHINES
        .iter()
        .filter_map(|machine| machine.arch.parse().ok())
}

impl Interpreter {
    /// What is written to `register`: `:NAME:M:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS`. The magic is the start of a program
    /// or a shared library of the machine; which system it is for (`EI_OSABI`) does not matter. `F` has the interpreter
    /// opened now, `P` keeps the name that a program was called by, `O` lets programs run that cannot be read, `C` takes
    /// their rights and not the interpreter's. None for an architecture that is not known, or a path that would end the field.
    pub fn registration(&self) -> Option<String> {
        let machine = MACHINES
            .iter()
            .find(|machine| machine.arch == self.arch.as_str())?;
        let path = self.path.to_str()?;
        if !path.starts_with('/') || path.contains([':', '\n']) {
            return None;
        }
        let mut magic = [0u8; 20];
        let mut mask = [0xffu8; 20];
        let start = [0x7f, b'E', b'L', b'F', machine.class, machine.data, 1];
        magic
            .iter_mut()
            .zip(start)
            .for_each(|(to, from)| *to = from);
        let (kind, number) = match machine.data {
            1 => ([2, 0], [machine.number, machine.high]),
            _ => ([0, 2], [machine.high, machine.number]),
        };
        let end = kind.into_iter().chain(number);
        magic
            .iter_mut()
            .skip(16)
            .zip(end)
            .for_each(|(to, from)| *to = from);
        let any = if machine.data == 1 { 16 } else { 17 };
        for (at, byte) in mask.iter_mut().enumerate() {
            // A shared library has type 3, a program 2.
            match at {
                7 => *byte = 0,
                at if at == any => *byte = 0xfe,
                _ => {}
            }
        }
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("\\x{byte:02x}"))
                .collect::<String>()
        };
        let arch = &self.arch;
        Some(format!(
            ":jaula-{arch}:M::{}:{}:{path}:POCF",
            hex(&magic),
            hex(&mask)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arch: &str, path: &str) -> Option<String> {
        let arch = arch.parse().unwrap();
        let path = path.into();
        Interpreter { arch, path }.registration()
    }

    #[test]
    fn registrations_are_those_of_debians_packages() {
        // As qemu-user-static's own files have magic and mask.
        let arm64 = ":jaula-arm64:M::\\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\
                     \\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:/usr/bin/qemu-aarch64-static:POCF";
        assert_eq!(
            of("arm64", "/usr/bin/qemu-aarch64-static").as_deref(),
            Some(arm64)
        );
        let s390x = of("s390x", "/q").unwrap();
        assert!(
            s390x.contains("\\x02\\x02\\x01") && s390x.contains("\\x00\\x02\\x00\\x16:"),
            "{s390x}"
        );
        assert!(s390x.contains("\\xff\\xfe\\xff\\xff:/q:"), "{s390x}");
        let loong64 = of("loong64", "/q").unwrap();
        assert!(loong64.contains("\\x02\\x00\\x02\\x01:"), "{loong64}");
    }

    #[test]
    fn what_cannot_be_registered_is_not() {
        assert_eq!(of("hppa", "/q"), None);
        for path in ["q", "/a:b", "/a\nb", ""] {
            assert_eq!(of("arm64", path), None, "{path}");
        }
        assert!(candidates(&"hppa".parse().unwrap()).is_empty());
        for arch in archs() {
            assert!(
                of(arch.as_str(), "/q").is_some_and(|text| text.len() < 1920),
                "{arch}"
            );
        }
    }
}
