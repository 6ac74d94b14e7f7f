/*
 * Makes connections that end in any way: what a listener does with each is measured.
 *
 *     ends HOST PORT COUNT PARALLEL FIRST SOURCES SECONDS HEX END
 *
 * It makes COUNT TCP connections to HOST, PARALLEL of them at once, from the sources FIRST to
 * FIRST + SOURCES - 1 in turn (address.h). Each sends the bytes HEX, which may be none, and then, as
 * END says:
 *
 *     fin     closes its side, and waits until the listener has closed too
 *     reset   resets the connection, and waits for nothing
 *     wait    keeps its side open until the listener closes
 *     late    after 10 ms sends what HEX lacks of the line of RFC 4146; then as fin
 *
 * It prints the connections that ended so, those that could not be made or were answered, and
 * nanoseconds. It gives up after SECONDS.
 */

#define _GNU_SOURCE
#include <stdio.h>
#include <sys/epoll.h>

#include "address.h"
#include "common.h"

enum { MAX_PARALLEL = 4096, EVENTS = 256, MAX_TEXT = 64, LATE = 10000000 };

static union address target;
static int poll;
static char text[MAX_TEXT];
static size_t length;
static const char *end_of;
static long first, sources, started, ended, failed;

/* Those whose line is not complete, the oldest first; never more than are open. */
static struct {
    int connection;
    long due;
} unfinished[MAX_PARALLEL];
static long put, taken;

static int says(const char *word)
{
    return !strcmp(end_of, word);
}

static void watch(int connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = connection};

    if (epoll_ctl(poll, operation, connection, &event))
        err(71, "epoll_ctl");
}

static void start(void)
{
    int connection = connect_from(&target, first + started++ % sources);

    if (connection < 0)
        failed++;
    else
        watch(connection, EPOLL_CTL_ADD, EPOLLOUT);
}

static void leave(int connection, int well)
{
    *(well ? &ended : &failed) += 1;
    close(connection);
}

/* Close this side. A listener that has closed already needs no telling. */
static void finish(int connection)
{
    shutdown(connection, SHUT_WR);
    watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void reset(int connection)
{
    struct linger none = {.l_onoff = 1};

    setsockopt(connection, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    leave(connection, 1);
}

/* Say the text. Return whether the connection is over. */
static int say(int connection)
{
    if (send(connection, text, length, MSG_NOSIGNAL) < 0 && errno != ECONNRESET && errno != EPIPE) {
        leave(connection, 0);
        return 1;
    }
    if (says("reset")) {
        reset(connection);
        return 1;
    }
    if (says("late")) {
        unfinished[put % MAX_PARALLEL].connection = connection;
        unfinished[put++ % MAX_PARALLEL].due = nanoseconds() + LATE;
        watch(connection, EPOLL_CTL_MOD, 0);
    } else if (says("fin")) {
        finish(connection);
    } else {
        watch(connection, EPOLL_CTL_MOD, EPOLLIN);
    }
    return 0;
}

/* Complete the lines that are due. Return milliseconds until the next one; -1: there is none. */
static int complete(void)
{
    while (taken < put) {
        long left = unfinished[taken % MAX_PARALLEL].due - nanoseconds();
        int connection = unfinished[taken % MAX_PARALLEL].connection;
        if (left > 0)
            return (int)(left / 1000000) + 1;
        send(connection, LINE + length, LENGTH - length, MSG_NOSIGNAL);
        finish(connection);
        taken++;
    }
    return -1;
}

/* Return whether the connection is over. */
static int advance(const struct epoll_event *event)
{
    char input;
    ssize_t got;

    if (event->events & EPOLLOUT)
        return say(event->data.fd);
    got = recv(event->data.fd, &input, 1, 0);
    if (got < 0 && errno == EAGAIN)
        return 0;
    /* A listener that closes with bytes unread resets. */
    leave(event->data.fd, got == 0 || (got < 0 && errno == ECONNRESET));
    return 1;
}

static void parse_text(const char *hex)
{
    for (; hex[0] && hex[1] && length < MAX_TEXT; hex += 2) {
        char byte[] = {hex[0], hex[1], 0};
        text[length++] = (char)strtol(byte, NULL, 16);
    }
    if (*hex || (says("late") && length >= LENGTH))
        errx(64, "pairs of hexadecimal digits are needed, for at most %d bytes", MAX_TEXT);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];

    if (argc != 10)
        errx(64, "usage: ends HOST PORT COUNT PARALLEL FIRST SOURCES SECONDS HEX END");
    target = parse_address(argv[1], number(argv[2], 1, 65535));
    long count = number(argv[3], 1, 100000000);
    long parallel = number(argv[4], 1, MAX_PARALLEL);
    first = number(argv[5], 0, MAX_SOURCES - 1);
    sources = number(argv[6], 1, MAX_SOURCES - first);
    long began = nanoseconds(), end = began + number(argv[7], 1, 3600) * 1000000000L;
    end_of = argv[9];
    if (!says("fin") && !says("reset") && !says("wait") && !says("late"))
        errx(64, "%s: fin, reset, wait or late is needed", end_of);
    parse_text(argv[8]);
    poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0)
        err(71, "epoll_create1");
    while (started < count && started < parallel)
        start();
    while (ended + failed < started && nanoseconds() < end) {
        int pause = complete();
        int ready = epoll_wait(poll, events, EVENTS, pause < 0 ? 1000 : pause);
        for (int i = 0; i < ready; i++)
            if (advance(&events[i]) && started < count)
                start();
    }
    printf("%ld %ld %ld\n", ended, started - ended, nanoseconds() - began);
    return 0;
}
