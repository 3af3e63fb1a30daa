// SPDX-License-Identifier: Apache-2.0
#include <weft/port.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace
{

class Plan : public ::testing::Test
{
      protected:
	struct port *
	port(int numa)
	{
		ports.push_back(std::make_unique<struct port>());
		*ports.back() = {};
		ports.back()->id = (uint16_t)(ports.size() - 1);
		ports.back()->numa = numa;
		return ports.back().get();
	}

	void
	queues(struct port *p, unsigned int n)
	{
		for (unsigned int i = 0; i < n; i++)
			list.push_back({p, (uint16_t)i, 0});
	}

	std::vector<unsigned int>
	plan(const std::vector<int> &worker_numa)
	{
		std::vector<unsigned int> of(list.size(), ~0u);
		queue_plan(list.data(), (unsigned int)list.size(), worker_numa.data(), (unsigned int)worker_numa.size(),
			   of.data());
		return of;
	}

	std::vector<std::unique_ptr<struct port>> ports;
	std::vector<struct rx_queue> list;
};

TEST_F(Plan, NoQueuesNeedNoWorker)
{
	EXPECT_TRUE(plan({0, 0}).empty());
}

TEST_F(Plan, OneWorkerHasThemAll)
{
	queues(port(-1), 3);
	queues(port(1), 2);
	EXPECT_EQ(plan({0}), (std::vector<unsigned int>{0, 0, 0, 0, 0}));
}

TEST_F(Plan, QueuesOfOnePortSpreadLowestWorkerFirst)
{
	queues(port(0), 4);
	EXPECT_EQ(plan({0, 0, 0}), (std::vector<unsigned int>{0, 1, 2, 0}));
}

TEST_F(Plan, TheNodeOfTheDeviceComesBeforeTheLoad)
{
	queues(port(1), 4);
	EXPECT_EQ(plan({0, 0, 1}), (std::vector<unsigned int>{2, 2, 2, 2}));
}

TEST_F(Plan, AForeignNodeIsBetterThanNone)
{
	queues(port(7), 2);
	EXPECT_EQ(plan({0, 0}), (std::vector<unsigned int>{0, 1}));
}

TEST_F(Plan, QueuesWithoutANodeFillWhatIsFree)
{
	queues(port(-1), 2);
	queues(port(0), 2);
	// Worker 0 is the only one on node 0: the two others go to worker 1 although they come first.
	EXPECT_EQ(plan({0, 1}), (std::vector<unsigned int>{1, 1, 0, 0}));
}

TEST_F(Plan, AWorkerWithoutANodeIsNearToAll)
{
	queues(port(1), 2);
	EXPECT_EQ(plan({-1, -1}), (std::vector<unsigned int>{0, 1}));
}

TEST_F(Plan, LoadsDifferByOneAtMostOnOneNode)
{
	std::mt19937 rng(1);
	for (int round = 0; round < 200; round++) {
		ports.clear();
		list.clear();
		unsigned int n_ports = 1 + rng() % 40, n_workers = 1 + rng() % WEFT_MAX_WORKERS;
		for (unsigned int i = 0; i < n_ports; i++)
			queues(port((int)(rng() % 2) - 1), 1 + rng() % PORT_MAX_QUEUES);
		std::vector<unsigned int> load(n_workers, 0);
		for (unsigned int w : plan(std::vector<int>(n_workers, 0))) {
			ASSERT_LT(w, n_workers);
			load[w]++;
		}
		EXPECT_LE(*std::max_element(load.begin(), load.end()) - *std::min_element(load.begin(), load.end()),
			  1u);
	}
}

TEST_F(Plan, TheSameInputGivesTheSamePlan)
{
	queues(port(0), 5);
	queues(port(-1), 3);
	queues(port(1), 7);
	auto first = plan({0, 1, 1, 0});
	list.pop_back();
	(void)plan({0, 1});
	queues(ports.back().get(), 7);
	list.resize(15);
	list.back().queue = 6;
	EXPECT_EQ(plan({0, 1, 1, 0}), first);
}

TEST(TxQueue, WorkersPastTheLastQueueShareIt)
{
	struct port p = {};
	p.n_txq = 2;
	EXPECT_EQ(port_tx_queue(&p, 0), 0);
	EXPECT_EQ(port_tx_queue(&p, 1), 1);
	EXPECT_EQ(port_tx_queue(&p, 2), 0);
	for (unsigned int w = 0; w < WEFT_MAX_WORKERS; w++) {
		unsigned int owner = port_tx_owner(&p, w);
		EXPECT_EQ(port_tx_owner(&p, owner), owner);
		EXPECT_EQ(port_tx_queue(&p, owner), port_tx_queue(&p, w));
	}
}

} // namespace
