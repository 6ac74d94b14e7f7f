/*
 * Runs a program that starts a process for each connection, and loses none of them.
 *
 *     adopt PROGRAM [WORD]...
 *
 * Prints the process id of PROGRAM. Whichever of its descendants is left by its parent
 * becomes a child of this process, which waits for it: the kernel adds the CPU time of
 * every child that was waited for to the account of who waited. So what PROGRAM and all
 * that came of it took stands in two accounts, PROGRAM's and this one's.
 *
 * Ends when there is no descendant any more. SIGTERM is passed on to PROGRAM.
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
    fclose(stdout); /* PROGRAM holds it too, and must not keep a reader waiting */
    while (wait(NULL) > 0 || errno == EINTR)
        continue;
    return 0;
}
