/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/text.h>
#include <weft/port.h>

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_udp.h>
#include <stdlib.h>
#include <unistd.h>

#include <weft/offload.h>
#include <weft/port_event.h>

#include "nic_kernel.h"
#include "nic_xdp.h"
#include "port_core.h"

#define WATCH_MS 1000
#define DESCRIPTORS 1024
#define VLAN_LEN 4
/* The kernel lets go of an AF_XDP socket's queue some time after close(2). */
#define XDP_TRIES 10
#define XDP_WAIT_US 30000
#define L4_CSUM_TX (RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM)
#define L4_CSUM_RX (RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM)

struct nic {
	uint16_t id;               /* ethdev */
	bool attached, configured; /* what close has to undo */
	char driver[32];
	struct rte_device *device;
	struct nic_kernel kernel;
	struct xdp_sockets xdp;
	struct port_event *watch;
};

/* The interface in vdev arguments of a driver that shares it with the kernel, or NULL. The caller frees it. */
static char *
kernel_interface(const char *device)
{
	static const char *const drivers[] = {"net_af_packet", "net_af_xdp", "net_pcap"};
	for (unsigned int i = 0; i < RTE_DIM(drivers); i++) {
		const char *arg = strstr(device, ",iface=");
		if (arg != NULL && strncmp(device, drivers[i], strlen(drivers[i])) == 0)
			return strndup(arg + 7, strcspn(arg + 7, ","));
	}
	return NULL;
}

static bool
find_ethdev(const char *name, uint16_t *id)
{
	struct rte_dev_iterator it;
	RTE_ETH_FOREACH_MATCHING_DEV(*id, name, &it)
	{
		rte_eth_iterator_cleanup(&it);
		return true;
	}
	return false;
}

static int
attach(struct nic *nic, const char *device, struct error *e)
{
	char name[RTE_DEV_NAME_MAX_LEN];
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(device, ","), device);
	if (!find_ethdev(name, &nic->id)) {
		if (rte_eth_dev_count_total() >= RTE_MAX_ETHPORTS)
			return error_at(e, -ENOSPC, "device",
					"all %u network devices that this build of DPDK allows are in use",
					RTE_MAX_ETHPORTS);
		int rc = rte_dev_probe(device);
		if (rc < 0)
			return error_at(e, rc, "device", "%s cannot be attached: %s", device, strerror(-rc));
		if (!find_ethdev(name, &nic->id))
			return error_at(e, -ENODEV, "device", "%s is not a network device", device);
	}
	nic->attached = true;
	return 0;
}

static uint16_t
choose_queues(const struct nic *nic, const struct port *p, const struct rte_eth_dev_info *info)
{
	uint16_t most = RTE_MIN(RTE_MIN(info->max_rx_queues, info->max_tx_queues), (uint16_t)PORT_MAX_QUEUES);
	/* The kernel spreads frames over all queues that the arguments ask for: each must be polled. */
	return nic->kernel.ifname[0] != '\0' ? most : RTE_MIN(most, p->n_rxq);
}

static int
configure_queues(struct port *p, const struct rte_eth_dev_info *info, const struct rte_eth_conf *conf)
{
	const struct nic *nic = p->priv;
	struct rte_eth_rxconf rx = info->default_rxconf;
	struct rte_eth_txconf tx = info->default_txconf;
	uint16_t n_rx = DESCRIPTORS, n_tx = DESCRIPTORS;
	rx.offloads = conf->rxmode.offloads;
	tx.offloads = conf->txmode.offloads;
	int rc = rte_eth_dev_configure(nic->id, p->n_rxq, p->n_txq, conf);
	if (rc == 0)
		rc = rte_eth_dev_adjust_nb_rx_tx_desc(nic->id, &n_rx, &n_tx);
	unsigned int node = p->numa < 0 ? (unsigned int)SOCKET_ID_ANY : (unsigned int)p->numa;
	for (uint16_t q = 0; q < p->n_rxq && rc == 0; q++)
		rc = rte_eth_rx_queue_setup(nic->id, q, n_rx, node, &rx, p->pool);
	for (uint16_t q = 0; q < p->n_txq && rc == 0; q++)
		rc = rte_eth_tx_queue_setup(nic->id, q, n_tx, node, &tx);
	return rc;
}

static int
configure(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct nic *nic = p->priv;
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf = {0};
	int rc = rte_eth_dev_info_get(nic->id, &info);
	if (rc < 0)
		return error_at(e, rc, "device", "%s: %s", spec->device, strerror(-rc));
	nic->device = info.device;
	snprintf(nic->driver, sizeof(nic->driver), "%s", info.driver_name);
	p->numa = rte_eth_dev_socket_id(nic->id);
	p->pool = port_env()->pool(p->numa);
	p->n_rxq = p->n_txq = choose_queues(nic, p, &info);
	/* virtio's flag for a partial checksum says nothing of where it lies: without the offload there are none. */
	if (strncmp(info.driver_name, "net_virtio", 10) != 0)
		conf.rxmode.offloads = info.rx_offload_capa & L4_CSUM_RX;
	if ((info.tx_offload_capa & L4_CSUM_TX) == L4_CSUM_TX) {
		conf.txmode.offloads = L4_CSUM_TX;
		p->offloads = PORT_TX_CSUM;
	}
	if (p->n_rxq > 1 && info.flow_type_rss_offloads != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
	}
	conf.rxmode.mtu = nic->kernel.ifname[0] == '\0' ? spec->mtu : 0;
	rc = configure_queues(p, &info, &conf);
	if (rc < 0)
		return error_at(e, rc, "device", "%s with %u queues and MTU %u: %s", spec->device, p->n_rxq, p->mtu,
				strerror(-rc));
	nic->configured = true;
	return 0;
}

/* The node has one MAC on its wire. Whoever is opened second takes that of the first; not every device can. */
static int
share_mac(struct port *p, struct error *e)
{
	const struct nic *nic = p->priv;
	const struct port *host = port_wire_partner(p);
	struct rte_ether_addr mac;
	char text[MAC_TEXT_MAX];
	if (host == NULL || mac_equal(&host->mac, &p->mac))
		return 0;
	memcpy(&mac, &host->mac, sizeof(mac));
	int rc = rte_eth_dev_default_mac_addr_set(nic->id, &mac);
	if (rc < 0)
		return error_at(e, rc, "device", "cannot take the MAC %s of host port %s (%s): apply the uplink before the host port",
				mac_format(&host->mac, text), host->name, strerror(-rc));
	p->mac = host->mac;
	return 0;
}

static int
start(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct nic *nic = p->priv;
	struct rte_ether_addr mac;
	int rc = rte_eth_dev_start(nic->id);
	if (rc < 0)
		return error_at(e, rc, "device", "%s cannot be started: %s", spec->device, strerror(-rc));
	rc = rte_eth_macaddr_get(nic->id, &mac);
	if (rc < 0)
		return error_at(e, rc, "device", "%s: MAC address: %s", spec->device, strerror(-rc));
	memcpy(&p->mac, &mac, sizeof(p->mac));
	rc = share_mac(p, e);
	if (rc < 0)
		return rc;
	rte_eth_promiscuous_disable(nic->id);
	/* IPv6 asks for neighbours by multicast (RFC 4861); the kernel's interface takes those already. */
	if (rte_eth_allmulticast_enable(nic->id) < 0 && nic->kernel.ifname[0] == '\0')
		rte_eth_promiscuous_enable(nic->id);
	return 0;
}

static bool
link_is_up(const struct nic *nic)
{
	struct rte_eth_link link = {0};
	if (nic->kernel.ifname[0] != '\0')
		return nic_kernel_is_running(nic->kernel.ifname);
	return rte_eth_link_get_nowait(nic->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

static void
watch(void *arg)
{
	struct port *p = arg;
	port_set_up(p, link_is_up(p->priv));
}

static void
detach(struct nic *nic)
{
	if (nic->configured)
		rte_eth_dev_stop(nic->id);
	if (nic->attached) {
		rte_eth_dev_close(nic->id);
		if (nic->device != NULL)
			rte_dev_remove(nic->device);
	}
	xdp_sockets_close(&nic->xdp);
	nic->configured = nic->attached = false;
	nic->device = NULL;
}

static void
nic_close(struct port *p)
{
	struct nic *nic = p->priv;
	port_event_remove(nic->watch);
	detach(nic);
	nic_kernel_give_back(&nic->kernel);
}

static int
take_kernel(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct nic *nic = p->priv;
	char *ifname = kernel_interface(spec->device);
	if (ifname == NULL)
		return 0;
	int rc = nic_kernel_take(&nic->kernel, ifname, spec->mtu, &spec->ips, e);
	if (rc == 0 && spec->mtu == 0)
		p->mtu = RTE_MIN(p->mtu, nic_kernel_mtu(ifname));
	free(ifname);
	return rc;
}

static int
check_spec(const struct port *p, const struct spec_port *spec, struct error *e)
{
	int room = rte_pktmbuf_data_room_size(p->pool) - RTE_PKTMBUF_HEADROOM - RTE_ETHER_HDR_LEN - VLAN_LEN;
	if (spec->vlan != 0)
		return error_at(e, -ENOTSUP, "vlan", "%u: only untagged uplinks (0) are supported", spec->vlan);
	if (p->mtu > room)
		return error_at(e, -EINVAL, "mtu", "%u is not in 68..%d: that is what the packet buffers hold", p->mtu,
				room);
	return 0;
}

static int
bring_up(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct nic *nic = p->priv;
	struct xdp_sockets before;
	xdp_sockets_list(&before);
	int rc = attach(nic, spec->device, e);
	if (rc == 0)
		rc = configure(p, spec, e);
	if (rc == 0)
		rc = start(p, spec, e);
	xdp_sockets_list(&nic->xdp);
	xdp_sockets_subtract(&nic->xdp, &before);
	if (rc < 0)
		detach(nic);
	return rc;
}

static int
nic_open(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct nic *nic = p->priv;
	int rc = check_spec(p, spec, e);
	if (rc == 0)
		rc = take_kernel(p, spec, e);
	if (rc == 0)
		rc = bring_up(p, spec, e);
	for (int i = 1; i < XDP_TRIES && rc == -EINVAL && strncmp(nic->driver, "net_af_xdp", 10) == 0; i++) {
		usleep(XDP_WAIT_US);
		rc = bring_up(p, spec, e);
	}
	if (rc == 0 && (nic->watch = port_timer_add(WATCH_MS, watch, p)) == NULL)
		rc = error_set(e, -errno, "timer: %s", strerror(errno));
	if (rc < 0) {
		nic_close(p);
		return rc;
	}
	p->up = link_is_up(nic);
	return 0;
}

/* Make of what the device brought what the switch expects: one segment, and no mark that it would take for a partial checksum. */
static uint16_t
straighten(struct port_queue_stats *stats, struct rte_mbuf **m, uint16_t n)
{
	uint16_t kept = 0;
	for (uint16_t i = 0; i < n; i++) {
		/* To us "none" means partial, of which a device knows nothing: see offload.h. */
		if (offload_is_partial(m[i]))
			m[i]->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK;
		if (likely(m[i]->nb_segs == 1 || rte_pktmbuf_linearize(m[i]) == 0)) {
			m[kept++] = m[i];
		} else {
			rte_pktmbuf_free(m[i]);
			stats->rx_bad++;
		}
	}
	return kept;
}

static uint16_t
nic_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	const struct nic *nic = p->priv;
	uint16_t got = rte_eth_rx_burst(nic->id, queue, m, n);
	bool odd = false;
	for (uint16_t i = 0; i < got; i++)
		odd |= offload_is_partial(m[i]) | (m[i]->nb_segs != 1);
	return likely(!odd) ? got : straighten(&p->stats[queue], m, got);
}

/* The field holds the pseudo-header's sum, which is what DPDK asks for too (rte_ipv4_phdr_cksum). */
static void
request_checksum(struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	uint16_t l2 = RTE_ETHER_HDR_LEN, type;
	memcpy(&type, frame + l2 - sizeof(type), sizeof(type));
	if (type == RTE_BE16(RTE_ETHER_TYPE_VLAN)) {
		l2 += VLAN_LEN;
		memcpy(&type, frame + l2 - sizeof(type), sizeof(type));
	}
	m->l2_len = l2;
	m->l3_len = (uint16_t)(offload_csum_start(m) - l2);
	m->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK;
	m->ol_flags |= type == RTE_BE16(RTE_ETHER_TYPE_IPV4) ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
	m->ol_flags |= offload_csum_offset(m) == offsetof(struct rte_udp_hdr, dgram_cksum) ? RTE_MBUF_F_TX_UDP_CKSUM
											   : RTE_MBUF_F_TX_TCP_CKSUM;
}

static uint16_t
nic_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	const struct nic *nic = p->priv;
	/* A port without the offload never gets a partial checksum. */
	bool partial = (p->offloads & PORT_TX_CSUM) != 0;
	for (uint16_t i = 0; partial && i < n; i++)
		if (unlikely(offload_is_partial(m[i])))
			request_checksum(m[i]);
	uint16_t sent = rte_eth_tx_burst(nic->id, queue, m, n);
	if (sent < n)
		p->stats[queue].tx_full++;
	return sent;
}

static void
nic_describe(const struct port *p, char *buf, size_t size)
{
	const struct nic *nic = p->priv;
	const char *ifname = nic->kernel.ifname;
	snprintf(buf, size, "%s%s%s, link %s, %u queue%s", nic->driver, ifname[0] != '\0' ? " on " : "", ifname,
		 __atomic_load_n(&p->up, __ATOMIC_RELAXED) ? "up" : "down", p->n_rxq, p->n_rxq == 1 ? "" : "s");
}

const struct port_ops nic_ops = {
	.type = "nic",
	.priv_size = sizeof(struct nic),
	.open = nic_open,
	.close = nic_close,
	.rx = nic_rx,
	.tx = nic_tx,
	.describe = nic_describe,
};
