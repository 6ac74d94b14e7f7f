/*
 * The least that a program can do to pass notifications on: the reference for latency.
 *
 *     forward SOCKET
 *
 * It listens on 127.0.0.1 and prints its port. Until SIGTERM it takes each connection, reads,
 * compares with the line of RFC 4146, and closes. It writes the line, with the source's address
 * in it, and a NUL byte to all clients of its Unix socket SOCKET. It greets each new client with
 * a NUL byte. It has no limits, no accounts, no sandbox and no deadline. A client that does not
 * read delays all others.
 *
 * Its TCP socket has the same options as the daemon's. At the end it prints how many lines it
 * took, and how many connections sent anything else.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char LINE[] = "nm_notifyuser\r\n";
enum { LENGTH = sizeof LINE - 1, MAX_INPUT = LENGTH + 1, BACKLOG = 4096, DEFER_SECONDS = 1 };
enum { SUBSCRIBERS = 64, EVENTS = 2, BATCH = 64 };

static volatile sig_atomic_t stopped;
static unsigned long lines, others;
static int subscribers[SUBSCRIBERS];
static int subscribed;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static int listen_on_loopback(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int seconds = DEFER_SECONDS;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (listener < 0
        || setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds)
        || bind(listener, (struct sockaddr *)&address, sizeof address)
        || listen(listener, BACKLOG)
        || getsockname(listener, (struct sockaddr *)&address, &length))
        err(71, "cannot listen");
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static int listen_on_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof address.sun_path)
        errx(64, "%s: too long", path);
    strcpy(address.sun_path, path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address)
        || listen(listener, SUBSCRIBERS))
        err(71, "%s", path);
    return listener;
}

static void accept_subscribers(int listener)
{
    int subscriber;

    while ((subscriber = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        if (subscribed < SUBSCRIBERS && send(subscriber, "", 1, MSG_NOSIGNAL) == 1)
            subscribers[subscribed++] = subscriber;
        else
            close(subscriber);
}

static void tell(const struct sockaddr_in *source)
{
    char text[INET_ADDRSTRLEN], message[64];

    inet_ntop(AF_INET, &source->sin_addr, text, sizeof text);
    int length = snprintf(message, sizeof message, "nm_notifyuser %s\r\n", text) + 1;
    for (int i = 0; i < subscribed; i++)
        if (send(subscribers[i], message, (size_t)length, MSG_NOSIGNAL) != length) {
            close(subscribers[i]);
            subscribers[i--] = subscribers[--subscribed];
        }
}

/* Takes one batch at most, so that new subscribers also have a turn. */
static void accept_senders(int listener)
{
    struct sockaddr_in source;
    socklen_t size = sizeof source;
    char input[MAX_INPUT];

    for (int i = 0; i < BATCH; i++) {
        int connection = accept4(listener, (struct sockaddr *)&source, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (connection < 0)
            return;
        ssize_t got = read(connection, input, sizeof input);
        close(connection);
        if (got == LENGTH && memcmp(input, LINE, LENGTH) == 0) {
            lines++;
            tell(&source);
        } else {
            others++;
        }
        size = sizeof source;
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART: epoll_wait must return */
    struct epoll_event events[EVENTS];

    if (argc != 2)
        errx(64, "usage: forward SOCKET");
    sigaction(SIGTERM, &action, NULL);
    int local = listen_on_path(argv[1]);
    int network = listen_on_loopback();
    struct epoll_event for_local = {.events = EPOLLIN, .data.fd = local};
    struct epoll_event for_network = {.events = EPOLLIN, .data.fd = network};
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, local, &for_local)
        || epoll_ctl(poll, EPOLL_CTL_ADD, network, &for_network))
        err(71, "epoll");

    while (!stopped) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            err(71, "epoll_wait");
        for (int i = 0; i < ready; i++)
            if (events[i].data.fd == local)
                accept_subscribers(local);
            else
                accept_senders(network);
    }
    printf("%lu %lu\n", lines, others);
    return 0;
}
