/* Requests of 4 KiB at random places, 32 of them in flight: how many a second, and how long each takes.
 *
 *     cc -O2 -o depth depth.c $(pkg-config --cflags --libs holdfast)
 *     ./depth read|write SOCKET VOLUME [REQUESTS]
 *
 * `write` overwrites the volume. One thread; data is made and looked at where the daemon shares it, without a copy.
 */
#define _POSIX_C_SOURCE 200809L
#include <holdfast.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEPTH = 32, BYTES = 4096 };

struct run {
    struct hf_queue *queue;
    int writes;
    uint64_t places;  /* of BYTES each */
    uint64_t random;  /* state of a xorshift generator; never 0 */
    uint64_t begun[DEPTH];
    uint64_t flown_ns; /* of all requests together */
};

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int complain(const char *what)
{
    fprintf(stderr, "depth: %s: %s\n", what, hf_error_message());
    return -1;
}

static int submit(struct run *run, uint32_t tag)
{
    run->random ^= run->random << 13;
    run->random ^= run->random >> 7;
    run->random ^= run->random << 17;
    uint64_t offset = run->random % run->places * BYTES;
    run->begun[tag] = now_ns();
    if (!run->writes)
        return hf_queue_submit_read(run->queue, tag, BYTES, offset) < 0 ? complain("read") : 0;
    uint64_t *window = hf_queue_window(run->queue, tag);
    if (window == NULL)
        return complain("window");
    for (size_t word = 0; word < BYTES / sizeof *window; word++)
        window[word] = run->random;
    return hf_queue_submit_window(run->queue, tag, BYTES, offset, 0) < 0 ? complain("write") : 0;
}

/* Keeps the queue full until all requests are done. */
static int fly(struct run *run, uint64_t requests, uint32_t depth)
{
    struct hf_done done[DEPTH];
    uint64_t submitted = 0, finished = 0;
    for (; submitted < depth && submitted < requests; submitted++)
        if (submit(run, (uint32_t)submitted) < 0)
            return -1;
    while (finished < requests) {
        int count = hf_queue_poll(run->queue, done, DEPTH);
        if (count < 0)
            return complain("poll");
        if (count == 0)
            sched_yield();
        for (int i = 0; i < count; i++) {
            if (done[i].result < 0) {
                fprintf(stderr, "depth: a request failed: %s\n", strerror(-done[i].result));
                return -1;
            }
            run->flown_ns += now_ns() - run->begun[done[i].tag];
            finished++;
            if (submitted < requests) {
                if (submit(run, done[i].tag) < 0)
                    return -1;
                submitted++;
            }
        }
    }
    return 0;
}

static int measure(struct run *run, uint64_t requests)
{
    struct hf_info info;
    if (hf_queue_info(run->queue, &info, sizeof info) < 0)
        return complain("info");
    run->places = info.volume_bytes / BYTES;
    if (run->places == 0 || info.queue_depth == 0 || BYTES % info.block_bytes != 0) {
        fprintf(stderr, "depth: this volume cannot be read in pieces of %d bytes\n", BYTES);
        return -1;
    }
    uint32_t depth = info.queue_depth < DEPTH ? info.queue_depth : DEPTH;
    uint64_t begun = now_ns();
    if (fly(run, requests, depth) < 0)
        return -1;
    double seconds = (double)(now_ns() - begun) / 1e9;
    printf("%" PRIu64 " requests at depth %" PRIu32 " in %.3f s: %.0f a second, mean %.1f us\n", requests, depth, seconds,
           (double)requests / seconds, (double)run->flown_ns / 1e3 / (double)requests);
    return 0;
}

int main(int count, char **words)
{
    int writes = count >= 4 && strcmp(words[1], "write") == 0;
    uint64_t requests = count == 5 ? strtoull(words[4], NULL, 10) : 1000000;
    if (count < 4 || count > 5 || requests == 0 || (!writes && strcmp(words[1], "read") != 0)) {
        fprintf(stderr, "usage: depth read|write SOCKET VOLUME [REQUESTS]\n");
        return EXIT_FAILURE;
    }
    struct run run = {.writes = writes, .random = 88172645463325252u};
    struct hf_options options = {.size = sizeof options, .queue_depth = DEPTH, .request_bytes = BYTES};
    if (hf_queue_open(words[2], words[3], &options, &run.queue) < 0) {
        complain("open");
        return EXIT_FAILURE;
    }
    int status = measure(&run, requests) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    hf_queue_close(run.queue);
    return status;
}
