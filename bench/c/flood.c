/*
 * Sends as fast as it can, and does not wait for the listener.
 *
 *     flood tcp|udp HOST PORT FIRST SOURCES COUNT SECONDS line|garbage|silent [PER_SECOND]
 *
 * It sends COUNT messages (0: without end) for at most SECONDS, from the sources FIRST to
 * FIRST + SOURCES - 1 in turn (address.h). PER_SECOND limits the rate, if it is given. A message
 * is the line of RFC 4146, or garbage that resembles it closely. Over TCP a message is a
 * connection that sends these bytes, or that sends nothing (silent).
 *
 * A connection is reset as soon as its place is needed for another, however far the listener has
 * come with it. So no port stays in use, and the flood waits for no connection.
 *
 * It prints "begins" once it has sent something. At the end it prints the messages sent (silent:
 * the connections begun), those that could not be sent, and nanoseconds. SIGTERM ends it early.
 */

#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "address.h"
#include "common.h"

enum { PLACES = 256, BATCH = 64 };

/* The line with a wrong last byte; its length is right. */
static const char GARBAGE[] = "nm_notifyuser\r?";
_Static_assert(sizeof GARBAGE == sizeof LINE, "garbage is as long as the line");

static volatile sig_atomic_t stopped;

static union address target;
static int udp;
static const char *message; /* NULL: silent */
static long first, sources, count, limit, per_second;

static long started, sent, failed;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static long next_source(void)
{
    return first + started++ % sources;
}

struct place {
    int connection;
    int said;
};

static void say(struct place *place)
{
    if (!place->said && message)
        place->said = send(place->connection, message, LENGTH, MSG_NOSIGNAL) == LENGTH;
}

static void leave(struct place *place)
{
    struct linger reset = {.l_onoff = 1};

    if (place->connection < 0)
        return;
    say(place); /* if connect had to wait, it had all the time until now */
    if (place->said || !message)
        sent++;
    else
        failed++;
    setsockopt(place->connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(place->connection);
    place->connection = -1;
}

static void begin(struct place *place)
{
    place->said = 0;
    place->connection = connect_from(&target, next_source());
    if (place->connection < 0)
        failed++;
    else
        say(place);
}

static void connect_batch(struct place *places, long batch)
{
    while (batch--) {
        struct place *place = &places[started % PLACES];

        leave(place);
        begin(place);
    }
}

/* A datagram, with its source address (ip(7), ipv6(7)). */
struct datagram {
    struct iovec text;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    } control;
};

static void address(struct msghdr *header, struct datagram *datagram)
{
    union address from = source(target.any.sa_family, next_source());
    struct in_pktinfo v4 = {.ipi_spec_dst = from.v4.sin_addr};
    struct in6_pktinfo v6 = {.ipi6_addr = from.v6.sin6_addr};
    int old = target.any.sa_family == AF_INET;
    size_t length = old ? sizeof v4 : sizeof v6;

    datagram->text = (struct iovec){(char *)message, LENGTH};
    *header = (struct msghdr){
        .msg_name = &target, .msg_namelen = length_of(&target),
        .msg_iov = &datagram->text, .msg_iovlen = 1,
        .msg_control = &datagram->control, .msg_controllen = CMSG_SPACE(length),
    };
    datagram->control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(length),
        .cmsg_level = old ? IPPROTO_IP : IPPROTO_IPV6,
        .cmsg_type = old ? IP_PKTINFO : IPV6_PKTINFO,
    };
    memcpy(CMSG_DATA(&datagram->control.header), old ? (void *)&v4 : (void *)&v6, length);
}

static void send_batch(int sock, long batch)
{
    struct mmsghdr headers[BATCH];
    struct datagram datagrams[BATCH];

    for (long i = 0; i < batch; i++)
        address(&headers[i].msg_hdr, &datagrams[i]);
    for (long done = 0; done < batch;) {
        int taken = sendmmsg(sock, headers + done, (unsigned)(batch - done), 0);

        sent += taken > 0 ? taken : 0;
        failed += taken > 0 ? 0 : 1;
        done += taken > 0 ? taken : 1;
    }
}

static int datagram_socket(void)
{
    int sock = socket(target.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (sock < 0)
        err(71, "socket");
    free_bind(sock, target.any.sa_family);
    return sock;
}

/* Wait until this many messages are due. */
static void pace(long began)
{
    long due = per_second ? (long)((double)started * 1e9 / (double)per_second) : 0;
    long pause = began + due - nanoseconds();

    if (per_second && pause > 0)
        nanosleep(&(struct timespec){pause / 1000000000L, pause % 1000000000L}, NULL);
}

/* Return how many messages the next batch has; 0: all were sent. */
static long batch(long began)
{
    long left = count ? count - started : BATCH;

    if (stopped || nanoseconds() - began >= limit)
        return 0;
    return left < BATCH ? left : BATCH;
}

static void parse(char **words, int rated)
{
    udp = !strcmp(words[0], "udp");
    if (!udp && strcmp(words[0], "tcp"))
        errx(64, "%s: tcp or udp is needed", words[0]);
    target = parse_address(words[1], number(words[2], 1, 65535));
    first = number(words[3], 0, MAX_SOURCES - 1);
    sources = number(words[4], 1, MAX_SOURCES - first);
    count = number(words[5], 0, 1000000000);
    limit = number(words[6], 1, 3600) * 1000000000L;
    message = !strcmp(words[7], "line") ? LINE : !strcmp(words[7], "garbage") ? GARBAGE : NULL;
    if (!message && (udp || strcmp(words[7], "silent")))
        errx(64, "%s: line, garbage or, with tcp, silent is needed", words[7]);
    per_second = rated ? number(words[8], 1, 1000000000) : 0;
}

/* Print once that something was sent. On a busy processor that may take long. */
static void announce(void)
{
    static int announced;

    if (!announced++) {
        puts("begins");
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = stop};
    struct place places[PLACES];

    if (argc != 9 && argc != 10)
        errx(64, "usage: flood tcp|udp HOST PORT FIRST SOURCES COUNT SECONDS"
                 " line|garbage|silent [PER_SECOND]");
    parse(argv + 1, argc == 10);
    sigaction(SIGTERM, &action, NULL);
    for (int i = 0; i < PLACES; i++)
        places[i].connection = -1;
    int sock = udp ? datagram_socket() : -1;
    long began = nanoseconds();

    for (long next; (next = batch(began)) > 0; pace(began)) {
        if (udp)
            send_batch(sock, next);
        else
            connect_batch(places, next);
        if (sent)
            announce();
    }
    for (int i = 0; i < PLACES; i++)
        leave(&places[i]);
    announce();
    printf("%ld %ld %ld\n", sent, failed, nanoseconds() - began);
    return 0;
}
