//! A distribution that is made in a blink: one static program as its shell, and a dpkg that can only configure.

use crate::deb::{Compression, Deb, DebBuilder};
use crate::repo::RepoBuilder;
use anyhow::{Context, Result, ensure};
use std::fs;

/// What dpkg(1) does of `--configure --pending`, and `--print-architecture`: packages in the order of the database, each
/// only when what it depends on is there. No triggers, no conffiles.
const DPKG: &str = r#"#!/bin/sh
status=/var/lib/dpkg/status
if [ "$1" = --print-architecture ]; then
    head -n 1 /var/lib/dpkg/arch 2>/dev/null || echo amd64
    exit
fi
[ "$1" = --configure ] || exit 0
awk 'BEGIN { RS = ""; FS = "\n" }
/ok unpacked/ {
    name = version = ""; depends = ""
    for (i = 1; i <= NF; i++) {
        if ($i ~ /^Package: /) name = substr($i, 10)
        if ($i ~ /^Version: /) version = substr($i, 10)
        if ($i ~ /^Depends: /) depends = substr($i, 10)
    }
    gsub(/,/, "", depends)
    print name, version, depends
}' "$status" >/run/unpacked
failed=0
while read -r name version depends; do
    for other in $depends; do
        if ! grep -qx "Package: $other" "$status"; then
            echo "dpkg: dependency problems prevent configuration of $name:"
            echo " $name depends on $other; however: Package $other is not installed."
            echo "dpkg: error processing package $name (--configure):"
            echo " dependency problems - leaving unconfigured"
            failed=1
            continue 2
        fi
    done
    echo "Setting up $name ($version) ..."
    script=/var/lib/dpkg/info/$name.postinst
    if [ -x "$script" ] && ! "$script" configure; then
        echo "dpkg: error processing package $name (--configure):"
        failed=1
        continue
    fi
    awk -v name="$name" 'BEGIN { RS = ""; FS = "\n"; OFS = "\n"; ORS = "\n\n" }
        $1 == "Package: " name { sub(/ok unpacked/, "ok installed") } { print }' "$status" >"$status-new"
    mv "$status-new" "$status"
done </run/unpacked
rm /run/unpacked
exit $failed
"#;

/// What scripts of the small system's packages can call.
const APPLETS: &str = "awk basename cat chmod chown cp cut echo env false find grep head hostname id ln ls mkdir mknod \
                       mktemp mount mv readlink rm rmdir sed sleep sort stat tail test touch tr true umount uname wc";

/// The shell: program, loader, library.
const SHELL: [&str; 3] = [
    "bin/dash",
    "lib64/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/libc.so.6",
];

/// The beginning of a small package, version 1.0, quickly compressed.
pub fn deb(name: &str) -> DebBuilder {
    DebBuilder::new(name, "1.0").compression(Compression::Gzip)
}

/// A small package with one file.
///
/// # Errors
/// As [`DebBuilder::build`].
pub fn package(name: &str, version: &str, fields: &[(&str, &str)]) -> Result<Deb> {
    let deb = fields
        .iter()
        .fold(DebBuilder::new(name, version), |deb, (name, value)| {
            deb.field(name, value)
        });
    deb.compression(Compression::Gzip)
        .file(&format!("usr/share/{name}/version"), version, 0o644)
        .build()
}

/// The small system under the name of a suite: packages `base-files`, `busybox`, `dash` and `dpkg` (essential), `login`
/// (required, with a script that says so), `apt` and `cron` (important; cron depends on `libcron`, which is optional),
/// `usr-is-merged`, `usrmerge`, `build-essential`, `ca-certificates` and `tool` (optional, recommends `tool-doc`).
///
/// # Errors
/// When the host is no Debian of amd64, or has no static busybox(1).
pub fn system(suite: &str) -> Result<RepoBuilder> {
    let shell = fs::read("/bin/busybox").context("/bin/busybox")?;
    ensure!(
        cfg!(target_arch = "x86_64") && !shell.windows(12).any(|part| part == b"/ld-linux-x8"),
        "no static /bin/busybox of amd64"
    );
    let essential = |name: &str| {
        deb(name)
            .field("Essential", "yes")
            .field("Priority", "required")
    };
    let busybox = APPLETS.split_whitespace().fold(
        essential("busybox").file("bin/busybox", &shell, 0o755),
        |deb, name| deb.symlink(&format!("bin/{name}"), "busybox"),
    );
    // A shell that does not take dpkg for a part of itself, with its library where the host has it.
    let mut dash = essential("dash");
    for path in SHELL {
        let content = fs::read(format!("/{path}")).with_context(|| path.to_owned())?;
        dash = dash.file(path, content, 0o755);
    }
    let dash = dash.symlink("bin/sh", "dash");
    let base = [
        "dev", "home", "proc", "root", "run", "sys", "usr/sbin", "var/tmp",
    ]
    .into_iter()
    .fold(essential("base-files"), |deb, name| deb.dir(name, 0o755))
    .dir("tmp", 0o1777)
    .file("etc/passwd", "root:*:0:0:root:/root:/bin/sh\n", 0o644)
    .file("etc/group", "root:*:0:\n", 0o644)
    .file("etc/os-release", "ID=debian\n", 0o644);
    let login = deb("login").field("Priority", "required").script(
        "postinst",
        "#!/bin/sh\necho \"$1 by $(id -u)\" >/etc/login.configured\n",
    );
    let mut repo = RepoBuilder::new(suite)
        .compressions(&[Compression::None, Compression::Gzip, Compression::Xz])
        .package(base.build()?)
        .package(busybox.build()?)
        .package(dash.build()?)
        .package(
            essential("dpkg")
                .file("usr/bin/dpkg", DPKG, 0o755)
                .build()?,
        )
        .package(login.build()?);
    let more: [(&str, &[(&str, &str)]); 9] = [
        ("apt", &[("Priority", "important")]),
        ("cron", &[("Priority", "important"), ("Depends", "libcron")]),
        ("libcron", &[]),
        ("usr-is-merged", &[]),
        ("usrmerge", &[]),
        ("build-essential", &[]),
        ("ca-certificates", &[]),
        ("tool", &[("Recommends", "tool-doc")]),
        ("tool-doc", &[]),
    ];
    for (name, fields) in more {
        repo = repo.package(package(name, "1.0", fields)?);
    }
    Ok(repo)
}
