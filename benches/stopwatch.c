/* stopwatch: runs one command and writes one line: wall nanoseconds, CPU microseconds and peak KiB
 * (of the command and all it waited for) and its wait status. A small program of its own, because
 * what forks from a large one is charged with the large one's memory and start-up time.
 *
 *   stopwatch RESULT PROGRAM [ARGUMENT...]
 *
 * Build: cc -O2 -static -o stopwatch stopwatch.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 3)
        return 125;
    FILE *result = fopen(argv[1], "we");
    if (!result) {
        fprintf(stderr, "stopwatch: %s: %s\n", argv[1], strerror(errno));
        return 125;
    }
    struct timespec start, end;
    struct rusage usage;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &start);
    pid_t child = vfork();
    if (child < 0)
        return 125;
    if (child == 0) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    while (wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {}
    clock_gettime(CLOCK_MONOTONIC, &end);
    long long wall = (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec;
    long long cpu = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL
                  + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    fprintf(result, "%lld %lld %ld %d\n", wall, cpu, usage.ru_maxrss, status);
    return fclose(result) == 0 ? 0 : 125;
}
