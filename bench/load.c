/*
 * Notifies as many mail servers would: the load.
 *
 *     load HOST PORT COUNT PARALLEL SOURCES SECONDS
 *
 * Makes COUNT TCP connections to HOST (127.0.0.1, or an address in
 * 2001:db8::/32 that is local), PARALLEL of them in flight, from SOURCES
 * addresses in turn. Each sends the line of RFC 4146, closes its side as the
 * RFC has it, and counts only once the listener has closed too: nothing is
 * called done that the listener has not taken. Any byte that comes back, and
 * any error, is a failure.
 *
 * Every source is in a network of its own, the widest a limiter looks at:
 * source k has 127.(1 + k / 256).(k % 256).1, or 2001:db8:(k + 1)::1.
 *
 * Prints: connections done, failed, and nanoseconds. Gives up after SECONDS.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24 /* linux/in.h */
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78 /* linux/in6.h */
#endif

static const char LINE[] = "nm_notifyuser\r\n";
enum { LENGTH = sizeof LINE - 1, MAX_PARALLEL = 4096, MAX_SOURCES = 65000, EVENTS = 256 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static union address target;
static socklen_t target_length;
static int poll;
static long sources, started, done, failed;

static long number(const char *text, long least, long most)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*end || end == text || value < least || value > most)
        errx(64, "%s: a number from %ld to %ld is needed", text, least, most);
    return value;
}

static long nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void parse_target(const char *host, long port)
{
    if (inet_pton(AF_INET, host, &target.v4.sin_addr) == 1) {
        target.v4.sin_family = AF_INET;
        target.v4.sin_port = htons((uint16_t)port);
        target_length = sizeof target.v4;
    } else if (inet_pton(AF_INET6, host, &target.v6.sin6_addr) == 1) {
        target.v6.sin6_family = AF_INET6;
        target.v6.sin6_port = htons((uint16_t)port);
        target_length = sizeof target.v6;
    } else {
        errx(64, "%s: a numeric address is needed", host);
    }
}

static void bind_source(int connection, long k)
{
    union address source = {.any.sa_family = target.any.sa_family};
    int yes = 1;

    if (source.any.sa_family == AF_INET) {
        source.v4.sin_addr.s_addr = htonl(0x7f010001u + ((uint32_t)k << 8));
    } else {
        uint8_t *octets = source.v6.sin6_addr.s6_addr;
        memcpy(octets, "\x20\x01\x0d\xb8", 4);
        octets[4] = (uint8_t)((k + 1) >> 8);
        octets[5] = (uint8_t)(k + 1);
        octets[15] = 1;
        /* The route makes these addresses local; no interface has them. */
        setsockopt(connection, IPPROTO_IPV6, IPV6_FREEBIND, &yes, sizeof yes);
    }
    /* The port is chosen by connect, which may reuse one for another target. */
    setsockopt(connection, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(connection, &source.any, target_length))
        err(71, "bind");
}

static void start(void)
{
    int connection = socket(target.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLOUT, .data.fd = connection};

    if (connection < 0)
        err(71, "socket");
    bind_source(connection, started++ % sources);
    if (connect(connection, &target.any, target_length) && errno != EINPROGRESS)
        err(71, "connect");
    if (epoll_ctl(poll, EPOLL_CTL_ADD, connection, &event))
        err(71, "epoll_ctl");
}

/* Say whether the connection is at its end, good or bad. */
static int advance(const struct epoll_event *event)
{
    int connection = event->data.fd;
    struct epoll_event closing = {.events = EPOLLIN, .data.fd = connection};
    char input;
    ssize_t got;

    if (event->events & EPOLLOUT) {
        if (send(connection, LINE, LENGTH, MSG_NOSIGNAL) == LENGTH && !shutdown(connection, SHUT_WR)) {
            epoll_ctl(poll, EPOLL_CTL_MOD, connection, &closing);
            return 0;
        }
        failed++;
    } else {
        got = recv(connection, &input, 1, 0);
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got == 0)
            done++;
        else
            failed++;
    }
    close(connection);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        errx(64, "usage: load HOST PORT COUNT PARALLEL SOURCES SECONDS");
    parse_target(argv[1], number(argv[2], 1, 65535));
    long count = number(argv[3], 1, 100000000);
    long parallel = number(argv[4], 1, MAX_PARALLEL);
    sources = number(argv[5], 1, MAX_SOURCES);
    long began = nanoseconds();
    long end = began + number(argv[6], 1, 3600) * 1000000000L;
    struct epoll_event events[EVENTS];

    poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0)
        err(71, "epoll_create1");
    while (started < count && started < parallel)
        start();
    while (done + failed < started && nanoseconds() < end) {
        int ready = epoll_wait(poll, events, EVENTS, 1000);
        for (int i = 0; i < ready; i++)
            if (advance(&events[i]) && started < count)
                start();
    }
    printf("%ld %ld %ld\n", done, failed + (started - done - failed), nanoseconds() - began);
    return 0;
}
