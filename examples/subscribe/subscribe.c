/* Be told of new mail in C, with nothing but libc.
 *
 * Usage: subscribe [COUNT]     ends after COUNT notifications, or with the daemon
 *
 * This program does not parse JSON. It relies on how mailbelld writes (docs/embedding.md):
 *  - each reply ends with a NUL byte, and is shorter than the buffer below;
 *  - there is no white space outside of strings;
 *  - a reply has "account" exactly if it has a notification, and no string can look
 *    like "account": an account's name has the characters of NAME only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char CALL[] =
    "{\"method\":\"org.mailbell.Listener.Subscribe\",\"parameters\":{},\"more\":true}";
static const char ACCOUNT[] = "\"account\":\"", ERROR[] = "\"error\":\"";
static const char NAME[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-";

static int complain(const char *what)
{
    fprintf(stderr, "subscribe: %s\n", what);
    return 69; /* EX_UNAVAILABLE of sysexits.h */
}

/* Connects and calls. The NUL that ends the string also ends the message. */
static int subscribe(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == -1 ||
        send(fd, CALL, sizeof CALL, MSG_NOSIGNAL) != (ssize_t)sizeof CALL) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Prints the account in a reply. Returns 1 if there is one, 0 if not, -1 for an error. */
static int tell(const char *reply)
{
    const char *name = strstr(reply, ACCOUNT);

    if (strstr(reply, ERROR) != NULL)
        return -1;
    if (name == NULL)
        return 0;
    name += strlen(ACCOUNT);
    printf("%.*s\n", (int)strspn(name, NAME), name);
    fflush(stdout);
    return 1;
}

int main(int argc, char **argv)
{
    const char *path = getenv("MAILBELL_SOCKET");
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0, number = 0;
    char buffer[4096], *end;
    size_t held = 0;
    ssize_t got;
    int told, fd = subscribe(path != NULL ? path : "/run/mailbell/mailbell.sock");

    if (fd == -1)
        return complain("no daemon");
    while ((got = read(fd, buffer + held, sizeof buffer - held)) > 0) {
        held += (size_t)got;
        while ((end = memchr(buffer, '\0', held)) != NULL) {
            if ((told = tell(buffer)) == -1)
                return complain("the daemon refused");
            number += told;
            if (told == 1 && number == count)
                return 0;
            held -= (size_t)(end + 1 - buffer);
            memmove(buffer, end + 1, held);
        }
        if (held == sizeof buffer)
            return complain("a reply that is too long");
    }
    return complain("the daemon is gone");
}
