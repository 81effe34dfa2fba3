/* A client and a queue whose daemon goes away between "ready" and the line that this program then reads. Prints what the
 * client's read and the queue's write come to, and whether it is another session.
 */
#include <errno.h>
#include <holdfast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

static unsigned char data[BLOCK];

static int queued_write(struct hf_queue *queue)
{
    struct hf_done done;
    memset(data, 9, BLOCK);
    int result = hf_queue_submit_write(queue, 1, data, BLOCK, BLOCK, 0);
    if (result < 0)
        return result;
    result = hf_queue_wait(queue, &done, 1);
    return result < 0 ? result : done.result;
}

int main(int argc, char **argv)
{
    struct hf_client *client;
    struct hf_queue *queue;
    struct hf_info before, after;
    if (argc != 4)
        return 2;
    struct hf_options options = {.size = sizeof options, .queue_depth = 4};
    options.reconnect_ms = (uint32_t)strtoul(argv[3], NULL, 10);
    if (hf_client_open(argv[1], argv[2], &options, &client) < 0 ||
        hf_queue_open(argv[1], argv[2], &options, &queue) < 0)
        return 3;
    memset(data, 7, BLOCK);
    if (hf_write(client, data, BLOCK, 0, 0) < 0 || hf_client_info(client, &before, sizeof before) < 0)
        return 4;
    puts("ready");
    fflush(stdout);
    getchar();

    int written = queued_write(queue);
    int read = hf_read(client, data, BLOCK, 0);
    if (hf_client_info(client, &after, sizeof after) < 0)
        return 5;
    int same = after.incarnation == before.incarnation && after.volume_bytes == before.volume_bytes;
    printf("write %d read %d of %d, %s\n", written, read, data[BLOCK - 1], same ? "the same cache" : "another cache");
    hf_queue_close(queue);
    hf_client_close(client);
    return 0;
}
