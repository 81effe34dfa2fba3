/* Copies a file into a volume, or a volume's beginning into a file, by blocking calls.
 *
 *     cc -o copy copy.c $(pkg-config --cflags --libs holdfast)
 *     ./copy in  SOCKET VOLUME FILE
 *     ./copy out SOCKET VOLUME FILE [BYTES]
 *
 * `in` ends with a flush: exit status 0 means that the data is on stable media. If the last block of the file is not a
 * whole one, the rest of it is filled with zeroes.
 */
#include <errno.h>
#include <holdfast.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20 };

static int complain(const char *what)
{
    fprintf(stderr, "copy: %s: %s\n", what, hf_error_message());
    return EXIT_FAILURE;
}

static int complain_of_file(const char *path)
{
    fprintf(stderr, "copy: %s: %s\n", path, strerror(errno));
    return EXIT_FAILURE;
}

/* The data is safe with the daemon even if this fails, as far as the volume's policy holds it: no need to write it again. */
static int flush(const struct hf_client *client)
{
    int result = hf_flush(client);
    if (result == 0)
        return EXIT_SUCCESS;
    complain("flush");
    uint64_t id = hf_error_failure_id();
    if (id != 0)
        fprintf(stderr, "copy: failure id %016" PRIx64 "; once its cause is gone, flush again\n", id);
    return result == -ENOSPC ? 2 : EXIT_FAILURE;
}

static int copy_in(const struct hf_client *client, const struct hf_info *info, FILE *file, const char *path,
                   unsigned char *chunk)
{
    uint64_t offset = 0;
    size_t got;
    while ((got = fread(chunk, 1, CHUNK, file)) > 0) {
        size_t block = info->block_bytes;
        size_t length = (got + block - 1) / block * block;
        memset(chunk + got, 0, length - got);
        if (hf_write(client, chunk, length, offset, 0) < 0)
            return complain("write");
        offset += length;
    }
    if (ferror(file))
        return complain_of_file(path);
    return flush(client);
}

static int copy_out(const struct hf_client *client, const struct hf_info *info, FILE *file, const char *path,
                    unsigned char *chunk, uint64_t bytes)
{
    for (uint64_t offset = 0; offset < bytes; offset += CHUNK) {
        uint64_t rest = info->volume_bytes - offset;
        size_t length = rest < CHUNK ? (size_t)rest : CHUNK;
        if (hf_read(client, chunk, length, offset) < 0)
            return complain("read");
        size_t wanted = bytes - offset < length ? (size_t)(bytes - offset) : length;
        if (fwrite(chunk, 1, wanted, file) != wanted)
            return complain_of_file(path);
    }
    return fflush(file) == 0 ? EXIT_SUCCESS : complain_of_file(path);
}

static int copy(const struct hf_client *client, int in, const char *path, const char *bytes_wanted)
{
    struct hf_info info;
    if (hf_client_info(client, &info, sizeof info) < 0)
        return complain("info");
    uint64_t bytes = bytes_wanted != NULL ? strtoull(bytes_wanted, NULL, 10) : info.volume_bytes;
    if (bytes > info.volume_bytes) {
        fprintf(stderr, "copy: the volume has %" PRIu64 " bytes\n", info.volume_bytes);
        return EXIT_FAILURE;
    }
    FILE *file = fopen(path, in ? "rb" : "wb");
    if (file == NULL)
        return complain_of_file(path);
    int status = EXIT_FAILURE;
    unsigned char *chunk = malloc(CHUNK);
    if (chunk == NULL)
        complain_of_file("memory");
    else
        status = in ? copy_in(client, &info, file, path, chunk) : copy_out(client, &info, file, path, chunk, bytes);
    free(chunk);
    if (fclose(file) != 0 && status == EXIT_SUCCESS)
        status = complain_of_file(path);
    return status;
}

int main(int count, char **words)
{
    int in = count == 5 && strcmp(words[1], "in") == 0;
    int out = (count == 5 || count == 6) && strcmp(words[1], "out") == 0;
    if (!in && !out) {
        fprintf(stderr, "usage: copy in|out SOCKET VOLUME FILE; after out FILE perhaps BYTES\n");
        return EXIT_FAILURE;
    }
    struct hf_client *client;
    if (hf_client_open(words[2], words[3], NULL, &client) < 0)
        return complain("open");
    int status = copy(client, in, words[4], out && count == 6 ? words[5] : NULL);
    hf_client_close(client);
    return status;
}
