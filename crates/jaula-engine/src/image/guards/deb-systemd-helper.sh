#!/bin/sh
# A shortcut of jaula's, there while packages are configured: deb-systemd-helper(1p) without Perl where it does nothing.
state=/var/lib/systemd/deb-systemd
if [ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] && [ -z "$DPKG_ROOT$_DEB_SYSTEMD_HELPER_DEBUG" ]; then
    case $#:$1:$2:$3 in
    *[!A-Za-z0-9:@._-]*) ;;
    2:unmask:[!-]*)
        # Only what it masked before is unmasked, and these would say so.
        [ -e $state-helper-masked ] || [ -e $state-user-helper-masked ] || exit 0
        ;;
    3:--quiet:was-enabled:[!-]*)
        # A unit that it does not know of counts as enabled.
        [ -e "$state-helper-enabled/$3.dsh-also" ] || exit 0
        ;;
    esac
fi
exec /usr/bin/deb-systemd-helper "$@"
