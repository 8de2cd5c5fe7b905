//! What mmdebstrap is told to print.

/// The release whose options are understood. Scripts compare the line, so that nothing else is in it.
pub const VERSION: &str = "mmdebstrap 1.4.0\n";

/// How the manual writes the tool's words.
const MANUAL_SYNOPSIS: &str = "mmdebstrap [OPTION...] [*SUITE* [*TARGET* [*MIRROR*...]]]";

/// `--help`
pub fn help() -> String {
    format!(
        "Usage:\n    mmdebstrap [OPTION...] [SUITE [TARGET [MIRROR...]]]\n\nOptions:\n{OPTIONS}"
    )
}

/// `--man`
pub fn man() -> String {
    format!(
        "NAME\n    mmdebstrap - make a Debian root file system, as jaula does it\n\nSYNOPSIS\n    {MANUAL_SYNOPSIS}\n\n\
         DESCRIPTION\n{DESCRIPTION}\nOPTIONS\n{OPTIONS}"
    )
}

const DESCRIPTION: &str = "\
    Make a root file system of SUITE from signed packages and write it to TARGET: a directory, an archive, an image,
    or standard output (-, the default). A MIRROR is an address, a line of sources.list(5), a file of such lines or
    stanzas, or - for standard input; without one, the archive that the host or jaula's table knows is used, with
    updates and security updates.

    Packages are chosen by jaula's own solver and unpacked once; their scripts run in a jail. An ordinary user works
    as root of his own subordinate identifiers; without any, whose files are is recorded and restored in archives and
    images, unless --mode=unshare is given.

";

const OPTIONS: &str = "\
    -h,--help               print the options and exit
    --man                   print this manual and exit
    --version               print the version and exit
    --variant=NAME          extract, custom, essential, apt, required, minbase, buildd, important, debootstrap, -,
                            standard
    --mode=NAME             auto, sudo, root, unshare, fakeroot, fakechroot: one way for all of them; chrootless is
                            refused
    --format=FORMAT         auto, directory, dir, tar, squashfs, sqfs, ext2, ext4, null
    --aptopt=OPTION|FILE    an option for apt in the tree; recommendations and proxies hold for the build too
    --keyring=FILE|DIR      keys that may sign
    --dpkgopt=OPTION|FILE   an option for dpkg in the tree; path-exclude and path-include hold for the build too
    --include=PKG[,...]     also these: NAME[:ARCH][=VERSION][/SUITE], or a package file
    --components=C[,...]    components of mirrors that are addresses (main)
    --architectures=A[,...] the architecture, and foreign ones
    --simulate, --dry-run   choose packages and make nothing
    --setup-hook=COMMAND    run when the tree has its directories; with the tree as its argument
    --extract-hook=COMMAND  run when packages are unpacked
    --essential-hook=COMMAND
                            run when the essential packages are there
    --customize-hook=COMMAND
                            run when everything is there
    --hook-directory=DIR    every executable there, by the stage its name begins with
    --skip=WHAT[,...]       leave out: check/empty, check/qemu, check/signed-by
    -q,--quiet,-s,--silent  say nothing but errors
    -v,--verbose            say what scripts say
    -d,--debug              say what is decided
    --logfile=FILE          say it there

    A hook that begins with copy-in, copy-out, sync-in, sync-out, tar-in, tar-out, upload or download moves files
    between the host and the tree.
";
