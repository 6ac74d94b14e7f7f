/*
 * The hosts that get notifications: every IPv4 loopback address, on one port.
 *
 *     sink
 *
 * It prints its port. Until SIGTERM it takes each connection, reads, compares with the line of
 * RFC 4146, and closes. On SIGUSR1 it prints how many lines it took so far, and how many
 * connections brought anything else. At the end it prints for each line, in order, the
 * nanosecond of the monotonic clock at which it was read, and the address that was called as a
 * number.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { MAX_LINES = 1000000, BACKLOG = 4096 };

static struct {
    long when;
    uint32_t address;
} taken[MAX_LINES];

static volatile sig_atomic_t stopped, asked;

static void note(int number)
{
    if (number == SIGUSR1)
        asked = 1;
    else
        stopped = 1;
}

static int listen_on_every_loopback_address(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    /* Without this option it could be reached from the network. */
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3)
        || bind(listener, (struct sockaddr *)&address, sizeof address)
        || listen(listener, BACKLOG)
        || getsockname(listener, (struct sockaddr *)&address, &length))
        err(71, "cannot listen");
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(void)
{
    struct sigaction action = {.sa_handler = note};
    struct timeval patience = {.tv_sec = 10};
    unsigned long lines = 0, others = 0;
    char input[64];

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    /* Signals are taken in ppoll only, so none is overlooked and no read is interrupted. */
    sigset_t signals, none;
    sigemptyset(&none);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    struct pollfd poll = {.fd = listen_on_every_loopback_address(), .events = POLLIN};

    while (!stopped) {
        struct sockaddr_in called;
        socklen_t length = sizeof called;
        int connection;

        if (ppoll(&poll, 1, NULL, &none) < 0 && errno != EINTR)
            err(71, "ppoll");
        while ((connection = accept4(poll.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
            setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            ssize_t got = read(connection, input, sizeof input);
            if (got == LENGTH && memcmp(input, LINE, LENGTH) == 0 && lines < MAX_LINES
                && getsockname(connection, (struct sockaddr *)&called, &length) == 0) {
                taken[lines].when = nanoseconds();
                taken[lines++].address = ntohl(called.sin_addr.s_addr);
            } else {
                others++;
            }
            close(connection);
        }
        if (asked) {
            asked = 0;
            printf("%lu %lu\n", lines, others);
            fflush(stdout);
        }
    }
    for (unsigned long line = 0; line < lines; line++)
        printf("%ld %u\n", taken[line].when, taken[line].address);
    return 0;
}
