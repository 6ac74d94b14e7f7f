/*
 * Sends TCP packets that belong to no connection: half-open ones, or resets.
 *
 *     raw HOST PORT FIRST SOURCES PER_SECOND syn|rst
 *
 * The packets come from the sources FIRST to FIRST + SOURCES - 1 in turn. Source k has the address
 * 172.16.0.1 + 10 k, to which no host answers: a half-open connection stays half open until the
 * listener's kernel gives it up. FIRST also decides the ports and the sequence numbers.
 *
 * It prints "begins" once it has sent something. SIGTERM ends it. Then it prints the packets that
 * were sent, those that the kernel refused, and nanoseconds.
 */

#define _GNU_SOURCE
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>

#include "address.h"
#include "common.h"

enum { BATCH = 64, STEP = 10, MOST = 104857, ANY_PORT = 1024, PORTS = 64000 };
static const uint32_t RAW_FIRST = 0xac100001u;

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

struct packet {
    struct iphdr ip;
    struct tcphdr tcp;
};

/* The checksum of RFC 9293, section 3.1, over the pseudo header too. */
static uint16_t checksum(const struct packet *packet)
{
    struct {
        uint32_t from, to;
        uint16_t protocol, length;
        struct tcphdr tcp;
    } summed = {packet->ip.saddr, packet->ip.daddr, htons(IPPROTO_TCP), htons(sizeof packet->tcp),
                packet->tcp};
    uint16_t words[sizeof summed / 2];
    uint32_t sum = 0;

    memcpy(words, &summed, sizeof summed);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        sum += words[i];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void fill(struct packet *packet, const union address *target, long source, long sent, int syn)
{
    /* Multiplied by an odd number, all sequence numbers differ for 2^32 packets. */
    uint32_t sequence = (uint32_t)sent * 2654435761u;

    *packet = (struct packet){
        .ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
               .saddr = htonl(RAW_FIRST + (uint32_t)source * STEP),
               .daddr = target->v4.sin_addr.s_addr},
        .tcp = {.source = htons((uint16_t)(ANY_PORT + sent % PORTS)), .dest = target->v4.sin_port,
                .seq = htonl(sequence), .doff = 5, .window = htons(1024)},
    };
    packet->tcp.syn = syn ? 1 : 0;
    packet->tcp.rst = syn ? 0 : 1;
    packet->tcp.check = checksum(packet);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = stop};
    struct packet packets[BATCH];
    struct iovec texts[BATCH];
    struct mmsghdr headers[BATCH] = {0};
    long sent = 0, refused = 0;

    if (argc != 7 || (strcmp(argv[6], "syn") && strcmp(argv[6], "rst")))
        errx(64, "usage: raw HOST PORT FIRST SOURCES PER_SECOND syn|rst");
    union address target = parse_address(argv[1], number(argv[2], 1, 65535));
    long first = number(argv[3], 0, MAX_SOURCES), sources = number(argv[4], 1, MOST);
    long per_second = number(argv[5], 1, 1000000000);
    int syn = !strcmp(argv[6], "syn");
    int sock = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (sock < 0)
        err(71, "a raw socket");
    sigaction(SIGTERM, &action, NULL);
    long began = nanoseconds();
    for (long k = first; !stopped;) {
        for (int i = 0; i < BATCH; i++, k++) {
            fill(&packets[i], &target, k % sources, k, syn);
            texts[i] = (struct iovec){&packets[i], sizeof packets[i]};
            headers[i].msg_hdr = (struct msghdr){
                .msg_name = &target, .msg_namelen = sizeof target.v4,
                .msg_iov = &texts[i], .msg_iovlen = 1};
        }
        int taken = sendmmsg(sock, headers, BATCH, 0);
        if (taken > 0 && !sent) {
            puts("begins");
            fflush(stdout);
        }
        sent += taken > 0 ? taken : 0;
        refused += taken > 0 ? BATCH - taken : BATCH;
        long due = began + (long)((double)(k - first) * 1e9 / (double)per_second);
        long pause = due - nanoseconds();
        if (pause > 0)
            nanosleep(&(struct timespec){pause / 1000000000L, pause % 1000000000L}, NULL);
    }
    printf("%ld %ld %ld\n", sent, refused, nanoseconds() - began);
    return 0;
}
