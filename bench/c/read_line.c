/*
 * The program that socat and xinetd execute for each connection. It does as little as possible.
 *
 *     read_line LINES OTHERS
 *
 * It reads from standard input what a connection sent and compares it with the line of RFC 4146.
 * It appends one byte to the file LINES, or to OTHERS. The sizes of the files are the counts. It
 * has no limits, no deadline and no subscribers.
 */

#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char LINE[] = "nm_notifyuser\r\n";
enum { LENGTH = sizeof LINE - 1, MAX_INPUT = LENGTH + 1 };

int main(int argc, char **argv)
{
    char input[MAX_INPUT];

    if (argc != 3)
        errx(64, "usage: read_line LINES OTHERS");
    ssize_t got = read(STDIN_FILENO, input, sizeof input);
    int is_line = got == LENGTH && memcmp(input, LINE, LENGTH) == 0;
    int file = open(argv[is_line ? 1 : 2], O_WRONLY | O_APPEND);
    if (file < 0 || write(file, "", 1) != 1)
        err(71, "cannot count");
    return 0;
}
