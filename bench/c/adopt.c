/*
 * Runs a program that starts a process for each connection, and waits for all of them.
 *
 *     adopt PROGRAM [WORD]...
 *
 * It prints the process number of PROGRAM. A descendant whose parent has ended becomes a child of
 * this process, which waits for it. The kernel adds the CPU time of a child to the process that
 * waits for it. So the CPU time of PROGRAM and all its descendants is in two accounts: that of
 * PROGRAM and that of this process.
 *
 * It ends when no descendant is left. SIGTERM is passed on to PROGRAM.
 */

#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t program;

static void pass_on(int number)
{
    kill(program, number);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};

    if (argc < 2)
        errx(64, "usage: adopt PROGRAM [WORD]...");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L))
        err(71, "prctl");
    program = fork();
    if (program < 0)
        err(71, "fork");
    if (program == 0) {
        execvp(argv[1], argv + 1);
        err(71, "%s", argv[1]);
    }
    sigaction(SIGTERM, &action, NULL);
    printf("%d\n", (int)program);
    fclose(stdout); /* PROGRAM holds it too; a reader must not wait for the end of PROGRAM */
    while (wait(NULL) > 0 || errno == EINTR)
        continue;
    return 0;
}
