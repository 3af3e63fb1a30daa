/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the connection table's file begins with: all that another process needs to read it. Everything behind is an array at an
 * offset from the file's start, and entries are named by ids, never by pointers:
 *
 *   half_at    struct conn_half [2 * (capacity + 1)]   of connection `id` the halves 2 * id and 2 * id + 1 (conn.h); ids start at 1
 *   cold_at    struct conn_cold [capacity + 1]         by id
 *   bucket_at  n_buckets of 64 bytes                   12 tags, a count, 12 refs; the index, which can be made again from the halves
 *   worker_at, open_at, chunk_at                       who has which ids; to be made again by whoever adopts
 *
 * A connection lives when its half 0 is HALF_LIVE and not HALF_CLOSED. The sizes of the entries are those of the version;
 * whoever finds another version or other sizes leaves the file alone. Native byte order.
 */
#ifndef WEFT_CONN_FILE_H
#define WEFT_CONN_FILE_H

#include <weft/conn.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CONN_MAGIC 0x4e4e4f4354464557ull /* "WEFTCONN" */
#define CONN_VERSION 4u                  /* 4: TCP's halves do not settle */

struct conn_header {
	uint64_t magic; /* written last */
	uint32_t version, header_size;
	uint32_t tuple_size, half_size, cold_size, bucket_size, worker_size, chunk_ids;
	uint32_t capacity, n_buckets, workers, n_chunks;
	uint64_t size, half_at, cold_at, bucket_at, worker_at, chunk_at, open_at;
	uint64_t seed[7];
	uint32_t chunks_taken __attribute__((aligned(64)));
} __attribute__((aligned(64)));

#ifdef __cplusplus
}
#endif

#endif
