/* A command that leaves a chain behind: each link starts the next one and ends.

   comet FILE SECONDS HOP LINKS [s]

   FILE stays locked (flock) as long as a link lives, and gets one byte a hop. HOP is the
   life of a link in microseconds. LINKS chains run at once. Each link makes itself a group
   of its own; with "s" also a session of its own. The links ignore SIGTERM. Every chain ends by itself
   after SECONDS, or as soon as no process can be started.

   Of all chains together at most UNREAPED links have ended and are not reaped yet. The
   machine may permit only some thousands of processes, and other tests need theirs. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { UNREAPED = 512 };

/* The numbers of the last links of a chain. Each link has a copy of the one before. */
static pid_t last[UNREAPED];

/* Wait until the oldest of these links is reaped, and put this one in its place. */
static void take_turn(long hops, int room) {
    pid_t *place = &last[hops % room];
    while (*place > 0 && kill(*place, 0) == 0) sched_yield();
    *place = getpid();
}

int main(int count, char **words) {
    if (count < 5) return 64;
    int file = open(words[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0 || flock(file, LOCK_SH)) return 71;
    time_t end = time(NULL) + atoi(words[2]);
    int hop = atoi(words[3]), links = atoi(words[4]), session = count > 5;
    signal(SIGTERM, SIG_IGN);
    for (int link = 0; link < links; link++) {
        if (fork() != 0) continue;
        close(1);
        close(2);
        for (long hops = 0; time(NULL) < end; hops++) {
            take_turn(hops, UNREAPED / links);
            pid_t next = fork();
            if (next != 0) _exit(0);
            if (session) setsid(); else setpgid(0, 0);
            if (write(file, ".", 1) < 0) _exit(0);
            if (hop) usleep(hop);
        }
        _exit(0);
    }
    struct stat written = {0};
    while (written.st_size == 0 && time(NULL) < end)
        if (usleep(1000) || fstat(file, &written)) return 71;
    return 0;
}
