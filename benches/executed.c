/* executed: runs a command one instruction at a time and writes the addresses that it executed, sixteen bytes to a
 * line, without those of the programs that it starts. For order.py.
 *
 *   executed RESULT PROGRAM [ARGUMENT...]
 *
 * Build: cc -O2 -o executed executed.c
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

/* The program is linked at a fixed place below this. */
#define END 0x2000000UL

static unsigned char seen[END >> 4];

int main(int argc, char **argv)
{
    if (argc < 3)
        return 125;
    pid_t first = fork();
    if (first < 0)
        return 125;
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[2], argv + 2);
        _exit(127);
    }
    int status, code = 125;
    if (waitpid(first, &status, 0) < 0 || !WIFSTOPPED(status))
        return 125;
    ptrace(PTRACE_SETOPTIONS, first, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK
           | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
    ptrace(PTRACE_SINGLESTEP, first, 0, 0);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (pid == first && WIFEXITED(status))
            code = WEXITSTATUS(status);
        if (!WIFSTOPPED(status))
            continue;
        int signal = WSTOPSIG(status), event = status >> 16;
        if (signal == SIGTRAP && event == PTRACE_EVENT_EXEC) {
            ptrace(PTRACE_DETACH, pid, 0, 0);
            continue;
        }
        if (signal == SIGTRAP && event == 0) {
            unsigned long at = (unsigned long)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
            if (at < END)
                seen[at >> 4] = 1;
        }
        ptrace(PTRACE_SINGLESTEP, pid, 0, signal == SIGTRAP || signal == SIGSTOP ? 0 : signal);
    }
    FILE *result = fopen(argv[1], "we");
    if (!result)
        return 125;
    for (unsigned long i = 0; i < END >> 4; i++)
        if (seen[i])
            fprintf(result, "%lx\n", i << 4);
    return fclose(result) == 0 ? code : 125;
}
