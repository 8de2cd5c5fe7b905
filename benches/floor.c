/* floor: the least work that isolates a program. clone3 with the namespaces asked for, private
 * mounts, a bind of the root, a fresh proc (and /dev when asked), pivot_root, exec; nothing else:
 * no seccomp, no capability set, no id range, no terminal, no init.
 *
 *   floor FLAGS ROOT PROGRAM [ARGUMENT...]
 *
 * FLAGS: m mount, u uts, i ipc, p pid, n network, C control group, U user namespace (the caller's
 * ids become 0), d a tmpfs on /dev with the usual nodes and devpts, o an overlay in memory over the
 * root, k a read-only sysfs and the paths of proc and sysfs that a jail hides or makes read-only.
 * With '-' nothing is isolated; 'muipnCUdok' are the namespaces and mounts of a jail.
 * ROOT needs directories proc and dev. Build: cc -O2 -static -o floor floor.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
        _exit(125);
    }
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    must(fd, path);
    must((int)write(fd, text, strlen(text)), path);
    close(fd);
}

/* What bubblewrap's --dev makes: nodes bound from the host, links, devpts, shm. */
static void make_dev(void)
{
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    char from[64], to[64];
    must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755"), "tmpfs on dev");
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        snprintf(from, sizeof from, "/dev/%s", nodes[i]);
        snprintf(to, sizeof to, "dev/%s", nodes[i]);
        int fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        must(fd, to);
        close(fd);
        must(mount(from, to, NULL, MS_BIND, NULL), to);
    }
    must(symlink("/proc/self/fd", "dev/fd"), "dev/fd");
    must(symlink("/proc/self/fd/0", "dev/stdin"), "dev/stdin");
    must(symlink("/proc/self/fd/1", "dev/stdout"), "dev/stdout");
    must(symlink("/proc/self/fd/2", "dev/stderr"), "dev/stderr");
    must(mkdir("dev/shm", 01777), "dev/shm");
    must(mkdir("dev/pts", 0755), "dev/pts");
    must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
               "newinstance,ptmxmode=0666,mode=0620"), "devpts");
    must(symlink("pts/ptmx", "dev/ptmx"), "dev/ptmx");
}

static const char *const hidden[] = {
    "proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats",
    "proc/sched_debug", "proc/scsi", "proc/timer_list", "proc/timer_stats",
    "sys/devices/virtual/powercap", "sys/firmware",
};
static const char *const frozen[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};

/* A tmpfs that holds what is written, and what paths are hidden under. */
static void make_overlay(const char *root)
{
    char options[128];
    int lower = open(root, O_PATH | O_DIRECTORY);
    must(lower, root);
    must(mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"), "tmpfs on /tmp");
    must(mkdir("/tmp/u", 0755) | mkdir("/tmp/w", 0700) | mkdir("/tmp/m", 0755) | mkdir("/tmp/d", 0555), "mkdir");
    int fd = open("/tmp/f", O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    must(fd, "/tmp/f");
    close(fd);
    snprintf(options, sizeof options, "lowerdir=/proc/self/fd/%d,upperdir=/tmp/u,workdir=/tmp/w,userxattr", lower);
    must(mount("overlay", "/tmp/m", "overlay", MS_NODEV, options), "overlay");
    must(chdir("/tmp/m"), "/tmp/m");
    close(lower);
}

/* The paths that tell of, or reach into, the whole machine; those that are not there are passed over. */
static void hide(void)
{
    struct stat stat_of;
    const unsigned long kept = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    must(mount("sysfs", "sys", "sysfs", kept | MS_RDONLY, NULL), "sysfs");
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (stat(hidden[i], &stat_of) == 0)
            must(mount(S_ISDIR(stat_of.st_mode) ? "/tmp/d" : "/tmp/f", hidden[i], NULL, MS_BIND, NULL), hidden[i]);
    for (size_t i = 0; i < sizeof frozen / sizeof *frozen; i++) {
        if (mount(frozen[i], frozen[i], NULL, MS_BIND, NULL) < 0)
            continue;
        must(mount(NULL, frozen[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | kept, NULL), frozen[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: floor FLAGS ROOT PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    const char *flags = argv[1], *root = argv[2];
    uint64_t spaces = 0;
    int want_dev = 0, want_overlay = 0, want_hidden = 0;
    for (const char *flag = flags; *flag; flag++) {
        switch (*flag) {
        case '-': break;
        case 'm': spaces |= CLONE_NEWNS; break;
        case 'u': spaces |= CLONE_NEWUTS; break;
        case 'i': spaces |= CLONE_NEWIPC; break;
        case 'p': spaces |= CLONE_NEWPID; break;
        case 'n': spaces |= CLONE_NEWNET; break;
        case 'C': spaces |= CLONE_NEWCGROUP; break;
        case 'U': spaces |= CLONE_NEWUSER; break;
        case 'd': want_dev = 1; break;
        case 'o': want_overlay = 1; break;
        case 'k': want_hidden = 1; break;
        default: fprintf(stderr, "floor: no flag %c\n", *flag); return 125;
        }
    }
    char uid_map[32], gid_map[32];
    snprintf(uid_map, sizeof uid_map, "0 %u 1", (unsigned)geteuid());
    snprintf(gid_map, sizeof gid_map, "0 %u 1", (unsigned)getegid());

    struct clone_args args = {.flags = spaces, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &args, sizeof args);
    must((int)child, "clone3");
    if (child == 0) {
        if (spaces & CLONE_NEWUSER) {
            put("/proc/self/setgroups", "deny");
            put("/proc/self/uid_map", uid_map);
            put("/proc/self/gid_map", gid_map);
        }
        if (spaces & CLONE_NEWNS) {
            must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
            if (want_overlay) {
                make_overlay(root);
            } else {
                must(mount(root, root, NULL, MS_BIND | MS_REC, NULL), root);
                must(chdir(root), root);
            }
            if (spaces & CLONE_NEWPID)
                must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
            if (want_dev)
                make_dev();
            if (want_hidden)
                hide();
            must((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
            must(umount2(".", MNT_DETACH), "umount of the old root");
            must(chdir("/"), "/");
        }
        execv(argv[3], argv + 3);
        fprintf(stderr, "floor: %s: %s\n", argv[3], strerror(errno));
        _exit(127);
    }
    int status;
    while (waitpid((pid_t)child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
