/*
 * Subscribers that read what they are told: the load of a fan-out.
 *
 *     subscribers SOCKET CALL COUNT MESSAGES
 *
 * It connects COUNT times to the Unix socket SOCKET, writes CALL and a NUL byte each time, and
 * prints "ready" once all are answered. Then it reads until MESSAGES messages have come in all,
 * each ended by a NUL byte, or until SIGTERM. It prints how many came.
 */

#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common.h"

enum { EVENTS = 64, MAX_COUNT = 1024 };

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static int subscribe(const char *path, const char *call)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int subscriber = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof address.sun_path)
        errx(64, "%s: too long", path);
    strcpy(address.sun_path, path);
    if (subscriber < 0 || connect(subscriber, (struct sockaddr *)&address, sizeof address)
        || send(subscriber, call, strlen(call) + 1, MSG_NOSIGNAL) < 0)
        err(71, "%s", path);
    return subscriber;
}

/* Returns how many messages ended in the bytes that were read. */
static long read_messages(int subscriber)
{
    char buffer[1 << 16];
    long ended = 0;
    ssize_t got = recv(subscriber, buffer, sizeof buffer, 0);

    if (got <= 0)
        errx(71, "a subscription has ended");
    for (char *at = buffer; (at = memchr(at, '\0', (size_t)(buffer + got - at))); at++)
        ended++;
    return ended;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART: epoll_wait must return */
    struct epoll_event events[EVENTS];
    long messages = 0;

    if (argc != 5)
        errx(64, "usage: subscribers SOCKET CALL COUNT MESSAGES");
    long count = number(argv[3], 1, MAX_COUNT);
    long expected = number(argv[4], 1, 1000000000);
    sigaction(SIGTERM, &action, NULL);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    for (long i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = subscribe(argv[1], argv[2])};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event))
            err(71, "epoll");
        if (read_messages(event.data.fd) != 1)
            errx(71, "not the one answer that was expected");
    }
    puts("ready");
    fflush(stdout);
    while (!stopped && messages < expected) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++)
            messages += read_messages(events[i].data.fd);
    }
    printf("%ld\n", messages);
    return 0;
}
