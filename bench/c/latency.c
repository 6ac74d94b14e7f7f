/*
 * Measures how long a notification takes. It is both the sender and the subscriber.
 *
 *     latency HOST PORT SOCKET CALL SAMPLES FIRST SOURCES PAUSE SECONDS
 *
 * It connects to the Unix socket SOCKET, writes CALL and a NUL byte, unless CALL is empty, and
 * waits for an answer. Then it takes SAMPLES samples. For each it connects to HOST (IPv4) and
 * PORT from the next of SOURCES sources, beginning with number FIRST (address.h). It sends the
 * line of RFC 4146, closes, and reads messages from the Unix socket, each ended by a NUL byte,
 * until one names the source. Between two samples it sleeps PAUSE microseconds, so that a source
 * sends again only after SOURCES times that. It waits at most SECONDS for each of these, and
 * begins no sample after SECONDS in all.
 *
 * For each sample it prints how many nanoseconds connect() took, how many passed from its return
 * until the message had come, and 1. For a lost one it prints how many passed until it was given
 * up, and 0.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "common.h"

enum { MAX_SAMPLES = 1000000, MAX_PAUSE = 1000000, MAX_SECONDS = 3600 };

static union address target;
static long seconds;
static char messages[1 << 16]; /* read from the subscriber's socket, not yet examined */
static size_t held;

static int subscribe(const char *path, const char *call)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = seconds};
    int subscriber = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof address.sun_path)
        errx(64, "%s: too long", path);
    strcpy(address.sun_path, path);
    if (subscriber < 0 || connect(subscriber, (struct sockaddr *)&address, sizeof address)
        || setsockopt(subscriber, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
        err(71, "%s", path);
    if (*call && send(subscriber, call, strlen(call) + 1, MSG_NOSIGNAL) < 0)
        err(71, "%s", path);
    return subscriber;
}

/* Reads the next message into `message`. Returns 0 if none came in time. */
static int next_message(int subscriber, char *message)
{
    char *end;

    while (!(end = memchr(messages, '\0', held))) {
        ssize_t got = recv(subscriber, messages + held, sizeof messages - held, 0);
        if (got == 0)
            errx(71, "the subscription has ended");
        if (got < 0)
            return 0;
        held += (size_t)got;
    }
    size_t length = (size_t)(end - messages) + 1;
    memcpy(message, messages, length);
    held -= length;
    memmove(messages, messages + length, held);
    return 1;
}

static int names(const char *message, const char *host)
{
    const char *found = strstr(message, host);

    return found && !isdigit((unsigned char)found[strlen(host)]);
}

/* Waits for a message that names the source. Returns 0 if none came in time. */
static int told(int subscriber, const char *host)
{
    static char message[sizeof messages];
    long end = nanoseconds() + seconds * 1000000000L;

    while (next_message(subscriber, message) && nanoseconds() < end)
        if (names(message, host))
            return 1;
    return 0;
}

static void sample(int subscriber, long k)
{
    struct timeval patience = {.tv_sec = seconds};
    union address from = source(AF_INET, k);
    char text[INET_ADDRSTRLEN];
    int yes = 1, connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connection < 0
        || setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience)
        || setsockopt(connection, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes)
        || bind(connection, &from.any, length_of(&from)))
        err(71, "a socket for source %ld", k);
    inet_ntop(AF_INET, &from.v4.sin_addr, text, sizeof text);
    long began = nanoseconds();
    int good = connect(connection, &target.any, length_of(&target)) == 0;
    long connected = nanoseconds();
    good = good && send(connection, LINE, LENGTH, MSG_NOSIGNAL) == LENGTH;
    close(connection);
    good = good && told(subscriber, text);
    printf("%ld %ld %d\n", connected - began, nanoseconds() - connected, good);
}

int main(int argc, char **argv)
{
    if (argc != 10)
        errx(64, "usage: latency HOST PORT SOCKET CALL SAMPLES FIRST SOURCES PAUSE SECONDS");
    target = parse_address(argv[1], number(argv[2], 1, 65535));
    if (target.any.sa_family != AF_INET)
        errx(64, "%s: an IPv4 address is needed", argv[1]);
    long samples = number(argv[5], 1, MAX_SAMPLES);
    long first = number(argv[6], 0, MAX_SOURCES - 1);
    long sources = number(argv[7], 1, MAX_SOURCES - first);
    struct timespec pause = {.tv_nsec = number(argv[8], 0, MAX_PAUSE - 1) * 1000};
    seconds = number(argv[9], 1, MAX_SECONDS);
    int subscriber = subscribe(argv[3], argv[4]);
    static char answer[sizeof messages];

    if (!next_message(subscriber, answer))
        errx(71, "the subscription is not answered");
    long end = nanoseconds() + seconds * 1000000000L;
    for (long k = 0; k < samples && nanoseconds() < end; k++) {
        sample(subscriber, first + k % sources);
        nanosleep(&pause, NULL);
    }
    return 0;
}
