/*
 * Runs a program many times, one run after another, and says what all of them cost.
 *
 *     repeat COUNT PROGRAM [WORD]...
 *
 * It prints the nanoseconds of CPU time, user and system, of the average run, the most resident
 * memory of a run in KiB, the nanoseconds that all runs took, and the number of runs that did not
 * end with 0. This program is small. A process that it starts has at first the memory of its
 * parent, and the kernel remembers the most that a process had.
 */

#define _GNU_SOURCE
#include <err.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static long long now(void)
{
    struct timespec time;

    if (clock_gettime(CLOCK_MONOTONIC, &time))
        err(71, "clock_gettime");
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long nanoseconds(struct timeval time)
{
    return time.tv_sec * 1000000000LL + time.tv_usec * 1000LL;
}

int main(int argc, char **argv, char **environment)
{
    long long spent = 0, began;
    long most = 0, failed = 0, count, run;

    if (argc < 3 || (count = atol(argv[1])) < 1)
        errx(64, "usage: repeat COUNT PROGRAM [WORD]...");
    began = now();
    for (run = 0; run < count; run++) {
        struct rusage usage;
        int status;
        pid_t pid;

        if (posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, environment))
            errx(71, "%s cannot be started", argv[2]);
        if (wait4(pid, &status, 0, &usage) != pid)
            err(71, "wait4");
        spent += nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
        if (usage.ru_maxrss > most)
            most = usage.ru_maxrss;
        failed += status != 0;
    }
    printf("%lld %ld %lld %ld\n", spent / count, most, now() - began, failed);
    return 0;
}
