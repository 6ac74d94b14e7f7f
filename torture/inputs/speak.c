/*
 * Says prepared inputs to a daemon: whole, in pieces, with each way to end.
 *
 *     speak tcp HOST PORT AT_ONCE SECONDS
 *     speak udp HOST PORT AT_ONCE SECONDS
 *     speak unix PATH AT_ONCE SECONDS
 *     speak datagrams PATH SECONDS
 *
 * It reads the inputs from its standard input, as torture/inputs/speaking.py packs them. AT_ONCE of
 * them are in flight. A connection sends one piece, and the next one when all others had their
 * turn. So the daemon may read between two pieces. Then it ends as its input says:
 *
 *     FINISHES  closes its side, and waits until the daemon has closed too
 *     LEAVES    closes at once; over TCP with a reset
 *     STAYS     waits until the daemon closes
 *
 * A datagram over UDP waits until no more than AT_ONCE wait in the queue of the daemon's socket, so
 * that the kernel drops none. What the kernel dropped at that socket is printed all the same.
 *
 * For each input it writes three numbers of 64 bits to its standard output: when it began, when it
 * ended, and how (enum end). Times are of CLOCK_MONOTONIC, in nanoseconds.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include "address.h"
#include "common.h"

enum { MOST_AT_ONCE = 4096, EVENTS = 256, FINISHES = 0, LEAVES = 1, STAYS = 2 };

/* How an input ended: as it should, with a byte that came back, refused, or not in time. */
enum end { CLOSED, ANSWERED, REFUSED, UNFINISHED };

struct input {
    uint32_t source; /* an IPv4 address; 0: any */
    uint8_t ends;
    uint8_t pieces;
    const uint8_t *lengths; /* 32 bits each, in the order of this machine */
    const uint8_t *data;
};

struct talk {
    long input;
    int sock;
    unsigned piece;
    uint32_t sent; /* of this piece */
    const uint8_t *next;
};

struct result {
    int64_t began, ended, how;
};

static struct input *inputs;
static struct result *results;
static long count, started, finished;
static int poll;
static union address target;
static struct sockaddr_un path = {.sun_family = AF_UNIX};
static sa_family_t family;

static uint32_t length(const struct input *input, unsigned piece)
{
    uint32_t value;

    memcpy(&value, input->lengths + 4 * piece, sizeof value);
    return value;
}

static const uint8_t *parse(const uint8_t *at, const uint8_t *end, struct input *input)
{
    size_t size = 0;

    if (end - at < 6)
        errx(65, "an input that is cut off");
    memcpy(&input->source, at, 4);
    input->ends = at[4];
    input->pieces = at[5];
    input->lengths = at + 6;
    input->data = input->lengths + 4 * input->pieces;
    for (unsigned piece = 0; piece < input->pieces && input->data <= end; piece++)
        size += length(input, piece);
    if (input->data > end || size > (size_t)(end - input->data))
        errx(65, "an input that is cut off");
    return input->data + size;
}

static void read_inputs(void)
{
    size_t size = 0, room = 1 << 20;
    uint8_t *all = malloc(room);
    ssize_t got;

    while (all && (got = read(0, all + size, room - size)) > 0)
        if ((size += (size_t)got) == room)
            all = realloc(all, room *= 2);
    if (!all)
        err(71, "memory");
    inputs = malloc((size / 6 + 1) * sizeof *inputs);
    results = calloc(size / 6 + 1, sizeof *results);
    if (!inputs || !results)
        err(71, "memory");
    for (const uint8_t *at = all; at < all + size; count++)
        at = parse(at, all + size, &inputs[count]);
}

static void write_results(void)
{
    for (long i = 0; i < count; i++)
        if (!results[i].ended)
            results[i].how = UNFINISHED;
    if (fwrite(results, sizeof *results, (size_t)count, stdout) != (size_t)count)
        err(74, "the results");
}

static int begin_tcp(const struct input *input)
{
    int sock = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(input->source)};

    if (sock < 0)
        err(71, "socket");
    setsockopt(sock, IPPROTO_TCP, 1 /* TCP_NODELAY */, &yes, sizeof yes);
    setsockopt(sock, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (input->source && bind(sock, (struct sockaddr *)&from, sizeof from))
        err(71, "bind");
    if (!connect(sock, &target.any, length_of(&target)) || errno == EINPROGRESS)
        return sock;
    close(sock);
    return -1;
}

static int begin_unix(void)
{
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (sock < 0)
        err(71, "socket");
    /* It waits while the queue of the daemon is full. */
    if (connect(sock, (struct sockaddr *)&path, sizeof path))
        err(69, "%s", path.sun_path);
    fcntl(sock, F_SETFL, O_NONBLOCK);
    return sock;
}

static void begin(struct talk *talk)
{
    const struct input *input = &inputs[started];
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = talk};

    results[started].began = nanoseconds();
    /* Each address has some 28,000 ports. If the kernel still holds all, time gives them back. */
    while ((talk->sock = family == AF_UNIX ? begin_unix() : begin_tcp(input)) < 0) {
        if (errno != EADDRNOTAVAIL)
            err(69, "connect");
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    talk->input = started++;
    talk->piece = talk->sent = 0;
    talk->next = input->data;
    if (epoll_ctl(poll, EPOLL_CTL_ADD, talk->sock, &event))
        err(71, "epoll_ctl");
}

static void end(struct talk *talk, enum end how)
{
    struct linger reset = {.l_onoff = 1};

    if (family != AF_UNIX && how == CLOSED && inputs[talk->input].ends == LEAVES)
        setsockopt(talk->sock, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(talk->sock);
    results[talk->input].ended = nanoseconds();
    results[talk->input].how = how;
    finished++;
    if (started < count)
        begin(talk);
}

/* The daemon has closed, or has sent what it must not send. */
static void hear(struct talk *talk)
{
    char input;
    ssize_t got = recv(talk->sock, &input, 1, 0);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got > 0)
        end(talk, ANSWERED);
    else
        end(talk, got < 0 && errno != ECONNRESET && errno != EPIPE ? REFUSED : CLOSED);
}

/* All pieces are sent: end as the input says. */
static void conclude(struct talk *talk)
{
    struct epoll_event closing = {.events = EPOLLIN, .data.ptr = talk};

    if (inputs[talk->input].ends == LEAVES) {
        end(talk, CLOSED);
        return;
    }
    if (inputs[talk->input].ends == FINISHES)
        shutdown(talk->sock, SHUT_WR);
    epoll_ctl(poll, EPOLL_CTL_MOD, talk->sock, &closing);
}

/* Send one piece, or what there is room for. */
static void say(struct talk *talk)
{
    const struct input *input = &inputs[talk->input];
    uint32_t rest;
    ssize_t got;

    if (talk->piece < input->pieces) {
        rest = length(input, talk->piece) - talk->sent;
        got = send(talk->sock, talk->next, rest, MSG_NOSIGNAL);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got < 0) { /* the daemon has closed before the end of the input */
            hear(talk);
            return;
        }
        talk->next += got;
        talk->sent += (uint32_t)got;
        if (talk->sent < length(input, talk->piece))
            return;
        talk->sent = 0;
        if (++talk->piece < input->pieces)
            return;
    }
    conclude(talk);
}

static void converse(long at_once, long limit)
{
    static struct talk talks[MOST_AT_ONCE];
    struct epoll_event events[EVENTS];

    poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0)
        err(71, "epoll_create1");
    for (long i = 0; i < at_once && started < count; i++)
        begin(&talks[i]);
    while (finished < count && nanoseconds() < limit) {
        int ready = epoll_wait(poll, events, EVENTS, 1000);
        for (int i = 0; i < ready; i++)
            if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                hear(events[i].data.ptr);
            else
                say(events[i].data.ptr);
    }
}

/* Return the bytes that wait at the daemon's UDP socket, and how many datagrams it has lost. */
static long queued(long *drops)
{
    const char *name = family == AF_INET ? "/proc/net/udp" : "/proc/net/udp6";
    unsigned port = ntohs(family == AF_INET ? target.v4.sin_port : target.v6.sin6_port), found;
    unsigned long bytes;
    char line[512];
    long waiting = -1;
    FILE *file = fopen(name, "re");

    if (!file)
        err(71, "%s", name);
    while (fgets(line, sizeof line, file)) {
        /* proc(5): "sl: local:port remote:port st tx:rx ..."; the last word is the drops. */
        if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %*x %*x:%lx", &found, &bytes) != 2
            || found != port)
            continue;
        for (char *end = strchr(line, '\0'); end > line && strchr(" \n", end[-1]);)
            *--end = '\0';
        waiting = (long)bytes;
        *drops = strtol(strrchr(line, ' '), NULL, 10);
    }
    fclose(file);
    return waiting;
}

static void send_datagram(int sock, const struct input *input)
{
    struct iovec text = {(void *)input->data, input->pieces ? length(input, 0) : 0};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo)),
                            .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO}};
    struct in_pktinfo from = {.ipi_spec_dst.s_addr = htonl(input->source)};
    struct msghdr message = {.msg_name = &target, .msg_namelen = length_of(&target),
                             .msg_iov = &text, .msg_iovlen = 1};

    if (input->source) {
        memcpy(CMSG_DATA(&control.header), &from, sizeof from);
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    if (sendmsg(sock, &message, 0) < 0)
        err(71, "sendmsg");
}

/* Send so many datagrams, wait until the daemon has taken them all, and go on. */
static void send_datagrams(long at_once, long limit)
{
    int sock = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    long before = 0, after = 0, ended;

    if (sock < 0)
        err(71, "socket");
    if (queued(&before) < 0)
        errx(69, "no socket has this port");
    while (finished < count && nanoseconds() < limit) {
        while (started < count && started - finished < at_once) {
            results[started].began = nanoseconds();
            send_datagram(sock, &inputs[started++]);
        }
        /* Each turn asks the kernel, which takes longer than the daemon needs for a datagram. */
        while (queued(&after) > 0 && nanoseconds() < limit)
            sched_yield();
        for (ended = nanoseconds(); finished < started; finished++)
            results[finished].ended = ended;
    }
    fprintf(stderr, "%ld\n", after - before);
}

static void send_locally(long limit)
{
    int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (sock < 0 || connect(sock, (struct sockaddr *)&path, sizeof path))
        err(69, "%s", path.sun_path);
    for (; started < count && nanoseconds() < limit; started++) {
        const struct input *input = &inputs[started];
        results[started].began = nanoseconds();
        /* It waits while the queue is full: the kernel drops nothing here. */
        if (send(sock, input->data, input->pieces ? length(input, 0) : 0, 0) < 0)
            err(71, "send");
        results[started].ended = nanoseconds();
    }
}

static void aim(char **words, int local)
{
    if (!local) {
        target = parse_address(words[0], number(words[1], 1, 65535));
        family = target.any.sa_family;
        return;
    }
    if (strlen(words[0]) >= sizeof path.sun_path)
        errx(64, "%s: too long a path", words[0]);
    strcpy(path.sun_path, words[0]);
    family = AF_UNIX;
}

int main(int words, char **word)
{
    int tcp = words == 6 && !strcmp(word[1], "tcp"), udp = words == 6 && !strcmp(word[1], "udp");
    int stream = words == 5 && !strcmp(word[1], "unix");
    int datagrams = words == 4 && !strcmp(word[1], "datagrams");

    if (!tcp && !udp && !stream && !datagrams)
        errx(64, "usage: see torture/inputs/speak.c");
    aim(word + 2, stream || datagrams);
    long limit = nanoseconds() + number(word[words - 1], 1, 3600) * 1000000000L;
    long at_once = datagrams ? 1 : number(word[words - 2], 1, MOST_AT_ONCE);
    read_inputs();
    if (tcp || stream)
        converse(at_once, limit);
    else if (udp)
        send_datagrams(at_once, limit);
    else
        send_locally(limit);
    write_results();
    return 0;
}
