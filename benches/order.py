#!/usr/bin/env python3
"""Writes crates/jaula/start.ld: the order in which the linker places what the start of a jail executes.

    benches/order.py PROGRAM [--user NAME]

PROGRAM is a release build with symbols: PATH=$PWD/benches/unstripped:$PATH cargo build --release. Needs root, a C
compiler, nm. Nothing breaks when the list is old: a function that it does not name is placed as the linker likes.

The kernel maps a program sixteen pages at a time, when one of them is touched. What a start executes is half a
megabyte of eight; spread over all of them it costs five dozen such faults and four MiB, together it costs one dozen.
"""

import argparse
import bisect
import collections
import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parent / "crates/jaula/start.ld"


def executed(tracer, scratch, command, user=None):
    """The addresses that a command executes."""
    result = scratch / "result"
    result.touch()
    os.chmod(result, 0o666)
    lead = ["runuser", "-u", user, "--"] if user else []
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    # By itself first: what it makes and keeps is not made again when it is looked at. And beside it: a user's
    # session that nobody uses goes, and a new one needs a set-uid program, which has no power where it is looked at.
    over = threading.Event()

    def beside():
        while True:
            subprocess.run([*lead, *command], check=True, cwd="/", **quiet)
            if over.wait(5):
                return

    beside_it = threading.Thread(target=beside)
    subprocess.run([*lead, *command], check=True, cwd="/", **quiet)
    beside_it.start()
    try:
        subprocess.run([*lead, tracer, result, *command], check=True, cwd="/", **quiet)
    finally:
        over.set()
        beside_it.join()
    return {int(line, 16) for line in result.read_text().split()}


def functions(program):
    """(address, size, name) of each, sorted."""
    told = subprocess.run(["nm", "-S", "--defined-only", program], check=True, stdout=subprocess.PIPE, text=True)
    rows = [line.split() for line in told.stdout.splitlines()]
    return sorted((int(row[0], 16), int(row[1], 16), row[3]) for row in rows
                  if len(row) == 4 and row[2] in "tTiWw")


def members():
    """Which member of the C library defines a function."""
    library = subprocess.run(["cc", "-print-file-name=libc.a"], check=True, stdout=subprocess.PIPE, text=True)
    told = subprocess.run(["nm", "-A", "--defined-only", library.stdout.strip()], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout
    found = {}
    for line in told.splitlines():
        match = re.match(r"\S*libc\.a:(\S+?):\S* ([tTiWw]) (\S+)$", line)
        if match:
            found.setdefault(match[3], match[1])
    return found


def pattern(name):
    """The name of a Rust function without what changes from one build to the next; none for others."""
    if name.startswith("_ZN"):
        return re.sub(r"17h[0-9a-f]{16}E.*", "17h*", name)
    # Names of this form tell the types too.
    if name.startswith("_R"):
        return re.sub(r"\.(llvm\.)?\d+$", "*", re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name))
    return None


# Nobody asks it for anything: the image is there.
MIRROR = "http://mirror.invalid/debian"
# What may come along with what is executed because it has the same name but for the types, in bytes.
COMPANY = 8192


def exact(name):
    """The name of a function that is one of many for different types: with its hash, which stays while they stay."""
    return re.sub(r"(17h[0-9a-f]{16}E).*", r"\1*", name)


def chosen(names, table):
    """The patterns of those that are executed: as wide as they can be without bringing others along."""
    executed, all_of = collections.Counter(), collections.Counter()
    for _, size, name in table:
        if (found := pattern(name)) is not None:
            all_of[found] += size
            executed[found] += size if name in names else 0
    wide = {found for found in all_of if all_of[found] - executed[found] <= COMPANY}
    found = {(pattern(name), name) for name in names}
    return sorted({wider if wider in wide else exact(name) for wider, name in found if wider})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--user", help="look at this ordinary user's starts too")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="jaula-order-"))
    os.chmod(scratch, 0o755)
    try:
        tracer, program = scratch / "executed", scratch / "jaula"
        subprocess.run(["cc", "-O2", "-o", tracer, HERE / "executed.c"], check=True)
        shutil.copy(options.program, program)
        tree = scratch / "tree"
        for name in ("usr", "etc", "dev", "proc", "sys", "root", "tmp"):
            (tree / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64"):
            (tree / name).symlink_to(f"usr/{name}")
        archive = scratch / "true.tar"
        (tree / "usr/bin").mkdir()
        static = scratch / "true.c"
        static.write_text("int main(void) { return 0; }\n")
        subprocess.run(["cc", "-static", "-o", tree / "usr/bin/true", static], check=True)
        subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
        os.chmod(archive, 0o644)
        seen = set()
        keyring = scratch / "keyring.gpg"
        keyring.touch(0o644)
        for user in [None] + ([options.user] if options.user else []):
            own = scratch / (user or "root")
            own.mkdir()
            if user:
                shutil.chown(own, user)
            run = [program, "--store", own / "store", "run"]
            seen |= executed(tracer, scratch, [*run, archive, "--", "/bin/true"], user)
            # From now on it is what was made for this request too.
            image = next((own / "store/images").iterdir()).name
            words = ["1", "distro=debian", "suite=bookworm", "variant=minbase", f"mirror={MIRROR}", f'keyring="{keyring}"']
            request = ",".join(re.sub(r"[^A-Za-z0-9.+~:=-]", lambda other: f"%{ord(other[0]):02x}", word) for word in words)
            (own / "store/requests").mkdir(0o700, exist_ok=True)
            (own / "store/requests" / request).symlink_to(f"../images/{image}")
            if user:
                shutil.chown(own / "store/requests", user)
            asked = ["debian:bookworm", "--mirror", MIRROR, "--keyring", keyring]
            for rest in (asked,) if user else (asked, []):
                seen |= executed(tracer, scratch, [*run, *rest, "--", "/bin/true"], user)
        table = functions(program)
        starts = [row[0] for row in table]
        names = set()
        for at in seen:
            place = bisect.bisect_right(starts, at + 15) - 1
            if place >= 0 and at < table[place][0] + table[place][1]:
                # Functions that came out the same are one with several names.
                first = bisect.bisect_left(starts, table[place][0])
                names.update(row[2] for row in table[first:place + 1])
        home = members()
        ours = chosen(names, table)
        theirs = sorted({home[name] for name in names if pattern(name) is None and name in home})
        with open(SCRIPT, "w") as script:
            script.write("/* Written by benches/order.py: what the start of a jail executes, placed together. */\n")
            script.write("SECTIONS\n{\n  .text.start :\n  {\n    *(\n")
            # A function that is called once is called seldom, as the compiler sees it.
            script.writelines(f"      .text.{name}\n      .text.unlikely.{name}\n" for name in ours)
            script.write("    )\n")
            script.writelines(f"    *libc.a:{name}(.text .text.*)\n" for name in theirs)
            script.write("    *crt1.o(.text)\n")
            script.write("  }\n}\nINSERT BEFORE .text;\n")
        print(f"{len(names)} functions, {sum(row[1] for row in table if row[2] in names)} bytes")
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", "--", scratch], check=True)


if __name__ == "__main__":
    main()
