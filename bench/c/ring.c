/*
 * The least that a program can do to send notifications: the reference.
 *
 *     ring SOCKET PORT
 *
 * It listens on the Unix socket SOCKET and prints "ready". Until SIGTERM it takes one connection
 * after another, and reads lines "new aN" until its end. For each it connects to host number N
 * (127.1.0.0 and N) and PORT, sends the line of RFC 4146, and closes. It has no limits, no
 * accounts but these, no back-off, no deadline and no sandbox, and a host that does not answer
 * stops it. The difference to mailbell-sender is the cost of these.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common.h"

enum { BACKLOG = 4096, MAX_HOSTS = 65536 };

static long port;

static void ring(const char *line)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int sock;

    if (strncmp(line, "new a", 5))
        errx(65, "%s: no line of the benchmark", line);
    address.sin_addr.s_addr = htonl(0x7f010000u + (uint32_t)number(line + 5, 0, MAX_HOSTS - 1));
    sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof address)
        || send(sock, LINE, LENGTH, MSG_NOSIGNAL) != LENGTH)
        err(71, "%s", line);
    close(sock);
}

static void serve(int connection)
{
    char buffer[1025];
    size_t held = 0;
    ssize_t got;

    while ((got = read(connection, buffer + held, sizeof buffer - 1 - held)) > 0) {
        char *line = buffer, *end;
        buffer[held += (size_t)got] = '\0';
        while ((end = strchr(line, '\n'))) {
            *end = '\0';
            ring(line);
            line = end + 1;
        }
        held -= (size_t)(line - buffer);
        memmove(buffer, line, held);
    }
}

int main(int count, char **words)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (count != 3 || strlen(words[1]) >= sizeof address.sun_path)
        errx(64, "ring SOCKET PORT");
    port = number(words[2], 1, 65535);
    strcpy(address.sun_path, words[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address)
        || listen(listener, BACKLOG))
        err(71, "%s", words[1]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            err(71, "accept4");
        serve(connection);
        close(connection);
    }
}
