#!/bin/sh
# A shortcut of jaula's, there while packages are configured: dpkg-maintscript-helper(1) where it does nothing, because
# the package comes for the first time.

version() {
    case $1 in
    --) ;;
    [!0-9]* | *[!0-9A-Za-z.+~-]* | *-) return 1 ;;
    [0-9]*) ;;
    *) return 1 ;;
    esac
}

nothing() {
    [ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] && [ -z "$DPKG_ROOT$DPKG_DEBUG" ] || return
    case $1:$2 in
    rm_conffile:/*) version "$3" || return ;;
    mv_conffile:/*)
        case $3 in /*) version "$4" || return ;; *) return 1 ;; esac
        ;;
    symlink_to_dir:/*[!/] | dir_to_symlink:/*[!/])
        case $3 in '' | --) return 1 ;; *) version "$4" || return ;; esac
        # What an earlier version left half done, it would finish.
        if [ -e "$2.dpkg-backup" ] || [ -h "$2.dpkg-backup" ]; then return 1; fi
        ;;
    *) return 1 ;;
    esac
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
    # No version that was there before.
    case $DPKG_MAINTSCRIPT_NAME:$#:$2:$3 in
    preinst:2:install: | preinst:3:install: | postinst:2:configure: | postinst:3:configure:) ;;
    *) return 1 ;;
    esac
}

nothing "$@" && exit
exec /usr/bin/dpkg-maintscript-helper "$@"
