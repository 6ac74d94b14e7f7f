/*
 * Sends notifications as many mail servers do: the load.
 *
 *     load HOST PORT COUNT PARALLEL SOURCES SECONDS [TIMES]
 *
 * It makes COUNT TCP connections to HOST (127.0.0.1, or a local address in 2001:db8::/32),
 * PARALLEL of them in flight, from SOURCES addresses in turn. Each sends the line of RFC 4146 and
 * closes its side, as the RFC demands. It counts only once the listener has closed too, so that
 * the listener has taken everything that counts. A byte that comes back is a failure, and so is
 * any error.
 *
 * Each of the first 65,000 sources is in a network of its own (address.h).
 *
 * With TIMES each source calls so often in a row. It prints the connections done, those that failed,
 * those of them that the listener reset, and nanoseconds. It gives up after SECONDS.
 */

#define _GNU_SOURCE
#include <stdio.h>
#include <sys/epoll.h>

#include "address.h"
#include "common.h"

enum { MAX_PARALLEL = 4096, EVENTS = 256 };

static union address target;
static int poll;
static long sources, times = 1, started, done, failed, reset;

static void start(void)
{
    int connection = connect_from(&target, started++ / times % sources);
    struct epoll_event event = {.events = EPOLLOUT, .data.fd = connection};

    if (connection < 0)
        err(71, "connect");
    if (epoll_ctl(poll, EPOLL_CTL_ADD, connection, &event))
        err(71, "epoll_ctl");
}

static void fail(const char *step)
{
    /* A listener that closes without reading resets; EPIPE and ENOTCONN tell that it has done so. */
    if (errno == ECONNRESET || errno == EPIPE || errno == ENOTCONN)
        reset++;
    if (!failed++)
        warn("the first that failed: %s", step);
}

/* Return whether the connection is done or has failed. */
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
        fail("connect or send");
    } else {
        got = recv(connection, &input, 1, 0);
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got == 0)
            done++;
        else
            fail(got < 0 ? "recv" : "a byte came back");
    }
    close(connection);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 7 && argc != 8)
        errx(64, "usage: load HOST PORT COUNT PARALLEL SOURCES SECONDS [TIMES]");
    target = parse_address(argv[1], number(argv[2], 1, 65535));
    long count = number(argv[3], 1, 100000000);
    long parallel = number(argv[4], 1, MAX_PARALLEL);
    sources = number(argv[5], 1, MAX_SOURCES);
    long began = nanoseconds();
    long end = began + number(argv[6], 1, 3600) * 1000000000L;
    struct epoll_event events[EVENTS];
    if (argc == 8)
        times = number(argv[7], 1, 1000);

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
    printf("%ld %ld %ld %ld\n", done, started - done, reset, nanoseconds() - began);
    return 0;
}
