/* Calls every function of the library in order and out of order, on a volume whose content does not matter, of 4 MiB or more
 * with blocks of at most 4 KiB. Ends with 0 if all answered as the header says, else with a line for each that did not.
 */
#include <errno.h>
#include <holdfast.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct hf_done) == 16, "as the library has it");
_Static_assert(sizeof(struct hf_info) == 56, "as the library has it");
_Static_assert(sizeof(struct hf_options) == 28, "as the library has it");

enum { BLOCK = 4096, THREADS = 4 };

static int wrong;

#define SAME(called, expected) same(__LINE__, #called, (long long)(called), (long long)(expected))
#define HOLDS(condition) same(__LINE__, #condition, (condition) ? 1 : 0, 1)

static void same(int line, const char *what, long long got, long long expected)
{
    if (got == expected)
        return;
    fprintf(stderr, "line %d: %s: %lld, not %lld (%s)\n", line, what, got, expected, hf_error_message());
    wrong = 1;
}

static int all(const unsigned char *bytes, size_t length, unsigned char value)
{
    for (size_t at = 0; at < length; at++)
        if (bytes[at] != value)
            return 0;
    return 1;
}

static void open_wrongly(const char *socket, const char *volume)
{
    struct hf_client *client = NULL;
    SAME(strlen(hf_error_message()), 0);
    SAME(hf_client_open(NULL, volume, NULL, &client), -EFAULT);
    HOLDS(strstr(hf_error_message(), "NULL") != NULL);
    SAME(hf_client_open(socket, NULL, NULL, &client), -EFAULT);
    SAME(hf_client_open(socket, volume, NULL, NULL), -EFAULT);
    SAME(hf_client_open("/nowhere/at/all", volume, NULL, &client), -ENOENT);
    SAME(hf_client_open(socket, "no such volume", NULL, &client), -ENOENT);
    SAME(hf_client_open(socket, "\xff", NULL, &client), -EINVAL);
    SAME(hf_client_open(socket, "", NULL, &client), -EINVAL);
    struct hf_options unset = {0};
    SAME(hf_client_open(socket, volume, &unset, &client), -EINVAL);
    struct {
        struct hf_options known;
        uint64_t unknown;
    } newer = {.known = {.size = sizeof newer}, .unknown = 1};
    SAME(hf_client_open(socket, volume, &newer.known, &client), -E2BIG);
    struct hf_queue *queue = NULL;
    SAME(hf_queue_open(NULL, volume, NULL, &queue), -EFAULT);
    SAME(hf_queue_open(socket, volume, NULL, NULL), -EFAULT);
    SAME(hf_queue_open(socket, volume, &newer.known, &queue), -E2BIG);
    HOLDS(client == NULL && queue == NULL);
    newer.unknown = 0;
    SAME(hf_client_open(socket, volume, &newer.known, &client), 0);
    hf_client_close(client);
    hf_client_close(NULL);
    hf_queue_close(NULL);
}

static void refuse_null(void)
{
    struct hf_info info;
    struct hf_done done;
    unsigned char byte = 0;
    SAME(hf_client_info(NULL, &info, sizeof info), -EFAULT);
    SAME(hf_read(NULL, &byte, 1, 0), -EFAULT);
    SAME(hf_write(NULL, &byte, 1, 0, 0), -EFAULT);
    SAME(hf_flush(NULL), -EFAULT);
    SAME(hf_discard(NULL, 0, BLOCK), -EFAULT);
    SAME(hf_write_zeroes(NULL, 0, BLOCK, 0), -EFAULT);
    SAME(hf_queue_info(NULL, &info, sizeof info), -EFAULT);
    SAME(hf_queue_fd(NULL), -EFAULT);
    SAME(hf_queue_in_flight(NULL), -EFAULT);
    HOLDS(hf_queue_window(NULL, 0) == NULL);
    SAME(hf_queue_take(NULL, 0, &byte, 1), -EFAULT);
    SAME(hf_queue_submit_read(NULL, 0, BLOCK, 0), -EFAULT);
    SAME(hf_queue_submit_write(NULL, 0, &byte, 1, 0, 0), -EFAULT);
    SAME(hf_queue_submit_window(NULL, 0, BLOCK, 0, 0), -EFAULT);
    SAME(hf_queue_submit_flush(NULL, 0), -EFAULT);
    SAME(hf_queue_submit_discard(NULL, 0, 0, BLOCK), -EFAULT);
    SAME(hf_queue_submit_write_zeroes(NULL, 0, 0, BLOCK, 0), -EFAULT);
    SAME(hf_queue_publish(NULL), -EFAULT);
    SAME(hf_queue_poll(NULL, &done, 1), -EFAULT);
    SAME(hf_queue_wait(NULL, &done, 1), -EFAULT);
}

static void block(struct hf_client *client, unsigned char *data)
{
    struct hf_info info;
    SAME(hf_client_info(client, &info, sizeof info), 0);
    HOLDS(info.volume_bytes >= 4 << 20 && BLOCK % info.block_bytes == 0 && info.read_only == 0);
    HOLDS(info.session_id != 0 && info.queue_depth == 0);
    SAME(hf_client_info(client, NULL, sizeof info), -EFAULT);
    SAME(hf_client_info(client, &info, 0), -EINVAL);
    SAME(hf_client_info(client, &info, SIZE_MAX), -EINVAL);

    memset(data, 7, 4 * BLOCK);
    SAME(hf_write(client, data, 4 * BLOCK, 0, 0), 0);
    SAME(hf_write(client, data, BLOCK, 4 * BLOCK, HF_FUA), 0);
    SAME(hf_flush(client), 0);
    SAME(hf_discard(client, 0, BLOCK), 0);
    SAME(hf_write_zeroes(client, BLOCK, BLOCK, 0), 0);
    SAME(hf_write_zeroes(client, 2 * BLOCK, BLOCK, HF_FUA), 0);
    memset(data, 1, 5 * BLOCK);
    SAME(hf_read(client, data, 5 * BLOCK, 0), 0);
    HOLDS(all(data, 3 * BLOCK, 0) && all(data + 3 * BLOCK, 2 * BLOCK, 7));

    SAME(hf_read(client, NULL, 0, 0), 0);
    SAME(hf_write(client, NULL, 0, 0, 0), 0);
    SAME(hf_read(client, NULL, BLOCK, 0), -EFAULT);
    SAME(hf_write(client, NULL, BLOCK, 0, 0), -EFAULT);
    SAME(hf_read(client, data, SIZE_MAX, 0), -EINVAL);
    SAME(hf_write(client, data, SIZE_MAX / 2 + 1, 0, 0), -EINVAL);
    SAME(hf_write(client, data, 1, 0, 0), -EINVAL);
    HOLDS(strstr(hf_error_message(), "whole blocks") != NULL);
    SAME(hf_error_failure_id(), 0);
    SAME(hf_write(client, data, BLOCK, info.volume_bytes, 0), -EINVAL);
    SAME(hf_read(client, data, BLOCK, UINT64_MAX - BLOCK + 1), -EINVAL);
    SAME(hf_discard(client, UINT64_MAX - BLOCK + 1, UINT64_MAX - BLOCK + 1), -EINVAL);
    SAME(hf_write(client, data, BLOCK, 0, 2), -EINVAL);
    SAME(hf_write_zeroes(client, 0, BLOCK, UINT32_MAX), -EINVAL);
}

static void reap(struct hf_queue *queue, int count)
{
    struct hf_done done;
    while (count-- > 0) {
        SAME(hf_queue_wait(queue, &done, 1), 1);
        SAME(done.result, 0);
        SAME(done.failure_id, 0);
    }
}

static void fly(struct hf_queue *queue, unsigned char *data)
{
    struct hf_info info;
    struct hf_done done[4];
    SAME(hf_queue_info(queue, &info, sizeof info), 0);
    SAME(info.queue_depth, 4);
    HOLDS(info.window_bytes >= BLOCK && hf_queue_fd(queue) >= 0);
    SAME(hf_queue_wait(queue, done, 4), 0);
    SAME(hf_queue_poll(queue, done, 0), -EINVAL);
    SAME(hf_queue_poll(queue, NULL, 4), -EFAULT);

    unsigned char *window = hf_queue_window(queue, 3);
    HOLDS(window != NULL && (uintptr_t)window % 4096 == 0);
    memset(window, 9, BLOCK);
    memset(data, 8, BLOCK);
    SAME(hf_queue_submit_window(queue, 3, BLOCK, 0, HF_FUA), 0);
    SAME(hf_queue_submit_write(queue, 0, data, BLOCK, BLOCK, 0), 0);
    memset(data, 0, BLOCK);
    SAME(hf_queue_submit_discard(queue, 1, 2 * BLOCK, BLOCK), 0);
    SAME(hf_queue_submit_write_zeroes(queue, 2, 3 * BLOCK, BLOCK, HF_FUA), 0);
    SAME(hf_queue_in_flight(queue), 4);
    SAME(hf_queue_submit_flush(queue, 3), -EBUSY);
    SAME(hf_queue_take(queue, 0, data, BLOCK), -EBUSY);
    SAME(hf_queue_publish(queue), 0);
    reap(queue, 4);
    SAME(hf_queue_submit_flush(queue, 1), 0);
    reap(queue, 1);

    for (uint32_t tag = 0; tag < 4; tag++)
        SAME(hf_queue_submit_read(queue, tag, BLOCK, (uint64_t)tag * BLOCK), 0);
    int count = 0;
    while (count < 4) {
        int more = hf_queue_wait(queue, done + count, (uint32_t)(4 - count));
        if (more <= 0) {
            SAME(more, 1);
            return;
        }
        count += more;
    }
    static const unsigned char expected[4] = {9, 8, 0, 0};
    for (int i = 0; i < count; i++) {
        SAME(done[i].result, 0);
        SAME(hf_queue_take(queue, done[i].tag, data, BLOCK), 0);
        HOLDS(all(data, BLOCK, expected[done[i].tag]));
        HOLDS(all(hf_queue_window(queue, done[i].tag), BLOCK, expected[done[i].tag]));
    }
    SAME(hf_queue_in_flight(queue), 0);
}

/* Answers that there was no room for keep their tags. */
static void hand_out_slowly(struct hf_queue *queue)
{
    struct hf_done done;
    for (uint32_t tag = 0; tag < 4; tag++)
        SAME(hf_queue_submit_read(queue, tag, BLOCK, 0), 0);
    int seen[4] = {0};
    for (int left = 3; left >= 0; left--) {
        SAME(hf_queue_wait(queue, &done, 1), 1);
        seen[done.tag & 3] = 1;
        SAME(hf_queue_in_flight(queue), left);
        for (uint32_t tag = 0; tag < 4; tag++)
            if (!seen[tag])
                SAME(hf_queue_submit_flush(queue, tag), -EBUSY);
    }
    HOLDS(seen[0] && seen[1] && seen[2] && seen[3]);
}

static void submit_wrongly(struct hf_queue *queue, unsigned char *data)
{
    struct hf_info info;
    SAME(hf_queue_info(queue, &info, sizeof info), 0);
    HOLDS(hf_queue_window(queue, 4) == NULL && hf_queue_window(queue, UINT32_MAX) == NULL);
    SAME(hf_queue_submit_flush(queue, 4), -EINVAL);
    SAME(hf_queue_submit_read(queue, 0, 0, 0), -EINVAL);
    SAME(hf_queue_submit_read(queue, 0, 1, 0), -EINVAL);
    SAME(hf_queue_submit_read(queue, 0, info.window_bytes + BLOCK, 0), -EINVAL);
    SAME(hf_queue_submit_read(queue, 0, BLOCK, UINT64_MAX - BLOCK + 1), -EINVAL);
    SAME(hf_queue_submit_write(queue, 0, NULL, BLOCK, 0, 0), -EFAULT);
    SAME(hf_queue_submit_write(queue, 0, data, BLOCK, 0, 4), -EINVAL);
    SAME(hf_queue_submit_window(queue, 0, BLOCK, info.volume_bytes, 0), -EINVAL);
    SAME(hf_queue_submit_discard(queue, 0, BLOCK, UINT64_MAX - BLOCK + 1), -EINVAL);
    SAME(hf_queue_submit_write_zeroes(queue, 0, 0, BLOCK, 2), -EINVAL);
    SAME(hf_queue_take(queue, 0, data, (size_t)info.window_bytes + 1), -EINVAL);
    SAME(hf_queue_take(queue, 9, data, 1), -EINVAL);
    SAME(hf_queue_in_flight(queue), 0);
}

struct part {
    struct hf_client *client;
    uint64_t offset;
    int failed;
};

/* One client, many threads; and each thread has its own message. */
static void *share(void *argument)
{
    struct part *part = argument;
    unsigned char data[BLOCK];
    part->failed = strlen(hf_error_message()) != 0;
    for (int round = 1; round < 50; round++) {
        memset(data, round, BLOCK);
        part->failed |= hf_write(part->client, data, BLOCK, part->offset, 0);
        memset(data, 0, BLOCK);
        part->failed |= hf_read(part->client, data, BLOCK, part->offset);
        part->failed |= !all(data, BLOCK, (unsigned char)round);
    }
    return NULL;
}

static void share_among_threads(struct hf_client *client)
{
    pthread_t threads[THREADS];
    struct part parts[THREADS];
    SAME(hf_flush(NULL), -EFAULT);
    for (int i = 0; i < THREADS; i++) {
        parts[i] = (struct part){.client = client, .offset = (uint64_t)(16 + i) * BLOCK};
        SAME(pthread_create(&threads[i], NULL, share, &parts[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        SAME(pthread_join(threads[i], NULL), 0);
        SAME(parts[i].failed, 0);
    }
}

int main(int count, char **words)
{
    if (count != 3)
        return EXIT_FAILURE;
    SAME(hf_version(), HF_VERSION);
    open_wrongly(words[1], words[2]);
    refuse_null();
    struct hf_client *client = NULL;
    struct hf_queue *queue = NULL;
    struct hf_options options = {.size = sizeof options, .queue_depth = 4, .spins = HF_SPINS_NONE};
    unsigned char *data = malloc(1 << 20);
    SAME(hf_client_open(words[1], words[2], NULL, &client), 0);
    SAME(hf_queue_open(words[1], words[2], &options, &queue), 0);
    if (client == NULL || queue == NULL || data == NULL)
        return EXIT_FAILURE;
    block(client, data);
    fly(queue, data);
    hand_out_slowly(queue);
    submit_wrongly(queue, data);
    share_among_threads(client);
    hf_queue_close(queue);
    hf_client_close(client);
    free(data);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
