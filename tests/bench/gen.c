/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft-gen: real IPv4/UDP frames in at one port of a switch, counted where they come out at another.
 *
 *   weft-gen EAL-OPTIONS --vdev=... --vdev=... -- OPTIONS      (gen.h has the options; --help prints them)
 *
 * The two ports are those of two pods: net_memif clients, or net_virtio_user on a vhost-user socket. One thread sends
 * and receives, so one core is enough. Prints one JSON object on stdout; all else goes to stderr.
 */
#include "gen.h"
#include "gen_tunnel.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>

static volatile sig_atomic_t stopped;

static void
on_signal(int signo)
{
	stopped = 1;
}

bool
gen_stopped(void)
{
	return stopped;
}

static const struct option options[] = {
	{"size", required_argument, NULL, 's'},
	{"flows", required_argument, NULL, 'f'},
	{"src-ips", required_argument, NULL, 'n'},
	{"seconds", required_argument, NULL, 't'},
	{"warmup", required_argument, NULL, 'w'},
	{"rate", required_argument, NULL, 'r'},
	{"both", no_argument, NULL, 'b'},
	{"mix", no_argument, NULL, 'x'},
	{"a-mac", required_argument, NULL, 'm'},
	{"a-ip", required_argument, NULL, 'i'},
	{"b-mac", required_argument, NULL, 'M'},
	{"b-ip", required_argument, NULL, 'I'},
	{"gateway-mac", required_argument, NULL, 'g'},
	{"dst-ip", required_argument, NULL, 'd'},
	{"dst-port", required_argument, NULL, 'p'},
	{"scenario", required_argument, NULL, 'S'},
	{"vips", required_argument, NULL, 'v'},
	{"backends", required_argument, NULL, 'B'},
	{"backend-port", required_argument, NULL, 'P'},
	{"wait", required_argument, NULL, 'W'},
	{"vxlan", required_argument, NULL, 'V'},
	{"vtep", required_argument, NULL, 'T'},
	{"switch-vtep", required_argument, NULL, 'U'},
	{"rx-queues", required_argument, NULL, 'Q'},
	{"descriptors", required_argument, NULL, 'q'},
	{"latency", no_argument, NULL, 'L'},
	{"hold", no_argument, NULL, 'H'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static const char help[] =
	"usage: weft-gen EAL-OPTIONS --vdev=PORT-A --vdev=PORT-B -- OPTIONS\n"
	"  --size BYTES        of a frame, without FCS: 64..1514 (64)\n"
	"  --mix               of sizes: 7 of 64, 4 of 594, 1 of --size\n"
	"  --flows N           UDP flows, sent in turn (10000)\n"
	"  --src-ips N         addresses that the flows come from, from A's upwards (1)\n"
	"  --seconds S         how long to measure (5)\n"
	"  --warmup S          how long to send before that (1)\n"
	"  --rate MPPS         of each direction; 0: as fast as the ports take it (0)\n"
	"  --both              B answers each flow of A\n"
	"  --a-mac --a-ip      what sits at the first port (02:00:00:00:00:0a, 10.0.0.10)\n"
	"  --b-mac --b-ip      what sits at the second (02:00:00:00:00:0b, 10.0.0.11)\n"
	"  --gateway-mac MAC   to whom frames are sent (the other side's MAC)\n"
	"  --dst-ip --dst-port where A's flows go (B's address, 9)\n"
	"  --scenario NAME     flows; or through services: established (opened first, then packets of both directions "
	"of\n"
	"                      random flows), new (first packets only), lives (whole TCP conversations) (flows)\n"
	"  --vips N            services, from --dst-ip upwards (1)\n"
	"  --backends N        addresses of B's that serve them, from --b-ip upwards (1)\n"
	"  --backend-port N    where they listen; below 1024, as --dst-port (9)\n"
	"  --vxlan VNI         B is behind a tunnel: its frames come and go in VXLAN\n"
	"  --vtep IP           B's end of the tunnel (192.0.2.2)\n"
	"  --switch-vtep IP    the switch's end; its MAC is asked for by ARP (192.0.2.1)\n"
	"  --wait S            for the links, and for the first frame to arrive (10)\n"
	"  --rx-queues N       of each port (1)\n"
	"  --descriptors N     of each ring (1024)\n"
	"  --latency           how long frames are under way: p50, p99, p99.9 and max (gen_latency.h defines them)\n"
	"  --hold              stay connected after the report until stdin ends; a line RATE SECONDS WARMUP there is\n"
	"                      measured as the options of these names, with a report of its own\n"
	"The report: tx, rx, loss (a share of tx), seconds, mpps (received); full: the share of bursts "
	"that the port did not\n"
	"take whole, near 0 when the generator was the limit; cyclesPerPacket and ceilingMpps: what the "
	"generator itself\n"
	"could do.\n";

static double
number(const char *name, const char *text, double min, double max)
{
	char *end;
	double v = strtod(text, &end);
	if (*text == '\0' || *end != '\0' || !(v >= min && v <= max))
		rte_exit(2, "--%s: %s is not in %g..%g\n", name, text, min, max);
	return v;
}

static struct rte_ether_addr
mac(const char *name, const char *text)
{
	struct rte_ether_addr out;
	if (rte_ether_unformat_addr(text, &out) < 0)
		rte_exit(2, "--%s: %s is not a MAC address\n", name, text);
	return out;
}

static uint32_t
address(const char *name, const char *text)
{
	struct in_addr out;
	if (inet_pton(AF_INET, text, &out) != 1)
		rte_exit(2, "--%s: %s is not an IPv4 address\n", name, text);
	return out.s_addr;
}

static enum gen_scenario
scenario(const char *name, const char *text)
{
	static const char *const names[] = {
		[GEN_FLOWS] = "flows", [GEN_ESTABLISHED] = "established", [GEN_NEW] = "new", [GEN_LIVES] = "lives"};
	for (size_t i = 0; i < RTE_DIM(names); i++)
		if (strcmp(text, names[i]) == 0)
			return (enum gen_scenario)i;
	rte_exit(2, "--%s: %s is not flows, established, new or lives\n", name, text);
}

static void
parse_option(struct gen_options *o, int c, const char *name)
{
	switch (c) {
	case 's':
		o->size = (uint16_t)number(name, optarg, GEN_SIZE_MIN, GEN_SIZE_MAX);
		break;
	case 'f':
		o->flows = (uint32_t)number(name, optarg, 1, 16e6);
		break;
	case 'n':
		o->src_ips = (uint32_t)number(name, optarg, 1, 1 << 24);
		break;
	case 't':
		o->seconds = number(name, optarg, 0.01, 1e6);
		break;
	case 'w':
		o->warmup = number(name, optarg, 0, 1e6);
		break;
	case 'r':
		o->rate = number(name, optarg, 0, 1e3);
		break;
	case 'b':
		o->both = true;
		break;
	case 'L':
		o->latency = true;
		break;
	case 'x':
		o->mix = true;
		break;
	case 'V':
		o->vni = (uint32_t)number(name, optarg, 1, (1 << 24) - 1);
		break;
	case 'T':
		o->vtep[1] = address(name, optarg);
		break;
	case 'U':
		o->vtep[0] = address(name, optarg);
		break;
	case 'Q':
		o->rx_queues = (uint16_t)number(name, optarg, 1, 16);
		break;
	case 'H':
		o->hold = true;
		break;
	case 'm':
		o->mac[0] = mac(name, optarg);
		break;
	case 'i':
		o->ip[0] = address(name, optarg);
		break;
	case 'M':
		o->mac[1] = mac(name, optarg);
		break;
	case 'I':
		o->ip[1] = address(name, optarg);
		break;
	case 'g':
		o->gateway[0] = o->gateway[1] = mac(name, optarg);
		break;
	case 'd':
		o->dst_ip = address(name, optarg);
		break;
	case 'p':
		o->dst_port = (uint16_t)number(name, optarg, 1, 65535);
		break;
	case 'S':
		o->scenario = scenario(name, optarg);
		break;
	case 'v':
		o->vips = (uint32_t)number(name, optarg, 1, 1 << 20);
		break;
	case 'B':
		o->backends = (uint32_t)number(name, optarg, 1, 1 << 20);
		break;
	case 'P':
		o->backend_port = (uint16_t)number(name, optarg, 1, 1023);
		break;
	case 'W':
		o->wait = number(name, optarg, 0, 3600);
		break;
	case 'q':
		o->descriptors = (uint16_t)number(name, optarg, 64, 16384);
		break;
	default:
		fputs(help, stderr);
		exit(c == 'h' ? 0 : 2);
	}
}

static void
parse(struct gen_options *o, int argc, char **argv)
{
	*o = (struct gen_options){.size = 64,
				  .flows = 10000,
				  .src_ips = 1,
				  .seconds = 5,
				  .warmup = 1,
				  .wait = 10,
				  .rx_queues = 1,
				  .vtep = {RTE_BE32(RTE_IPV4(192, 0, 2, 1)), RTE_BE32(RTE_IPV4(192, 0, 2, 2))},
				  .descriptors = 1024,
				  .dst_port = 9,
				  .vips = 1,
				  .backends = 1,
				  .backend_port = 9,
				  .mac = {{{2, 0, 0, 0, 0, 10}}, {{2, 0, 0, 0, 0, 11}}},
				  .ip = {RTE_BE32(RTE_IPV4(10, 0, 0, 10)), RTE_BE32(RTE_IPV4(10, 0, 0, 11))}};
	int c, index = 0;
	while ((c = getopt_long(argc, argv, "", options, &index)) != -1)
		parse_option(o, c, c == '?' ? "" : options[index].name);
	if (optind < argc)
		rte_exit(2, "unexpected argument: %s\n", argv[optind]);
	for (int side = 0; side < 2; side++) {
		if (rte_is_zero_ether_addr(&o->gateway[side]))
			o->gateway[side] = o->mac[!side];
	}
	if (o->dst_ip == 0)
		o->dst_ip = o->ip[1];
	if (o->vni != 0 && o->size > GEN_SIZE_MAX - GEN_TUNNEL_LENGTH)
		rte_exit(2, "--size: at most %u with --vxlan\n", GEN_SIZE_MAX - GEN_TUNNEL_LENGTH);
	if (o->scenario == GEN_ESTABLISHED && o->backends > 256)
		rte_exit(2, "--backends: at most 256 with --scenario=established\n");
	if (o->scenario == GEN_LIVES && o->latency)
		rte_exit(2, "--latency: not of TCP conversations\n");
	if (o->scenario == GEN_FLOWS && o->flows / o->src_ips >= 64000)
		rte_exit(2, "--flows: %u flows from %u addresses need more ports than there are; raise --src-ips\n",
			 o->flows, o->src_ips);
}

/* What stdin asks for; false when there is no more. */
static bool
next_run(struct gen_options *o)
{
	char line[128], rate[32], seconds[32], warmup[32];
	if (fgets(line, sizeof(line), stdin) == NULL)
		return false;
	if (sscanf(line, "%31s %31s %31s", rate, seconds, warmup) != 3)
		rte_exit(2, "stdin: RATE SECONDS WARMUP, not %s\n", line);
	o->rate = number("rate", rate, 0, 1e3);
	o->seconds = number("seconds", seconds, 0.01, 1e6);
	o->warmup = number("warmup", warmup, 0, 1e6);
	return true;
}

int
main(int argc, char **argv)
{
	/* EAL logs to stdout, where the answer belongs. */
	FILE *out = fdopen(dup(STDOUT_FILENO), "w");
	if (out == NULL || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return 1;
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(help, out);
		return 0;
	}
	int used = rte_eal_init(argc, argv);
	if (used < 0)
		rte_exit(1, "EAL: %s\n", rte_strerror(rte_errno));
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	struct gen_options o;
	parse(&o, argc - used, argv + used);

	struct gen_result result;
	int rc = gen_open(&o);
	if (rc == 0)
		rc = gen_run(&o, &result);
	if (rc == 0)
		gen_report(out, &o, &result);
	while (rc == 0 && o.hold && !gen_stopped() && next_run(&o)) {
		rc = gen_run(&o, &result);
		if (rc == 0)
			gen_report(out, &o, &result);
	}
	gen_close();
	rte_eal_cleanup();
	if (fclose(out) != 0)
		rc = -1;
	return rc == 0 ? 0 : 1;
}
