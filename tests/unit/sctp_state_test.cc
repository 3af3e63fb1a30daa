// SPDX-License-Identifier: Apache-2.0
// The table of SCTP's states: whole lives of associations, and what may not be.
#include <gtest/gtest.h>

#include <vector>

#include <weft/sctp_state.h>

namespace
{

constexpr uint8_t DATA = 0, SACK = 3;
constexpr bool REPLY = true;

struct Step {
	uint8_t chunk;
	bool reply;
	int then;
};

void
lives(const std::vector<Step> &steps)
{
	int state = SCTP_STATE_NONE;
	for (size_t i = 0; i < steps.size(); i++) {
		int next = sctp_state_next((sctp_state)state, steps[i].chunk, steps[i].reply);
		ASSERT_EQ(next, steps[i].then) << "step " << i;
		if (next > 0 && next != SCTP_STATE_SAME)
			state = next;
	}
}

const std::vector<Step> opening = {
	{SCTP_CHUNK_INIT, false, SCTP_STATE_COOKIE_WAIT},
	{SCTP_CHUNK_INIT_ACK, REPLY, SCTP_STATE_COOKIE_WAIT},
	{SCTP_CHUNK_COOKIE_ECHO, false, SCTP_STATE_COOKIE_ECHOED},
	{SCTP_CHUNK_COOKIE_ACK, REPLY, SCTP_STATE_ESTABLISHED},
};

std::vector<Step>
opened(std::vector<Step> more)
{
	more.insert(more.begin(), opening.begin(), opening.end());
	return more;
}

TEST(SctpState, AWholeLife)
{
	lives(opened({{DATA, false, SCTP_STATE_ESTABLISHED},
		      {SACK, REPLY, SCTP_STATE_ESTABLISHED},
		      {SCTP_CHUNK_HEARTBEAT, REPLY, SCTP_STATE_ESTABLISHED},
		      {SCTP_CHUNK_SHUTDOWN, REPLY, SCTP_STATE_SHUTDOWN},
		      {DATA, false, SCTP_STATE_SHUTDOWN},
		      {SCTP_CHUNK_SHUTDOWN_ACK, false, SCTP_STATE_SHUTDOWN_ACK},
		      {SCTP_CHUNK_SHUTDOWN_COMPLETE, REPLY, SCTP_STATE_CLOSED},
		      {SACK, false, SCTP_STATE_SAME},
		      {SCTP_CHUNK_INIT, false, -ESTALE}}));
}

TEST(SctpState, BothOpenAtOnce)
{
	lives({{SCTP_CHUNK_INIT, false, SCTP_STATE_COOKIE_WAIT},
	       {SCTP_CHUNK_INIT, REPLY, SCTP_STATE_COOKIE_WAIT},
	       {SCTP_CHUNK_INIT_ACK, false, SCTP_STATE_COOKIE_WAIT},
	       {SCTP_CHUNK_COOKIE_ECHO, REPLY, SCTP_STATE_COOKIE_ECHOED},
	       {SCTP_CHUNK_COOKIE_ACK, false, SCTP_STATE_ESTABLISHED}});
}

TEST(SctpState, AbortsAndRefusals)
{
	lives({{SCTP_CHUNK_INIT, false, SCTP_STATE_COOKIE_WAIT}, {SCTP_CHUNK_ABORT, REPLY, SCTP_STATE_CLOSED}});
	lives(opened({{SCTP_CHUNK_ABORT, false, SCTP_STATE_CLOSED}}));
	lives({opening[0], opening[1], opening[2], {SCTP_CHUNK_ERROR, REPLY, SCTP_STATE_CLOSED}});
	lives({opening[0], opening[1], opening[2], {DATA, REPLY, SCTP_STATE_ESTABLISHED}});
}

TEST(SctpState, AnInitWithinAnAssociationChangesNothing)
{
	for (uint8_t chunk : {SCTP_CHUNK_INIT, SCTP_CHUNK_INIT_ACK})
		for (bool reply : {false, true})
			lives(opened({{chunk, reply, SCTP_STATE_SAME}}));
}

TEST(SctpState, AnotherPath)
{
	lives({{SCTP_CHUNK_HEARTBEAT, false, SCTP_STATE_HEARTBEAT},
	       {SCTP_CHUNK_HEARTBEAT, false, SCTP_STATE_HEARTBEAT},
	       {SCTP_CHUNK_HEARTBEAT_ACK, REPLY, SCTP_STATE_ESTABLISHED}});
}

TEST(SctpState, WhatBeginsNothing)
{
	for (int chunk = 1; chunk < 256; chunk++) {
		bool known = chunk <= SCTP_CHUNK_COOKIE_ACK || chunk == SCTP_CHUNK_SHUTDOWN_COMPLETE;
		bool begins = chunk == SCTP_CHUNK_INIT || chunk == SCTP_CHUNK_HEARTBEAT || chunk == SACK || !known;
		EXPECT_EQ(sctp_state_next(SCTP_STATE_NONE, (uint8_t)chunk, false) > 0, begins) << chunk;
		EXPECT_EQ(sctp_state_next(SCTP_STATE_NONE, (uint8_t)chunk, true), -EPROTO) << chunk;
		sctp_packet s = {7, 9, (uint8_t)chunk, false};
		EXPECT_EQ(sctp_may_pick_up(&s), chunk == SACK || !known) << chunk;
		EXPECT_EQ(sctp_may_open_path(&s), chunk == SCTP_CHUNK_HEARTBEAT) << chunk;
		s.tag = 0;
		EXPECT_EQ(sctp_may_open(&s), chunk == SCTP_CHUNK_INIT) << chunk;
		EXPECT_FALSE(sctp_may_pick_up(&s) || sctp_may_open_path(&s)) << chunk;
	}
	EXPECT_EQ(sctp_state_next(SCTP_STATE_COOKIE_WAIT, DATA, false), -EPROTO);
	EXPECT_EQ(sctp_state_next(SCTP_STATE_COUNT, DATA, false), -EPROTO);
}

} // namespace
