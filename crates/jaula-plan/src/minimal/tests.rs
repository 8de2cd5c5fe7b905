use super::*;
use crate::facts::elf::{Content, HostFiles, Seen, Unreadable};
use jaula_repo::elf::{Dynamic, Identity};
use std::ffi::OsString;

pub(super) const AMD64: Identity = Identity {
    wide: true,
    little_endian: true,
    machine: 62,
};
const I386: Identity = Identity {
    wide: false,
    little_endian: true,
    machine: 3,
};

/// A host that does not exist.
#[derive(Default)]
pub(super) struct Made {
    seen: BTreeMap<PathBuf, Seen>,
    elf: BTreeMap<PathBuf, Dynamic>,
    text: BTreeMap<PathBuf, String>,
    /// How often the content of each was asked for.
    read: BTreeMap<PathBuf, usize>,
}

impl Made {
    fn dirs(&mut self, path: &str) {
        for parent in Path::new(path).ancestors().skip(1) {
            let dir = Seen::Directory { mode: 0o755 };
            self.seen.entry(parent.to_owned()).or_insert(dir);
        }
    }

    fn link(mut self, path: &str, target: &str) -> Self {
        self.dirs(path);
        let target = target.into();
        self.seen.insert(path.into(), Seen::Link { target });
        self
    }

    fn text(mut self, path: &str, text: &str) -> Self {
        self.dirs(path);
        self.seen.insert(path.into(), Seen::File { mode: 0o755 });
        self.text.insert(path.into(), text.to_owned());
        self
    }

    pub(super) fn dir(mut self, path: &str) -> Self {
        self.dirs(path);
        let dir = Seen::Directory { mode: 0o755 };
        self.seen.insert(path.into(), dir);
        self
    }

    pub(super) fn file(mut self, path: &str, mode: u32, text: &str) -> Self {
        self.dirs(path);
        self.seen.insert(path.into(), Seen::File { mode });
        self.text.insert(path.into(), text.to_owned());
        self
    }

    /// `needs` as `interp=…`, `rpath=…`, `runpath=…`, `soname=…`, `i386`, or a library.
    pub(super) fn elf(mut self, path: &str, mode: u32, needs: &[&str]) -> Self {
        self.dirs(path);
        self.seen.insert(path.into(), Seen::File { mode });
        let value = |name: &str| {
            let found = needs.iter().find_map(|need| need.strip_prefix(name));
            found.map(|value| value.as_bytes().to_vec())
        };
        let dynamic = Dynamic {
            identity: if needs.contains(&"i386") { I386 } else { AMD64 },
            interpreter: value("interp="),
            needed: needs
                .iter()
                .filter(|need| !need.contains('=') && **need != "i386")
                .map(|need| need.as_bytes().to_vec())
                .collect(),
            soname: value("soname="),
            rpath: value("rpath="),
            runpath: value("runpath="),
            later: value("later=").into_iter().collect(),
        };
        self.elf.insert(path.into(), dynamic);
        self
    }

    fn closure(mut self, asked: &[&str]) -> Result<Items, MinimalError> {
        let asked: Vec<PathBuf> = asked.iter().map(PathBuf::from).collect();
        closure(&mut self, &asked, AMD64)
    }

    fn files(self, asked: &[&str]) -> Vec<String> {
        let items = self.closure(asked).unwrap();
        let files = items
            .into_iter()
            .filter(|(_, item)| !matches!(item.kind, ItemKind::Directory { .. }));
        files.map(|(path, _)| path.display().to_string()).collect()
    }
}

impl HostFiles for Made {
    fn look(&mut self, path: &Path) -> Result<Seen, Unreadable> {
        Ok(self.seen.get(path).cloned().unwrap_or(Seen::Missing))
    }

    fn content(&mut self, path: &Path) -> Result<Content, Unreadable> {
        *self.read.entry(path.to_owned()).or_default() += 1;
        if let Some(dynamic) = self.elf.get(path) {
            return Ok(Content::Elf(dynamic.clone()));
        }
        let text = self.text.get(path).map(String::as_str).unwrap_or_default();
        Ok(match text.strip_prefix("#!") {
            Some(line) => Content::Script(line.split_once('\n').map(|(line, _)| line.into())),
            None => Content::Other,
        })
    }

    fn text(&mut self, path: &Path) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.text.get(path).map(|text| text.as_bytes().to_vec()))
    }

    fn names(&mut self, path: &Path) -> Result<Vec<OsString>, Unreadable> {
        let beneath = self.seen.keys().filter(|key| key.parent() == Some(path));
        Ok(beneath
            .filter_map(|key| Some(key.file_name()?.to_owned()))
            .collect())
    }
}

pub(super) const LOADER: &str = "interp=/lib64/ld.so";

/// A merged host with a loader and a C library.
pub(super) fn merged() -> Made {
    Made::default()
        .link("/bin", "usr/bin")
        .link("/lib", "usr/lib")
        .link("/lib64", "usr/lib64")
        .link("/usr/lib64/ld.so", "../lib/x86_64-linux-gnu/ld.so")
        .elf("/usr/lib/x86_64-linux-gnu/ld.so", 0o755, &["soname=ld.so"])
        .elf(
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            0o755,
            &["ld.so", "soname=libc.so.6"],
        )
        .elf("/usr/bin/cat", 0o755, &[LOADER, "libc.so.6"])
}

const BASE: [&str; 6] = [
    "/bin",
    "/lib",
    "/lib64",
    "/usr/lib/x86_64-linux-gnu/ld.so",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib64/ld.so",
];

fn with(more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = BASE.iter().chain(more).map(|s| (*s).to_owned()).collect();
    all.sort();
    all
}

#[test]
fn what_some_processors_take_instead_comes_with_all_it_needs() {
    let lib = "/usr/lib/x86_64-linux-gnu";
    let v3 = format!("{lib}/glibc-hwcaps/x86-64-v3");
    let host = Made::default()
        .elf("/usr/bin/x", 0o755, &["libc.so.6", "libonly.so"])
        .elf(&format!("{lib}/libc.so.6"), 0o755, &[])
        .elf(&format!("{v3}/libc.so.6"), 0o755, &["libfast.so"])
        .elf(
            &format!("{lib}/glibc-hwcaps/x86-64-v2/libother.so"),
            0o755,
            &[],
        )
        .elf(&format!("{v3}/libonly.so"), 0o644, &[])
        .elf(&format!("{v3}/libfast.so"), 0o644, &[]);
    let files = host.files(&["/usr/bin/x"]);
    let wanted = ["libc.so.6", "libfast.so", "libonly.so"].map(|name| format!("{v3}/{name}"));
    let mut wanted = wanted.to_vec();
    wanted.insert(0, "/usr/bin/x".to_owned());
    wanted.push(format!("{lib}/libc.so.6"));
    assert_eq!(files, wanted);
}

#[test]
fn links_of_a_merged_host_come_along() {
    let mut files = merged().files(&["/bin/cat"]);
    files.sort();
    assert_eq!(files, with(&["/usr/bin/cat"]));
}

#[test]
fn what_many_programs_need_is_read_once() {
    let mut host = merged()
        .elf("/usr/bin/ls", 0o755, &[LOADER, "libc.so.6"])
        .elf(
            "/opt/bin/own",
            0o755,
            &[LOADER, "runpath=/opt/lib", "libc.so.6"],
        )
        .elf("/opt/lib/libc.so.6", 0o755, &["soname=libc.so.6"]);
    let asked = ["/bin/cat", "/bin/ls", "/opt/bin/own", "/bin/cat"].map(PathBuf::from);
    let items = closure(&mut host, &asked, AMD64).unwrap();
    // The one that names a directory of its own still gets what is there.
    assert!(items.contains_key(Path::new("/opt/lib/libc.so.6")));
    assert_eq!(host.read.len(), 6, "{:?}", host.read);
    assert!(
        host.read.values().all(|times| *times == 1),
        "{:?}",
        host.read
    );
}

#[test]
fn set_id_bits_are_dropped_and_said() {
    let host = merged().elf("/usr/bin/su", 0o6755, &[LOADER, "libc.so.6"]);
    let items = host.closure(&["/bin/su"]).unwrap();
    let kind = ItemKind::File {
        mode: 0o755,
        dropped: true,
    };
    assert_eq!(items[Path::new("/usr/bin/su")].kind, kind);
    assert_eq!(items[Path::new("/usr/bin/su")].why, Why::Asked);
}

#[test]
fn a_librarys_links_are_followed_in_turn() {
    let host = merged()
        .link("/usr/lib/liba.so.1", "liba.so.1.2")
        .elf("/usr/lib/liba.so.1.2", 0o644, &["soname=liba.so.1"])
        .elf("/usr/bin/a", 0o755, &[LOADER, "liba.so.1", "libc.so.6"]);
    let mut files = host.files(&["/usr/bin/a"]);
    files.sort();
    let more = ["/usr/bin/a", "/usr/lib/liba.so.1", "/usr/lib/liba.so.1.2"];
    assert_eq!(files, with(&more));
}

#[test]
fn a_path_of_the_program_counts_for_its_libraries_unless_they_have_their_own() {
    let lib = |host: Made, dir: &str, name: &str, needs: &[&str]| {
        host.elf(&format!("{dir}/{name}"), 0o644, needs)
    };
    let base = |first: &[&str]| {
        let host = lib(merged(), "/opt/p/lib", "liba.so", &["libb.so"]);
        let host = lib(host, "/opt/p/lib", "libb.so", &[]);
        lib(host, "/usr/lib", "libb.so", &[]).elf(
            "/opt/p/bin/p",
            0o755,
            &[&[LOADER, "liba.so"], first].concat(),
        )
    };
    let has = |host: Made, path: &str| host.files(&["/opt/p/bin/p"]).iter().any(|f| f == path);
    // DT_RPATH is inherited, DT_RUNPATH is not, and stands above it.
    assert!(has(base(&["rpath=$ORIGIN/../lib"]), "/opt/p/lib/libb.so"));
    let both = ["runpath=$ORIGIN/../lib", "rpath=/nowhere"];
    assert!(!has(base(&both), "/opt/p/lib/libb.so"));
    assert!(has(base(&both), "/usr/lib/libb.so"));
    assert!(has(
        base(&["runpath=${ORIGIN}/../lib"]),
        "/opt/p/lib/liba.so"
    ));
}

#[test]
fn what_only_the_settings_lead_to_gets_a_link() {
    let host = merged()
        .text("/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n# /none\n")
        .text(
            "/etc/ld.so.conf.d/x.conf",
            "/srv/lib # here\n/lib/x86_64-linux-gnu\n",
        )
        .text("/etc/ld.so.conf.d/x.conf.old", "/old\n")
        .elf("/old/libx.so.1", 0o644, &[])
        .elf("/srv/lib/libx.so.1", 0o644, &[])
        .elf("/usr/bin/x", 0o755, &[LOADER, "libx.so.1", "libc.so.6"]);
    let items = host.closure(&["/usr/bin/x"]).unwrap();
    let link = &items[Path::new("/usr/lib/x86_64-linux-gnu/libx.so.1")];
    let target = PathBuf::from("/srv/lib/libx.so.1");
    assert_eq!(link.kind, ItemKind::Link { target });
    assert!(items.contains_key(Path::new("/srv/lib/libx.so.1")));
    assert!(!items.contains_key(Path::new("/old")));
}

#[test]
fn two_libraries_of_one_name_in_one_place_are_refused() {
    let host = || {
        merged()
            .text("/etc/ld.so.conf", "/srv/lib\n")
            .elf("/srv/lib/libx.so.1", 0o644, &[])
            .elf("/usr/lib/x86_64-linux-gnu/libx.so.1", 0o644, &[])
            .elf(
                "/usr/bin/by-settings",
                0o755,
                &[LOADER, "libx.so.1", "libc.so.6"],
            )
            .elf(
                "/usr/bin/by-itself",
                0o755,
                &[
                    LOADER,
                    "runpath=/usr/lib/x86_64-linux-gnu",
                    "libx.so.1",
                    "libc.so.6",
                ],
            )
    };
    for asked in [
        ["/usr/bin/by-settings", "/usr/bin/by-itself"],
        ["/usr/bin/by-itself", "/usr/bin/by-settings"],
    ] {
        match host().closure(&asked) {
            Err(MinimalError::Clash { path, .. }) => {
                assert_eq!(path, Path::new("/usr/lib/x86_64-linux-gnu/libx.so.1"));
            }
            other => panic!("{asked:?} {other:?}"),
        }
        let [one, other] = asked;
        assert!(host().closure(&[one]).is_ok() && host().closure(&[other]).is_ok());
    }
}

#[test]
fn scripts_bring_their_interpreter() {
    let host = || {
        merged()
            .elf("/usr/bin/env", 0o755, &[LOADER, "libc.so.6"])
            .elf("/usr/bin/awk", 0o755, &[LOADER, "libc.so.6"])
    };
    for (line, more) in [
        ("#!/usr/bin/awk -f\n", &["/usr/bin/awk"][..]),
        ("#! /usr/bin/env awk\n", &["/usr/bin/awk", "/usr/bin/env"]),
        (
            "#!/bin/env -S A=b awk -f\n",
            &["/usr/bin/awk", "/usr/bin/env"],
        ),
    ] {
        let mut files = host().text("/s", line).files(&["/s"]);
        files.sort();
        assert_eq!(files, with(&[more, &["/s"]].concat()), "{line}");
    }
    for line in [
        "#!\n",
        "#!awk\n",
        "#!/none\n",
        "#!/bin/env none\n",
        "#!/bin/env -i\n",
        "#!/bin/env -S '\n",
        "#!/bin/awk",
    ] {
        assert!(host().text("/s", line).closure(&["/s"]).is_err(), "{line}");
    }
}

#[test]
fn refusals_say_what_and_where() {
    let message = |host: Made, path: &str| host.closure(&[path]).unwrap_err().to_string();
    assert_eq!(message(merged(), "bin/cat"), "bin/cat is not absolute");
    assert_eq!(message(merged(), "/bin/dog"), "/bin/dog does not exist");
    assert_eq!(message(merged(), "/bin/cat/x"), "/bin/cat/x does not exist");
    let neither = "/d is neither a program, nor a library, nor a script";
    assert_eq!(message(merged().text("/d", "data"), "/d"), neither);
    assert!(message(merged(), "/usr").contains("neither"));
    let other = message(merged().elf("/o", 0o755, &["i386"]), "/o");
    assert_eq!(
        other,
        "/o is for another machine (i386; this host is amd64)"
    );
    let loops = merged().link("/a", "b").link("/b", "a");
    assert_eq!(message(loops, "/a"), "too many links on the way to /a");
    let lacks =
        merged()
            .elf("/usr/lib/libz.so", 0o644, &["i386"])
            .elf("/p", 0o755, &[LOADER, "libz.so"]);
    assert_eq!(
        message(lacks, "/p"),
        "cannot find the library libz.so, which /p needs; sought in /lib/x86_64-linux-gnu, \
         /usr/lib/x86_64-linux-gnu, /lib64, /usr/lib64, /lib, /usr/lib"
    );
    let orphan = merged().elf("/p", 0o755, &["interp=/lib64/none"]);
    assert_eq!(
        message(orphan, "/p"),
        "/lib64/none does not exist, and /p needs it"
    );
}
