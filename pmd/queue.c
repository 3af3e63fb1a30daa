/* SPDX-License-Identifier: Apache-2.0 */
#include <numa.h>

#include <weft/port.h>

#define LOCAL_DISTANCE 10  /* ACPI SLIT: a node to itself */
#define REMOTE_DISTANCE 20 /* and what is assumed where firmware does not say */

static int
distance(int device, int worker)
{
	if (device < 0 || worker < 0 || device == worker)
		return LOCAL_DISTANCE;
	int d = numa_available() < 0 ? 0 : numa_distance(device, worker);
	return d > LOCAL_DISTANCE ? d : REMOTE_DISTANCE;
}

static unsigned int
choose(int device, const int *worker_numa, const unsigned int *load, unsigned int n_workers)
{
	unsigned int best = 0;
	for (unsigned int w = 1; w < n_workers; w++) {
		int d = distance(device, worker_numa[w]), least = distance(device, worker_numa[best]);
		if (d < least || (d == least && load[w] < load[best]))
			best = w;
	}
	return best;
}

/* Two passes: a queue that is at home anywhere fills what those with a node of their own have left free. */
void
queue_plan(const struct rx_queue *q, unsigned int n, const int *worker_numa, unsigned int n_workers,
	   unsigned int *worker_of)
{
	unsigned int load[WEFT_MAX_WORKERS] = {0};
	assert(n_workers >= 1 && n_workers <= WEFT_MAX_WORKERS);
	for (int anywhere = 0; anywhere <= 1; anywhere++) {
		for (unsigned int i = 0; i < n; i++) {
			if ((q[i].port->numa < 0) != (anywhere != 0))
				continue;
			worker_of[i] = choose(q[i].port->numa, worker_numa, load, n_workers);
			load[worker_of[i]]++;
		}
	}
}
