#!/usr/bin/env python3
"""Compares jaula with its peers and with the bare work, on the same inputs, in turn.

    benches/compare.py [build] [more] [output] [start] [again] [lab] [login] [minimal] [net] [trace] [--rounds N] [--jaula PROGRAM] [--json FILE]

Needs root for `build`, `more`, `output`, `minimal`, `login`, `net` and for `start` as root; measures `start` as an ordinary user too when
`--user NAME` names one with subordinate ids (or when it is not started by root). Installs nothing:
what is absent is left out and named. Uses nothing but Python's own library and public programs.

Rounds are interleaved: each round runs every command once, so that a busy machine slows all alike.
Read ratios; absolute numbers are this machine's at this hour.
"""

import argparse
import json
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
SUITE = "bookworm"
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
CLEAN = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "DEBIAN_FRONTEND": "noninteractive",
}


class Failed(Exception):
    """A command did not do its work: its time means nothing."""


STOPWATCH = None  # the compiled stopwatch.c, set by main


def timed(command, env=None, log=None, user=None, cwd="/", inside=()):
    """Runs a command; (wall seconds, CPU seconds, peak KiB of its largest process).

    Through stopwatch.c where there is a C compiler: only then are short times and memory exact.
    `inside` is a command that leads into another namespace; its own time is not counted.
    """
    more = {}
    if user:
        account = pwd.getpwnam(user)
        more = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        env = dict(env or CLEAN, HOME=account.pw_dir, USER=user)
    command = [str(word) for word in command]
    if STOPWATCH:
        program = shutil.which(command[0], path=CLEAN["PATH"]) or command[0]
        measured = [STOPWATCH, "", program, *command[1:]]
    with open(log or os.devnull, "w") as out, tempfile.TemporaryFile("w+") as result:
        if STOPWATCH:
            measured[1] = f"/proc/self/fd/{result.fileno()}"
            more["pass_fds"] = [result.fileno()]
            os.fchmod(result.fileno(), 0o666)
        start = time.perf_counter()
        child = subprocess.Popen(
            [*inside, *(measured if STOPWATCH else command)], env=env or CLEAN, stderr=out, cwd=cwd, **QUIET, **more
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
        if STOPWATCH and child.returncode == 0:
            result.seek(0)
            nanoseconds, microseconds, peak, status = map(int, result.read().split())
            wall, cpu = nanoseconds / 1e9, microseconds / 1e6
            child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        tail = Path(log).read_text(errors="replace")[-800:] if log else ""
        raise Failed(f"{' '.join(command)}: status {child.returncode}\n{tail}")
    return wall, cpu, peak


class Table:
    """Times of several commands, taken in turn."""

    def __init__(self, title, unit, rounds):
        self.title, self.unit, self.rounds = title, unit, rounds
        self.runs = {}
        self.absent = {}

    def measure(self, cases, warm=1):
        """cases: name → function that does one run and returns what `timed` returns."""
        for name, case in list(cases.items()):
            try:
                for _ in range(warm):
                    case()
            except (Failed, OSError) as error:
                self.absent[name] = str(error).strip().splitlines()[0:3]
                del cases[name]
        for _ in range(self.rounds):
            for name, case in list(cases.items()):
                try:
                    self.runs.setdefault(name, []).append(case())
                except (Failed, OSError) as error:
                    self.absent[name] = str(error).strip().splitlines()[0:3]
                    self.runs.pop(name, None)
                    del cases[name]

    def medians(self):
        return {
            name: {
                "median": statistics.median(run[0] for run in runs),
                "min": min(run[0] for run in runs),
                "cpu": statistics.median(run[1] for run in runs),
                "peak_kib": max(run[2] for run in runs),
                "runs": len(runs),
            }
            for name, runs in self.runs.items()
        }

    def show(self, base):
        scale, digits = (1e6, 0) if self.unit == "us" else (1, 2)
        rows = self.medians()
        print(f"\n## {self.title} ({self.rounds} rounds)\n")
        print(f"| command | median {self.unit} | min | CPU | peak MiB | {base} takes 1, this takes |")
        print("|---|---|---|---|---|---|")
        one = rows.get(base, {}).get("median")
        for name, row in sorted(rows.items(), key=lambda item: item[1]["median"]):
            ratio = f"{row['median'] / one:.2f}" if one else "?"
            cells = [f"{row[key] * scale:.{digits}f}" for key in ("median", "min", "cpu")]
            print(f"| {name} | {' | '.join(cells)} | {row['peak_kib'] / 1024:.1f} | {ratio} |")
        for name, reason in self.absent.items():
            print(f"\nleft out: {name}: {' / '.join(reason)}")
        sys.stdout.flush()


def tool(name):
    return shutil.which(name, path=CLEAN["PATH"])


def remove(tree):
    """Removes a tree without crossing into another file system."""
    if Path(tree).exists():
        subprocess.run(["rm", "-rf", "--one-file-system", "--", str(tree)], check=True)


# Thirty packages that minbase has not, with what they need.
THIRTY = (
    "ca-certificates curl less procps psmisc file vim-tiny nano wget rsync git openssh-client sudo "
    "tree jq zip unzip bc lsof strace iproute2 iputils-ping dnsutils netcat-openbsd make patch "
    "python3-minimal sqlite3 tmux screen"
).split()


def mirror_at(cache, include=()):
    """Makes the partial mirror once and serves it on the loopback; (address, directory, server)."""
    cache.mkdir(parents=True, exist_ok=True)
    mirror = cache / f"mirror-{SUITE}"
    subprocess.run(
        ["cargo", "run", "--quiet", "--package", "xtask", "--", "mirror", str(mirror),
         *(["--variant", "important", "--include", ",".join(include)] if include else [])],
        cwd=TOP, check=True, stdout=subprocess.DEVNULL,
    )
    script = (
        "import http.server,functools,sys\n"
        "class H(http.server.SimpleHTTPRequestHandler):\n"
        "    protocol_version='HTTP/1.1'\n"
        "    def log_message(self,*a): pass\n"
        "s=http.server.ThreadingHTTPServer(('127.0.0.1',0),functools.partial(H,directory=sys.argv[1]))\n"
        "print(s.server_address[1],flush=True)\n"
        "s.serve_forever()\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script, str(mirror)], stdout=subprocess.PIPE, text=True
    )
    return f"http://127.0.0.1:{server.stdout.readline().strip()}", mirror, server


def unpacked_root(scratch, keyring, url, log):
    """A root whose packages are all unpacked and none configured, and the names of the packages."""
    root = scratch / "unpacked"
    timed([tool("debootstrap"), "--foreign", "--variant=minbase", f"--keyring={keyring}", SUITE,
           str(root), url], log=log)
    names = (root / "debootstrap/required").read_text().split()
    names += (root / "debootstrap/base").read_text().split()
    # Its /proc is a link to the host's: never mount there before it is a directory of its own.
    proc = root / "proc"
    if proc.is_symlink():
        proc.unlink()
        proc.mkdir()
    shell = (
        "/usr/bin/dpkg --force-all --install /var/cache/apt/archives/base-passwd_*.deb &&"
        " /usr/bin/dpkg --force-all --unpack /var/cache/apt/archives/*.deb"
    )
    timed(["unshare", "-mpf", "--mount-proc", "-R", str(root), "/bin/sh", "-c", shell], log=log)
    remove(root / "var/cache/apt/archives")
    return root, names


def floor_of_build(mirror, scratch, keyring, url, log):
    """The unavoidable parts with both cores: index, hash, decompress, write once, configure."""
    prepared, names = unpacked_root(scratch, keyring, url, log)
    debs = [deb for name in names for deb in mirror.glob(f"pool/**/{name}_*.deb")]
    largest_first = "\n".join(str(deb) for deb in sorted(debs, key=lambda deb: -deb.stat().st_size))
    root, copy = scratch / "floor-root", scratch / "floor-copy"
    index = mirror / f"dists/{SUITE}/main/binary-amd64/Packages.xz"
    steps = [
        ["sh", "-c", 'xz -dc "$1" >/dev/null', "sh", str(index)],
        ["sh", "-c", 'printf %s "$1" | xargs -P2 -n16 sha256sum >/dev/null', "sh", largest_first],
        ["sh", "-c", """
            for dir in bin sbin lib lib64; do mkdir -p "$2/usr/$dir"; ln -s "usr/$dir" "$2/$dir"; done
            printf %s "$1" | xargs -P2 -n1 sh -c '
                dpkg-deb --fsys-tarfile "$1" | tar -xf - --keep-directory-symlink -C "$0"' "$2"
         """, "sh", largest_first, str(root)],
        ["unshare", "-mpf", "--mount-proc", "-R", str(copy), "/usr/bin/dpkg", "--configure", "-a"],
    ]

    def one():
        remove(root)
        remove(copy)
        root.mkdir()
        subprocess.run(["cp", "-a", prepared, copy], check=True)
        spent = [timed(step, log=log) for step in steps]
        remove(copy)
        return sum(one[0] for one in spent), sum(one[1] for one in spent), max(one[2] for one in spent)

    return one


def archive(url, mirror):
    """The options that name the archive; the same on every run, so that the stored image is found."""
    return ["--mirror", url, "--keyring", str(mirror / "keyring.gpg")]


def builds(options, jaula, url, mirror, scratch):
    """(a) A cold minbase root on a tmpfs, packages cached on the loopback."""
    table = Table("minbase into a tmpfs, mirror on the loopback", "s", options.rounds or 5)
    log = scratch / "log"
    keyring = mirror / "keyring.gpg"
    tree = scratch / "tree"
    count = iter(range(10**6))

    def case(command):
        def one():
            remove(tree)
            result = timed(command, log=log)
            if not (tree / "var/lib/dpkg/status").is_file():
                raise Failed(f"{command[0]} left no root")
            return result
        return one

    def from_nothing():
        store = scratch / f"store-{next(count)}"
        try:
            return case([
                jaula, "--store", str(store), "build", f"debian:{SUITE}", "--variant", "minbase",
                *archive(url, mirror), "-o", str(tree),
            ])()
        finally:
            remove(store)

    kept = scratch / "store-kept"
    build = [
        jaula, "--store", str(kept), "build", f"debian:{SUITE}", "--variant", "minbase",
        *archive(url, mirror),
    ]

    def from_packages(unpacked=False):
        """The image itself is the result: a tree that chroot and others can use as it is."""
        if kept.exists():
            subprocess.run(
                [jaula, "--store", str(kept), "image", "rm", f"debian:{SUITE}"],
                check=True, env=CLEAN, **QUIET,
            )
        else:
            timed(build, log=log)
            return from_packages(unpacked)
        if not unpacked:
            remove(kept / "unpacked")
        result = timed(build, log=log)
        if not list(kept.glob("images/*/root/var/lib/dpkg/status")):
            raise Failed("jaula left no image")
        return result

    def identical():
        if not kept.exists():
            timed(build, log=log)
        return timed(build, log=log)

    cases = {}
    if jaula:
        cases["jaula build (packages cached)"] = from_packages
        cases["jaula build (packages unpacked in the store)"] = lambda: from_packages(True)
        cases["jaula build (asked for before)"] = identical
        cases["jaula build -o DIR (empty store)"] = from_nothing
    peers = {
        "mmdebstrap": ["--mode=root", "--variant=minbase", f"--keyring={keyring}", SUITE, tree, url],
        "debootstrap": ["--variant=minbase", f"--keyring={keyring}", SUITE, tree, url],
        "cdebootstrap": ["--flavour=minimal", f"--keyring={keyring}", SUITE, tree, url],
    }
    for name, arguments in peers.items():
        program = tool(name)
        if program:
            cases[name] = case([program, *map(str, arguments)])
        else:
            table.absent[name] = ["not installed"]
    # The packages of the floor are those debootstrap takes: the smallest set of all.
    if tool("debootstrap"):
        cases["floor: index, hash, decompress, write, configure"] = floor_of_build(
            mirror, scratch, keyring, url, log
        )
    table.measure(cases, warm=1)
    remove(tree)
    remove(scratch / "floor-root")
    remove(kept)
    table.show("jaula build (packages cached)" if jaula else "mmdebstrap")
    return table


def more(options, jaula, url, mirror, scratch):
    """(a2) Thirty more packages where minbase is there, and the important variant."""
    log, tree, kept = scratch / "log", scratch / "tree", scratch / "store-more"
    keyring = mirror / "keyring.gpg"
    rounds = options.rounds or 5
    peer = [tool("mmdebstrap"), "--mode=root", f"--keyring={keyring}"]
    words = ",".join(THIRTY)

    def store(*words, **more):
        return timed([jaula, "--store", str(kept), *words], log=log, **more)

    def image(reference, variant, include=()):
        named = ["--include", ",".join(include)] if include else []
        return [reference, "--variant", variant, *named, *archive(url, mirror)]

    base = image(f"debian:{SUITE}", "minbase")

    def digests():
        return {path.name for path in kept.glob("images/*")}

    def fresh(command, keep, unpacked=True):
        """Removes every image that is not in `keep` before, so that the command makes one."""
        for digest in digests() - keep:
            store("image", "rm", digest)
        if not unpacked:
            remove(kept / "unpacked")
        before = digests()
        result = store(*command)
        if digests() == before:
            raise Failed("jaula made no image")
        return result

    def theirs(variant, *named):
        def one():
            remove(tree)
            return timed([*peer, f"--variant={variant}", *named, SUITE, str(tree), url], log=log)
        return one

    store("build", *base)
    minbase = digests()
    run = ["run", *image(f"debian:{SUITE}", "minbase", THIRTY), "--", "/bin/true"]
    thirty = Table("minbase with 30 more packages, where minbase is in the store", "s", rounds)
    cases = {
        "jaula run --include (only those unpacked)": lambda: fresh(run, minbase),
        "jaula build minbase alone (unpacked in the store)": lambda: fresh(["build", *base], set()),
        "mmdebstrap --include": theirs("minbase", f"--include={words}"),
    }
    if not peer[0]:
        del cases["mmdebstrap --include"]
    # The last case of each round leaves minbase there again for the next one.
    thirty.measure(cases)
    thirty.show("jaula run --include (only those unpacked)")

    build = ["build", *image(f"debian:{SUITE}", "important")]
    important = Table("important variant, mirror on the loopback", "s", rounds)
    cases = {
        "jaula build (packages cached)": lambda: fresh(build, minbase, unpacked=False),
        "jaula build (packages unpacked in the store)": lambda: fresh(build, minbase),
        "mmdebstrap": theirs("important"),
    }
    if tool("debootstrap"):
        command = [tool("debootstrap"), f"--keyring={keyring}", SUITE, str(tree), url]

        def debootstrap():
            remove(tree)
            return timed(command, log=log)
        cases["debootstrap"] = debootstrap
    important.measure(cases)
    important.show("jaula build (packages cached)")
    remove(tree)
    remove(kept)
    return thirty, important


def outputs(options, jaula, url, mirror, scratch):
    """(c) A minbase as an archive: all of it from an empty store, and only the writing, from the stored image."""
    log = scratch / "log"
    keyring = mirror / "keyring.gpg"
    count = iter(range(10**6))
    archived = scratch / "out.tar.zst"
    whole = Table("minbase as tar.zst in a tmpfs, mirror on the loopback", "s", options.rounds or 5)
    image = ["build", f"debian:{SUITE}", "--variant", "minbase", *archive(url, mirror)]

    def into(path, command):
        def one():
            remove(path)
            result = timed(command, log=log)
            if not path.exists():
                raise Failed(f"{command[0]} left no {path.name}")
            return result
        return one

    def from_nothing():
        store = scratch / f"store-{next(count)}"
        try:
            return into(archived, [jaula, "--store", str(store), *image, "-o", str(archived)])()
        finally:
            remove(store)

    kept = scratch / "store-kept"
    cases = {}
    if jaula:
        timed([jaula, "--store", str(kept), *image], log=log)
        cases["jaula build -o FILE.tar.zst (empty store)"] = from_nothing
        cases["jaula build -o FILE.tar.zst (image stored)"] = into(
            archived, [jaula, "--store", str(kept), *image, "-o", str(archived)]
        )
    if tool("mmdebstrap"):
        arguments = ["--mode=root", "--variant=minbase", f"--keyring={keyring}", SUITE, archived, url]
        cases["mmdebstrap"] = into(archived, ["mmdebstrap", *map(str, arguments)])
    else:
        whole.absent["mmdebstrap"] = ["not installed"]
    whole.measure(cases)
    whole.show("jaula build -o FILE.tar.zst (empty store)" if jaula else "mmdebstrap")

    only = Table("a stored minbase written out, into a tmpfs", "s", options.rounds or 5)
    cases = {}
    if jaula:
        root = next(kept.glob("images/*/root"))
        digest = root.parent.name
        for ending in ("tar", "tar.gz", "tar.zst", "squashfs", "ext4", "erofs", "oci.tar"):
            path = scratch / f"x.{ending}"
            command = [jaula, "--store", str(kept), "image", "export", digest, "-o", str(path)]
            cases[f"jaula image export -o x.{ending}"] = into(path, command)
        one = f"tar --sort=name --numeric-owner --xattrs -C {root} -cf - ."
        peers = {
            "tar": (f"{one} > {scratch}/p.tar", "p.tar"),
            "tar | gzip": (f"{one} | gzip > {scratch}/p.tar.gz", "p.tar.gz"),
            "tar | zstd": (f"{one} | zstd -q > {scratch}/p.tar.zst", "p.tar.zst"),
            "mksquashfs -comp zstd": (
                f"mksquashfs {root} {scratch}/p.squashfs -comp zstd -noappend -quiet -no-progress", "p.squashfs"),
            "mke2fs -d": (f"mke2fs -q -t ext4 -d {root} {scratch}/p.ext4 400M", "p.ext4"),
            "mkfs.erofs": (f"mkfs.erofs --quiet {scratch}/p.erofs {root}", "p.erofs"),
        }
        for name, (command, left) in peers.items():
            cases[name] = into(scratch / left, ["sh", "-c", command])
    only.measure(cases)
    for path in sorted([*scratch.glob("x.*"), *scratch.glob("p.*")]):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
        remove(path)
    remove(kept)
    remove(archived)
    only.show("jaula image export -o x.tar.zst" if jaula else "tar | zstd")
    return {"output": whole, "written out": only}


def bundle(root, where):
    """An OCI bundle for crun and runc that does what the others do: six namespaces, proc, dev."""
    where.mkdir()
    spaces = ["pid", "ipc", "uts", "mount", "network", "cgroup"]
    config = {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"],
            "env": ["PATH=/usr/bin:/bin"], "cwd": "/", "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "bench",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in spaces]},
    }
    (where / "config.json").write_text(json.dumps(config))
    return where


def starts(options, jaula, root, url, mirror, scratch, user, image_store):
    """(b) /bin/true isolated in a minbase root: six namespaces, own /proc and /dev."""
    who = user or pwd.getpwuid(os.geteuid()).pw_name
    table = Table(f"start of /bin/true in a minbase root, as {who}", "us", options.rounds or 200)
    log = scratch / "log"
    plain = user or os.geteuid() != 0
    space = "U" if plain else ""
    cases, hidden = {}, None

    def add(name, command):
        if command[0]:
            cases[name] = lambda: timed([str(word) for word in command], log=log, user=user)
        else:
            table.absent[name] = ["not installed"]

    floor = scratch / "floor"
    if tool("cc"):
        subprocess.run(["cc", "-O2", "-static", "-o", floor, HERE / "floor.c"], check=True)
        os.chmod(floor, 0o755)
        add("floor (clone3, pivot_root, proc, exec)", [floor, f"{space}muipnC", root, "/bin/true"])
        add("floor with /dev", [floor, f"{space}muipnCd", root, "/bin/true"])
        same = f"{space}muipnCdok" if space else "muipnCUdok"
        add("floor with a jail's namespaces and mounts", [floor, same, root, "/bin/true"])
    else:
        table.absent["floor"] = ["no C compiler"]
    if jaula:
        add("jaula run", [jaula, "--store", image_store, "run", f"debian:{SUITE}",
                          *archive(url, mirror), "--", "/bin/true"])
    own = ["-Ur"] if plain else []
    add("unshare", [tool("unshare"), *own, "-muinpCf", "--mount-proc", "-R", root, "/bin/true"])
    add("bwrap", [tool("bwrap"), "--unshare-all", "--ro-bind", root, "/", "--proc", "/proc", "--dev",
                  "/dev", "/bin/true"])
    if not plain:
        oci = bundle(root, scratch / "bundle")
        quiet = scratch / "oci-state"
        crun = [tool("crun"), "--root", quiet, "--cgroup-manager=disabled", "run", "-b", oci, "c1"]
        if crun[0] and Path("/sys/fs/cgroup/unified").is_mount() and tool("nsenter"):
            # crun refuses a hybrid hierarchy: hide the unified half from it, and from it alone.
            hidden = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", "umount -l /sys/fs/cgroup/unified && echo && exec cat"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            hidden.stdout.readline()
            lead = ["nsenter", f"--mount=/proc/{hidden.pid}/ns/mnt"]
            cases["crun"] = lambda: timed(crun, log=log, inside=lead)
        else:
            add("crun", crun)
        add("runc", [tool("runc"), "--root", quiet, "run", "-b", oci, "c2"])
    add("/bin/true itself", ["/bin/true"])
    table.measure(cases, warm=3)
    if hidden:
        hidden.communicate()
    table.show("jaula run" if jaula else "floor (clone3, pivot_root, proc, exec)")
    return table


def again(options, jaula, url, mirror, scratch, image_store):
    """(c) The second run of a stored image, as a whole command."""
    table = Table("second run of a stored image", "us", options.rounds or 50)
    log = scratch / "log"
    command = [jaula, "--store", str(image_store), "run", f"debian:{SUITE}",
               *archive(url, mirror), "--"]
    table.measure({
        "jaula run -- true": lambda: timed([*command, "true"], log=log),
        "jaula run -- cat /etc/os-release": lambda: timed([*command, "cat", "/etc/os-release"], log=log),
        "jaula --version": lambda: timed([jaula, "--version"], log=log),
    }, warm=2)
    table.show("jaula run -- true")
    return table


def labs(options, jaula, scratch):
    """(d) A simulated network of 100 nodes, up and down again, and the script of ip commands that makes the same."""
    table = Table("100 nodes on 10 LANs, up and down", "s", options.rounds or 5)
    log = scratch / "log"
    file, script = scratch / "hundred.toml", scratch / "hundred.sh"
    lines = ['[[lan]]', 'name = "core"', '[[host]]', 'name = "last"', 'lan = "core"']
    for k in range(9):
        lines += ['[[lan]]', f'name = "lan{k}"', '[[router]]', f'name = "r{k}"', f'lans = ["core", "lan{k}"]']
        for h in range(10):
            lines += ['[[host]]', f'name = "h{k}x{h}"', f'lan = "lan{k}"']
    file.write_text("\n".join(lines) + "\n")
    lab = lab_cases(table, jaula, scratch, file, script, log)
    table.measure(lab)
    table.show("jaula net lab up, and down")
    return table


def lab_cases(table, jaula, scratch, file, script, log):
    """What makes a simulated network and takes it away again: ours, and the script of ip commands that ours explains."""
    lab = [jaula, "--store", str(scratch / "labs"), "net", "lab"]
    told = subprocess.run([*lab, "up", file, "--explain"], check=True, stdout=subprocess.PIPE, text=True)
    script.write_text(told.stdout)

    def both():
        up, down = timed([*lab, "up", file], log=log), timed([*lab, "down"], log=log)
        return up[0] + down[0], up[1] + down[1], max(up[2], down[2])

    cases = {"jaula net lab up, and down": both}
    if tool("ip"):
        # Its last line is a shell, with which it ends.
        env = dict(CLEAN, SHELL="/bin/true")
        cases["the script of net lab up --explain"] = lambda: timed(["sh", script], env=env, log=log)
    else:
        table.absent["script"] = ["ip is not installed"]
    return cases


def apart(options, jaula, scratch):
    """(d) A bridge with 500 guests in network namespaces of their own, made and taken away by `net lab`, and the script
    of ip commands that makes the same. And ours with 1000: twice as long where it is linear."""
    table = Table("A bridge with 500 guests in namespaces of their own, up and down", "s", options.rounds or 5)
    log = scratch / "log"

    def file(number):
        lines = ['[[lan]]', 'name = "core"']
        for k in range(number):
            lines += ['[[host]]', f'name = "h{k}"', 'lan = "core"']
        path = scratch / f"apart{number}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    cases = lab_cases(table, jaula, scratch, file(500), scratch / "apart.sh", log)
    twice = lab_cases(table, jaula, scratch, file(1000), scratch / "twice.sh", log)
    cases["jaula net lab up, and down, 1000"] = twice["jaula net lab up, and down"]
    table.measure(cases)
    table.show("jaula net lab up, and down")
    return table


def nets(options, scratch):
    """(e) A bridge with 500 guests, each a pair of links with an address: our one batch of netlink messages (the
    example `guests` of jaula-sys, the batches that cards of jails are made by), `ip -batch`, and `ip` once for each
    step. Each in a network namespace of its own that lives as long as the table. And ours and `ip -batch` with 1000, the
    latter once, for it takes a minute: twice as long where it is linear, and what is beyond that is the kernel's."""
    subprocess.run(["cargo", "build", "--quiet", "--release", "--package", "jaula-sys", "--example", "guests"],
                   cwd=TOP, check=True)
    told = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=TOP, check=True,
                          stdout=subprocess.PIPE, text=True)
    target = Path(json.loads(told.stdout)["target_directory"])
    ours = max(target.glob("**/release/examples/guests"), key=lambda path: path.stat().st_mtime)
    log = scratch / "log"

    def steps(number):
        made = ["link add br0 type bridge", "link set br0 up"]
        for k in range(number):
            made += [f"link add v{k} master br0 up type veth peer name g{k}", f"link set g{k} up",
                     f"address add 10.9.{(k + 2) // 256}.{(k + 2) % 256}/16 dev g{k}"]
        return made, [f"link del v{k}" for k in range(number)] + ["link del br0"]

    files = {}
    for number in (500, 1000):
        for name, lines in zip(("up", "down"), steps(number)):
            batch, loop = scratch / f"{name}.{number}.batch", scratch / f"{name}.{number}.sh"
            batch.write_text("\n".join(lines) + "\n")
            loop.write_text("set -e\n" + "".join(f"ip {line}\n" for line in lines))
            files[name, number] = ["ip", "-batch", batch], ["sh", loop]
    cases = {
        "one batch of ours": ([ours, "up", "500"], [ours, "down"]),
        "one batch of ours, 1000": ([ours, "up", "1000"], [ours, "down"]),
        "ip -batch": (files["up", 500][0], files["down", 500][0]),
        "ip -batch, 1000": (files["up", 1000][0], files["down", 1000][0]),
        "ip in a loop": (files["up", 500][1], files["down", 500][1]),
    }
    once = {"ip -batch, 1000"}
    up = Table("A bridge with 500 guests, made", "s", options.rounds or 5)
    down = Table("A bridge with 500 guests, taken away", "s", options.rounds or 5)
    holders = []

    def both(commands):
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE)
        holders.append(holder)
        holder.stdout.readline()
        inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]

        def links():
            listed = subprocess.run([*inside, "ip", "-o", "link"], check=True, stdout=subprocess.PIPE, text=True)
            return listed.stdout.count("\n")

        clean = links()

        def made():
            result = timed(commands[0], log=log, inside=inside)
            if links() < clean + 1001:
                raise Failed("not all guests are there")
            return result

        def taken():
            result = timed(commands[1], log=log, inside=inside)
            if links() != clean:
                raise Failed("something is left")
            return result

        return made, taken

    try:
        all_cases = {name: both(commands) for name, commands in cases.items()}
        for name, (make, take) in all_cases.items():
            if name not in once:
                make(), take()
        for round in range(up.rounds):
            for name, (make, take) in all_cases.items():
                if round and name in once:
                    continue
                up.runs.setdefault(name, []).append(make())
                down.runs.setdefault(name, []).append(take())
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
    up.show("one batch of ours")
    down.show("one batch of ours")
    return {"net": up, "net, down": down}


def minimal(options, jaula, scratch):
    """(f) A jail of the host's files: jailkit's jk_init, ours with the same ini, `cp -a` of the same files, ours by hard
    links and live. In a mount namespace with a tmpfs of root's and settings of jailkit's own; hard links need the host's
    file system, so that one is made in a directory of the host that goes again."""
    table = Table("jk_init -v -j J basicshell netutils editors jk_lsh", "s", options.rounds or 7)
    log = scratch / "log"
    if os.geteuid() != 0:
        table.absent["all"] = ["needs root"]
        table.show("jaula's jk_init")
        return table
    words = ["basicshell", "netutils", "editors", "jk_lsh"]
    script = ("set -e; mount -t tmpfs -o mode=755 none /srv; mkdir /srv/k; [ ! -d /etc/jailkit ] || { "
              "cp -a /etc/jailkit/. /srv/k; mount --bind /srv/k /etc/jailkit; }; echo; exec sleep 3600")
    holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                              stdout=subprocess.PIPE)
    inside = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
    linked = Path(tempfile.mkdtemp(prefix="jaula-bench-", dir="/"))
    linked.chmod(0o755)
    store = "/srv/store"

    def after(command, *gone):
        def case():
            result = timed(command, log=log, inside=inside)
            subprocess.run([*inside, "rm", "-rf", *gone], check=True)
            return result
        return case

    ours = ["env", f"JAULA_STORE={store}", jaula, "compat", "jk_init", "-v"]
    try:
        holder.stdout.readline()
        timed([*ours, "-j", "/srv/model", *words], log=log, inside=inside)
        cases = {
            "jaula's jk_init": after([*ours, "-j", "/srv/a", *words], "/srv/a"),
            "cp -a of the same files": after(["cp", "-a", "/srv/model", "/srv/c"], "/srv/c"),
            "jaula's jk_init -k": after([*ours, "-k", "-j", str(linked / "j"), *words], str(linked / "j")),
            "jaula new --live": after([jaula, "--store", "/srv/live", "new", "l", "--live", "--with", ",".join(words)],
                                      "/srv/live"),
        }
        if tool("jk_init"):
            cases["jailkit's jk_init"] = after(["jk_init", "-v", "-j", "/srv/b", *words], "/srv/b")
        else:
            table.absent["jailkit"] = ["jailkit is not installed"]
        table.measure(cases, warm=1)
    finally:
        holder.kill()
        holder.wait()
        remove(linked)
    table.show("jaula's jk_init")
    return table


def logins(options, jaula, scratch):
    """(g) `su USER -c true` of a user who lives in a jail and of one who does not, with the same shell. In a mount namespace
    with accounts, homes and a `/usr/bin` of its own."""
    table = Table("su USER -c true", "us", options.rounds or 100)
    log = scratch / "log"
    if os.geteuid() != 0:
        table.absent["all"] = ["needs root"]
        table.show("a user of the host")
        return table
    script = f"""set -e
mount -t tmpfs -o mode=755 none /srv
mount -t tmpfs -o mode=755 none /home
mkdir /srv/etc /srv/jail /srv/upper /srv/work
cp -a /etc/. /srv/etc
mount --bind /srv/etc /etc
mount -t overlay -o lowerdir=/usr,upperdir=/srv/upper,workdir=/srv/work none /usr
cp {jaula} /usr/bin/jaula
chmod 755 /usr/bin/jaula
rm -f /usr/sbin/jaula-login
export JAULA_STORE=/srv/store
jaula compat jk_cp -j /srv/jail /bin/sh >/dev/null
mkdir -p /srv/jail/etc
useradd -m -s /bin/sh benchhost
jaula -q user add /srv/jail benchjail --no-sshd
echo
exec sleep 3600"""
    holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                              stdout=subprocess.PIPE, env=CLEAN)
    try:
        holder.stdout.readline()
        inside = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
        def case(user):
            return lambda: timed(["su", user, "-c", "true"], log=log, inside=inside)
        table.measure({"a user of the host": case("benchhost"), "a user of a jail": case("benchjail")}, warm=3)
    finally:
        holder.kill()
        holder.wait()
    table.show("a user of the host")
    rows = table.medians()
    if len(rows) == 2:
        more = rows["a user of a jail"]["median"] - rows["a user of the host"]["median"]
        print(f"\nThe jail adds {more * 1e3:.2f} ms.")
    return table


# Starts of an interpreter, a clone by programs that start each other, and three that do little but look at files: two in
# steps from directory to directory, one by whole paths.
IMPORTS = "import http.server, json, ssl, sqlite3, xml.dom.minidom"
WALK = """import os
for here, _, files in os.walk("/usr/share/doc"):
    for name in files:
        os.lstat(os.path.join(here, name))"""


def traces(options, jaula, scratch):
    """(h) Programs as they are, under `jaula trace`, and under strace of the same calls."""
    log = scratch / "log"
    repository = scratch / "repository"
    git = [tool("git"), "-c", "user.name=x", "-c", "user.email=x@localhost", "-C", str(repository)]
    programs = {
        "find -newer": [tool("find"), "/usr/share/doc", "-newer", "/etc/passwd"],
        "du": [tool("du"), "-s", "/usr/share/doc"],
        "lstat by path": [tool("python3"), "-c", WALK],
        "python start": [tool("python3"), "-c", IMPORTS],
        "git clone": [tool("sh"), "-c", f"rm -rf {scratch}/clone && git clone -q --no-local file://{repository} {scratch}/clone"],
    }
    if tool("git"):
        repository.mkdir()
        shutil.copytree(TOP / "crates", repository / "crates")
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
            timed([*git, *words], log=log)
    else:
        del programs["git clone"]
    strace = [tool("strace"), "-f", "-o", "/dev/null", "-e", "trace=%file,%network,%creds,%process"]
    tables = {}
    for name, program in programs.items():
        if not program[0]:
            print(f"left out: trace: {name}: no such program")
            continue
        table = Table(f"trace: {name}", "s", options.rounds or 9)
        cases = {
            "the program alone": lambda: timed(program, log=log),
            "jaula trace": lambda: timed([jaula, "-q", "trace", "-o", scratch / "trace.toml", "--", *program], log=log),
        }
        if strace[0]:
            cases["strace -f"] = lambda: timed([*strace, *program], log=log)
        table.measure(cases)
        table.show("the program alone")
        tables[f"trace {name}"] = table
    return tables


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help="build, more, output, start, again, lab, net, minimal, login, trace; all by default")
    parser.add_argument("--rounds", type=int, help="rounds of each table")
    parser.add_argument("--jaula", help="the program; by default the release build, made if absent")
    parser.add_argument("--without-jaula", action="store_true", help="peers and floor only")
    parser.add_argument("--user", help="measure start as this ordinary user too")
    parser.add_argument("--cache", type=Path, default=TOP / "target" / "bench-cache")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    what = options.what or ["build", "more", "output", "start", "again", "lab", "net", "minimal", "login", "trace"]
    unknown = set(what) - {"build", "more", "output", "start", "again", "lab", "net", "minimal", "login", "trace"}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")

    jaula = None
    if not options.without_jaula:
        jaula = options.jaula
        if not jaula:
            told = subprocess.run(
                ["cargo", "build", "--release", "--package", "jaula", "--message-format=json"],
                cwd=TOP, check=True, stdout=subprocess.PIPE, text=True,
            ).stdout.splitlines()
            programs = [json.loads(line).get("executable") for line in told if '"executable"' in line]
            jaula = [program for program in programs if program][-1]
        jaula = str(Path(jaula).resolve())

    root = os.geteuid() == 0
    place = "/dev/shm" if root or os.access("/dev/shm", os.W_OK) else None
    scratch = Path(tempfile.mkdtemp(prefix="jaula-bench-", dir=place))
    os.chmod(scratch, 0o755)
    server = None
    tables = {}
    if tool("cc"):
        global STOPWATCH
        STOPWATCH = str(scratch / "stopwatch")
        subprocess.run(["cc", "-O2", "-static", "-o", STOPWATCH, HERE / "stopwatch.c"], check=True)
        os.chmod(STOPWATCH, 0o755)
    else:
        print("no C compiler: times and memory include the cost of starting from python")
    try:
        url = mirror = None
        if set(what) - {"lab", "net", "minimal", "login", "trace"}:
            url, mirror, server = mirror_at(options.cache, THIRTY if "more" in what else ())
        if "build" in what:
            if root:
                tables["build"] = builds(options, jaula, url, mirror, scratch)
            else:
                print("left out: build: the peers build as root only")
        if "more" in what:
            if root and jaula:
                tables["more"], tables["important"] = more(options, jaula, url, mirror, scratch)
            else:
                print("left out: more: for root, with jaula")
        if "output" in what:
            if root:
                tables.update(outputs(options, jaula, url, mirror, scratch))
            else:
                print("left out: output: the peers build as root only")
        if "start" in what or "again" in what:
            store = scratch / "store"
            tree = scratch / "minbase"
            maker = [tool("mmdebstrap"), "--variant=minbase", f"--keyring={mirror}/keyring.gpg", SUITE,
                     str(tree), url]
            if jaula:
                timed([jaula, "--store", str(store), "run", f"debian:{SUITE}", *archive(url, mirror),
                       "--", "/bin/true"], log=scratch / "log")
                maker = [jaula, "--store", str(store), "build", f"debian:{SUITE}", "--variant",
                         "minbase", *archive(url, mirror), "-o", str(tree)]
            timed(maker, log=scratch / "log")
            if "start" in what:
                tables["start"] = starts(options, jaula, tree, url, mirror, scratch, None, store)
                if options.user and root:
                    theirs = scratch / "user"
                    theirs.mkdir()
                    shutil.chown(theirs, options.user)
                    own = theirs / "store"
                    if jaula:
                        visible = scratch / "jaula"
                        shutil.copy(jaula, visible)
                        timed([str(visible), "--store", str(own), "run", f"debian:{SUITE}",
                               *archive(url, mirror), "--", "/bin/true"],
                              log=scratch / "log", user=options.user)
                    tables["start as user"] = starts(
                        options, str(scratch / "jaula") if jaula else None, tree, url, mirror,
                        theirs, options.user, own,
                    )
            if "again" in what and jaula:
                tables["again"] = again(options, jaula, url, mirror, scratch, store)
        if "lab" in what and jaula:
            tables["lab"] = labs(options, jaula, scratch)
            tables["lab, 500 apart"] = apart(options, jaula, scratch)
        if "net" in what:
            if root and tool("ip"):
                tables.update(nets(options, scratch))
            else:
                print("left out: net: for root, with ip")
        if "minimal" in what and jaula:
            tables["minimal"] = minimal(options, jaula, scratch)
        if "login" in what and jaula:
            tables["login"] = logins(options, jaula, scratch)
        if "trace" in what and jaula:
            tables.update(traces(options, jaula, scratch))
        if options.json:
            options.json.write_text(json.dumps({name: one.medians() for name, one in tables.items()}, indent=1))
    finally:
        if server:
            server.terminate()
            server.wait()
        remove(scratch)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"compare: {error}")
