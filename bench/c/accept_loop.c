/*
 * The least that a program can do to receive notifications: the reference.
 *
 *     accept_loop
 *
 * It listens on 127.0.0.1 and prints its port. Until SIGTERM it takes each connection, reads,
 * compares with the line of RFC 4146, and closes. It has no limits, no accounts, no
 * subscribers, no sandbox and no deadline. The difference to the daemon is the cost of these.
 *
 * The socket has the same options as the daemon's (TCP_DEFER_ACCEPT, backlog), so that the
 * kernel does the same work for both. At the end it prints how many lines it took, and how many
 * connections sent anything else.
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
#include <unistd.h>

static const char LINE[] = "nm_notifyuser\r\n";
enum { LENGTH = sizeof LINE - 1, MAX_INPUT = LENGTH + 1, BACKLOG = 4096, DEFER_SECONDS = 1 };

static volatile sig_atomic_t stopped;

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

int main(void)
{
    struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART: epoll_wait must return */
    struct epoll_event event = {.events = EPOLLIN};
    unsigned long lines = 0, others = 0;
    char input[MAX_INPUT];

    sigaction(SIGTERM, &action, NULL);
    int listener = listen_on_loopback();
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event))
        err(71, "epoll");

    while (!stopped) {
        if (epoll_wait(poll, &event, 1, -1) < 0 && errno != EINTR)
            err(71, "epoll_wait");
        int connection;
        while ((connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
            ssize_t got = read(connection, input, sizeof input);
            if (got == LENGTH && memcmp(input, LINE, LENGTH) == 0)
                lines++;
            else
                others++;
            close(connection);
        }
    }
    printf("%lu %lu\n", lines, others);
    return 0;
}
