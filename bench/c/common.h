/* Functions that every program here uses. */

#ifndef COMMON_H
#define COMMON_H

#include <err.h>
#include <stdlib.h>
#include <time.h>

static const char LINE[] = "nm_notifyuser\r\n";
enum { LENGTH = sizeof LINE - 1 };

static inline long number(const char *text, long least, long most)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*end || end == text || value < least || value > most)
        errx(64, "%s: a number from %ld to %ld is needed", text, least, most);
    return value;
}

static inline long nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

#endif
