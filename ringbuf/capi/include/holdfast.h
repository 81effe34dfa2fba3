/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * libholdfast: a volume of a Holdfast daemon, to be read and written over shared memory.
 *
 * Results. Functions that return `int` return 0 or a count, or a negative errno: -EINVAL, -ENOSPC ... What happened, in
 * words, is then in hf_error_message(). A NULL where a pointer is needed is -EFAULT; a range that passes the volume's end or
 * is not made of whole blocks, a length, size, tag or flag that there is none of, is -EINVAL, and nothing was sent.
 *
 * Durability. A write that succeeds is acknowledged: every later read of every session sees it. It is durable when a flush
 * that began after that has succeeded. A flush that fails says that something acknowledged is not on stable media: -ENOSPC
 * if all of it is held and waits for room, -EIO if not. It fails again as long as that is true, and succeeds when the cause
 * is gone. hf_error_failure_id() names the failure; `holdfastctl explain ID` turns it into ranges, errors and times.
 *
 * A daemon that is started again, after an upgrade or a crash, is found by itself, for as long as hf_options.reconnect_ms says.
 * Calls see a pause: requests that were not answered are sent again, and a write is carried out once. What was acknowledged
 * is in the cache, which outlives the daemon. If the cache died, too (a host that went down), with acknowledged writes that
 * no flush had covered, the next flush is -EIO.
 *
 * Threads. Each function states its rule: any thread, any number at once ("shared"); or any thread, one at a time for the
 * same handle ("exclusive"), where handing a handle to another thread needs the ordering of a mutex or the like. No function
 * may be called with a handle during its close or after. After a fork the child must not use handles of its parent. No
 * function may be called by a signal handler.
 *
 * Growth. A library whose SONAME is the same can replace an older one: functions and enumerators are added, structs with
 * a size get fields at their end. An assertion that fails inside the library ends the process; no argument can cause one.
 */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* This header's version: 16 bits major, 8 bits minor, 8 bits patch. */
#define HF_VERSION_MAJOR 0
#define HF_VERSION_MINOR 1
#define HF_VERSION_PATCH 0
#define HF_VERSION ((HF_VERSION_MAJOR << 16) | (HF_VERSION_MINOR << 8) | HF_VERSION_PATCH)

/* Flag of writes: answered only when the data is on stable media (force unit access). */
#define HF_FUA ((uint32_t)1)

/* For hf_options.spins: do not spin at all. */
#define HF_SPINS_NONE UINT32_MAX

/* For hf_options.reconnect_ms: a daemon that is gone is not waited for. */
#define HF_RECONNECT_NONE UINT32_MAX

/* A session that blocks and may be shared by threads. */
struct hf_client;
/* A session with one owner and many requests in flight. */
struct hf_queue;

/* A session's wishes. Zero it, set `size` to sizeof(struct hf_options), then what is wanted: a field that is 0 asks for
 * the default. The daemon may grant less. */
struct hf_options {
    uint32_t size;               /* sizeof(struct hf_options) */
    uint32_t queue_depth;        /* requests in flight, 1 to 4096; default 64 */
    uint32_t request_bytes;      /* longest request that is sent in one piece, 4 KiB to 1 MiB; default 128 KiB */
    uint32_t connect_timeout_ms; /* for connecting and the handshake; default 5000 */
    uint32_t request_timeout_ms; /* after which a request of which nothing has happened fails with -ETIMEDOUT, and
                                    nothing of it will happen; default: never */
    uint32_t spins;              /* looks at the rings before the thread yields and sleeps, some tens of ns each;
                                    HF_SPINS_NONE for none; default 2000, or none where there is one core */
    uint32_t reconnect_ms;       /* how long a daemon that is gone is waited for, before calls fail with -ENOTCONN;
                                    HF_RECONNECT_NONE: not at all; default 60000 */
};

/* What a session is. All of it may be other after the daemon was started again. */
struct hf_info {
    uint64_t volume_bytes; /* a multiple of block_bytes */
    uint64_t stripe_bytes; /* what one of the daemon's cores owns before the next one's turn */
    uint64_t session_id;   /* its id in the daemon */
    uint64_t incarnation;  /* changes when the daemon's cache died with unflushed data */
    uint32_t block_bytes;  /* offsets and lengths are multiples of this power of two, 512 to 65536 */
    uint32_t line_bytes;   /* of a cache line: what is aligned to it needs no merging */
    uint32_t read_only;    /* 1: writes fail with -EROFS */
    uint32_t queue_depth;  /* of a queue: tags, as granted; else 0 */
    uint32_t window_bytes; /* of a queue: the longest read or write; else 0 */
    uint32_t reserved;
};

/* A request of a queue that is done. Its size never changes. */
struct hf_done {
    uint32_t tag;        /* as submitted, and free again */
    int32_t result;      /* 0, or a negative errno */
    uint64_t failure_id; /* of a failed flush, for `holdfastctl explain`, which takes 16 hexadecimal digits; else 0 */
};

/* ---- The library ---- */

/* The library's version, in HF_VERSION's form. Shared. */
uint32_t hf_version(void);

/* What the last failing call of this thread failed of, in one English sentence; "" if none has failed. Never NULL. Valid
 * until this thread's next failing call, or its end. Shared: each thread has its own. */
const char *hf_error_message(void);

/* The failure id of the last failing call of this thread, 0 if it had none: a failed flush has one. Shared: each thread has
 * its own. */
uint64_t hf_error_failure_id(void);

/* ---- The blocking client ---- */

/* Opens a session for a volume with the daemon that listens at a Unix socket; the handle goes to *client, which is left as
 * it is on failure. `options` may be NULL. -ENOENT: no such socket or volume; -ECONNREFUSED: no daemon; -EACCES: not for
 * this user; -ETIMEDOUT; -EPROTONOSUPPORT: a daemon of another version; -E2BIG: an option that this library does not
 * know. Shared. */
int hf_client_open(const char *socket_path, const char *volume_name, const struct hf_options *options,
                   struct hf_client **client);

/* Ends the session and frees the handle. It does not flush: what was acknowledged stays with the daemon. NULL does nothing.
 * Exclusive; no other call may use the handle meanwhile. */
void hf_client_close(struct hf_client *client);

/* Fills the first `size` bytes of *info; give sizeof(struct hf_info). Shared. */
int hf_client_info(const struct hf_client *client, struct hf_info *info, size_t size);

/* Fills the buffer from `offset` on; all of it, or it fails and the buffer's content is undefined. 0 bytes succeed. The
 * buffer must not be used by others meanwhile. -EIO: the medium fails, or the newest data was given up. Shared. */
int hf_read(const struct hf_client *client, void *buffer, size_t length, uint64_t offset);

/* Writes the buffer at `offset`; `flags` is 0 or HF_FUA. If it fails a part may be written. More than request_bytes are sent
 * in pieces, of which each is atomic for itself. 0 bytes succeed. Shared. */
int hf_write(const struct hf_client *client, const void *buffer, size_t length, uint64_t offset, uint32_t flags);

/* Makes durable all that was acknowledged on the volume before the call, to whatever session. Shared. */
int hf_flush(const struct hf_client *client);

/* Says that a range's content is not needed any more; it reads as zeroes. Of any length, 0 succeeds. Shared. */
int hf_discard(const struct hf_client *client, uint64_t offset, uint64_t length);

/* Makes a range read as zeroes; `flags` is 0 or HF_FUA. Of any length, 0 succeeds. Shared. */
int hf_write_zeroes(const struct hf_client *client, uint64_t offset, uint64_t length, uint32_t flags);

/* ---- The queue ----
 *
 * A request is named by a tag below hf_info.queue_depth. Each tag owns a window of hf_info.window_bytes in memory shared
 * with the daemon, through which its data goes. The way of a request: submit it, publish, poll or wait until its hf_done
 * comes; then the tag is free again. Requests complete in any order; two that overlap and are in flight together are
 * carried out in either order. A tag that is in flight is -EBUSY for everything else.
 */

/* As hf_client_open. Shared. */
int hf_queue_open(const char *socket_path, const char *volume_name, const struct hf_options *options,
                  struct hf_queue **queue);

/* Ends the session and frees the handle and its windows. Requests in flight may or may not be carried out. NULL does
 * nothing. Exclusive. */
void hf_queue_close(struct hf_queue *queue);

/* As hf_client_info. Exclusive. */
int hf_queue_info(const struct hf_queue *queue, struct hf_info *info, size_t size);

/* The connection's descriptor, to be watched for a hang-up (POLLHUP, POLLRDHUP): the daemon is gone, and hf_queue_poll, called
 * now and then, looks for the next one. Ask again after each poll and wait: that one has another descriptor. It does not
 * become readable when requests are done; do not read, write or close it. Exclusive. */
int hf_queue_fd(const struct hf_queue *queue);

/* Requests submitted whose hf_done was not handed out yet. Exclusive. */
int hf_queue_in_flight(const struct hf_queue *queue);

/* The tag's window, aligned to 4096 bytes, for data without a copy: fill it, then hf_queue_submit_window(); or read from
 * it after hf_queue_submit_read() is done. The daemon uses it while the tag is in flight: leave it alone then. Valid until the
 * next hf_queue_poll, hf_queue_wait or hf_queue_close; ask again after them, it costs nothing. NULL on failure. Exclusive. */
void *hf_queue_window(struct hf_queue *queue, uint32_t tag);

/* Copies the beginning of an idle tag's window to the buffer: what its last read returned. Exclusive. */
int hf_queue_take(struct hf_queue *queue, uint32_t tag, void *buffer, size_t length);

/* Reads into the tag's window; 1 to window_bytes. Exclusive. */
int hf_queue_submit_read(struct hf_queue *queue, uint32_t tag, uint32_t length, uint64_t offset);

/* Copies the buffer into the tag's window, and writes it at `offset`; `flags` is 0 or HF_FUA. The buffer is free when the
 * call returns. Exclusive. */
int hf_queue_submit_write(struct hf_queue *queue, uint32_t tag, const void *buffer, uint32_t length, uint64_t offset,
                          uint32_t flags);

/* The same with what is in the tag's window already. Exclusive. */
int hf_queue_submit_window(struct hf_queue *queue, uint32_t tag, uint32_t length, uint64_t offset, uint32_t flags);

/* Makes durable what was acknowledged before; requests in flight may or may not be covered. Exclusive. */
int hf_queue_submit_flush(struct hf_queue *queue, uint32_t tag);

/* Discards a range, of any length but 0. Exclusive. */
int hf_queue_submit_discard(struct hf_queue *queue, uint32_t tag, uint64_t offset, uint64_t length);

/* Zeroes a range, of any length but 0; `flags` is 0 or HF_FUA. Exclusive. */
int hf_queue_submit_write_zeroes(struct hf_queue *queue, uint32_t tag, uint64_t offset, uint64_t length,
                                 uint32_t flags);

/* Makes what was submitted visible to the daemon; hf_queue_poll and hf_queue_wait begin with it. Exclusive. */
int hf_queue_publish(struct hf_queue *queue);

/* Publishes, and hands out what is done, up to `capacity` (1 or more), without waiting: how many. What there is no room for
 * comes with the next call. While the daemon is gone this looks for the next one now and then: no answers until it is there, and
 * a handshake may take up to connect_timeout_ms. -ENOTCONN: reconnect_ms is over, too, and it is not known whether requests
 * in flight were carried out; answers that came before are handed out first. Exclusive. */
int hf_queue_poll(struct hf_queue *queue, struct hf_done *done, uint32_t capacity);

/* The same, but waits until at least one is done; 0 only if none is in flight. Exclusive. */
int hf_queue_wait(struct hf_queue *queue, struct hf_done *done, uint32_t capacity);

#ifdef __cplusplus
}
#endif

#endif
