/*
 * The addresses of the sources, by number.
 *
 * Each of the first 65,000 is in a network of its own, of the widest length that a limiter uses:
 * source k has 127.(1 + k / 256).(k % 256).1, or 2001:db8:(k + 1)::1. The next ones are in the
 * same networks again, each time with another host (127.x.y.2) or another narrow network
 * (2001:db8:(k + 1):1::1). With IPV4_FIRST the IPv4 sources begin at another address, for hosts
 * apart: 127.0.0.0/8 never leaves a host.
 */

#ifndef ADDRESS_H
#define ADDRESS_H

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPV4_FIRST
#define IPV4_FIRST 0x7f010001u
#endif
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24 /* linux/in.h */
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78 /* linux/in6.h */
#endif

enum { NETWORKS = 65000, MAX_SOURCES = 250 * NETWORKS };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static inline socklen_t length_of(const union address *address)
{
    return address->any.sa_family == AF_INET ? sizeof address->v4 : sizeof address->v6;
}

static inline union address parse_address(const char *host, long port)
{
    union address address = {0};

    if (inet_pton(AF_INET, host, &address.v4.sin_addr) == 1) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons((uint16_t)port);
    } else if (inet_pton(AF_INET6, host, &address.v6.sin6_addr) == 1) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons((uint16_t)port);
    } else {
        errx(64, "%s: a numeric address is needed", host);
    }
    return address;
}

static inline union address source(sa_family_t family, long k)
{
    union address address = {.any.sa_family = family};
    uint32_t network = (uint32_t)(k % NETWORKS), again = (uint32_t)(k / NETWORKS);
    uint8_t *octets = address.v6.sin6_addr.s6_addr;

    if (family == AF_INET) {
        address.v4.sin_addr.s_addr = htonl(IPV4_FIRST + (network << 8) + again);
        return address;
    }
    memcpy(octets, "\x20\x01\x0d\xb8", 4);
    octets[4] = (uint8_t)((network + 1) >> 8);
    octets[5] = (uint8_t)(network + 1);
    octets[7] = (uint8_t)again;
    octets[15] = 1;
    return address;
}

/* Let a socket send from IPv6 addresses that no interface has and that only a route makes local. */
static inline void free_bind(int sock, sa_family_t family)
{
    int yes = 1;

    if (family == AF_INET6 && setsockopt(sock, IPPROTO_IPV6, IPV6_FREEBIND, &yes, sizeof yes))
        err(71, "IPV6_FREEBIND");
}

/* Connect from source k without waiting for the result. Return -1 if it was refused at once. */
static inline int connect_from(const union address *target, long k)
{
    sa_family_t family = target->any.sa_family;
    union address from = source(family, k);
    int connection = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int yes = 1;

    if (connection < 0)
        err(71, "socket");
    free_bind(connection, family);
    /* connect chooses the port; it may use the same port for several targets. */
    setsockopt(connection, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(connection, &from.any, length_of(&from)))
        err(71, "bind");
    if (connect(connection, &target->any, length_of(target)) && errno != EINPROGRESS) {
        close(connection);
        return -1;
    }
    return connection;
}

#endif
