#!/bin/sh
# The second stage of a tree that jaula unpacked under the name of debootstrap: its packages are configured by its own
# dpkg. To be run in the tree, as root, where its programs can run.
set -e
export LC_ALL=C DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=/debootstrap
# What jaula left to do here: the scripts that run first, in their order.
note=/var/lib/jaula/unfinished

if [ "$1" != --second-stage ] || [ $# -ne 1 ]; then
    echo "E: this is the second stage only: $0 --second-stage"
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "E: debootstrap can only run as root"
    exit 1
fi
if [ ! -e /proc/self/stat ]; then
    if mount -t proc proc /proc; then
        trap 'umount /proc' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM
    else
        echo "W: /proc is not mounted"
    fi
fi

log=$here/debootstrap.log
said() {
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$log"
        case $line in
        'Setting up '*)
            line=${line#Setting up }
            echo "I: Configuring ${line%% *}..."
            ;;
        esac
    done
}

echo "I: Installing core packages..."
while IFS=' ' read -r word package arch name; do
    [ "$word" = preinst ] && [ -n "$name" ] || continue
    [ ! -e "$here/done.$name" ] || continue
    export DPKG_MAINTSCRIPT_PACKAGE="$package" DPKG_MAINTSCRIPT_ARCH="$arch" DPKG_MAINTSCRIPT_NAME=preinst
    export DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DEBCONF_PACKAGE="$package"
    if ! "/var/lib/dpkg/info/$name.preinst" install >>"$log" 2>&1 </dev/null; then
        echo "E: The preinst script of $package failed: see $log"
        exit 1
    fi
    : >"$here/done.$name"
done <"$note"
unset DPKG_MAINTSCRIPT_PACKAGE DPKG_MAINTSCRIPT_ARCH DPKG_MAINTSCRIPT_NAME DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT
unset DPKG_ADMINDIR DPKG_ROOT DEBCONF_PACKAGE

echo "I: Configuring required packages..."
{
    dpkg --configure --pending 2>&1 </dev/null || echo "jaula: dpkg $?"
} | said
if grep -q '^jaula: dpkg ' "$log"; then
    grep -v '^jaula: dpkg ' "$log" >"$log.kept"
    mv "$log.kept" "$log"
    echo "E: Failure while configuring packages: see $log"
    exit 1
fi
mkdir -p /var/log
mv "$log" /var/log/bootstrap.log
rm -rf "$here" "$note"
rmdir /var/lib/jaula 2>/dev/null || true
echo "I: Base system installed successfully."
