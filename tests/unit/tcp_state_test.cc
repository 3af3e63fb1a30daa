// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include <weft/tcp_state.h>

namespace
{

constexpr uint8_t S = TCP_BIT_SYN, A = TCP_BIT_ACK, F = TCP_BIT_FIN, R = TCP_BIT_RST, P = TCP_BIT_PSH, U = TCP_BIT_URG;
constexpr bool ORIG = false, REPLY = true;

struct Step {
	bool reply;
	uint8_t flags;
	int expect;
};

// Follow a conversation from NONE; every step's answer is checked.
void
story(const char *name, const std::vector<Step> &steps)
{
	int state = TCP_STATE_NONE;
	for (size_t i = 0; i < steps.size(); i++) {
		int next = tcp_state_next(static_cast<tcp_state>(state), steps[i].flags, steps[i].reply);
		ASSERT_EQ(next, steps[i].expect) << name << ", segment " << i;
		if (next >= 0 && next != TCP_STATE_SAME)
			state = next;
	}
}

TEST(TcpState, OrdinaryConversation)
{
	story("client closes first", {{ORIG, S, TCP_STATE_SYN_SENT},
				      {REPLY, S | A, TCP_STATE_SYN_RECV},
				      {ORIG, A, TCP_STATE_ESTABLISHED},
				      {ORIG, P | A, TCP_STATE_ESTABLISHED},
				      {REPLY, A, TCP_STATE_ESTABLISHED},
				      {REPLY, P | A | U, TCP_STATE_ESTABLISHED},
				      {ORIG, F | A, TCP_STATE_FIN_WAIT},
				      {REPLY, A, TCP_STATE_CLOSE_WAIT},
				      {REPLY, F | A, TCP_STATE_LAST_ACK},
				      {ORIG, A, TCP_STATE_TIME_WAIT},
				      {ORIG, A, TCP_STATE_TIME_WAIT}});
	story("server closes first, FINs cross", {{ORIG, S, TCP_STATE_SYN_SENT},
						  {REPLY, S | A, TCP_STATE_SYN_RECV},
						  {ORIG, A, TCP_STATE_ESTABLISHED},
						  {REPLY, F | A | P, TCP_STATE_FIN_WAIT},
						  {ORIG, F | A, TCP_STATE_LAST_ACK},
						  {REPLY, A, TCP_STATE_TIME_WAIT}});
	story("the handshake's ACK carries a FIN",
	      {{ORIG, S, TCP_STATE_SYN_SENT}, {REPLY, S | A, TCP_STATE_SYN_RECV}, {ORIG, F | A, TCP_STATE_FIN_WAIT}});
}

TEST(TcpState, Retransmissions)
{
	story("SYN, SYN-ACK and last FIN again", {{ORIG, S, TCP_STATE_SYN_SENT},
						  {ORIG, S, TCP_STATE_SYN_SENT},
						  {ORIG, S, TCP_STATE_SYN_SENT},
						  {REPLY, S | A, TCP_STATE_SYN_RECV},
						  {REPLY, S | A, TCP_STATE_SAME},
						  {ORIG, S, TCP_STATE_SAME},
						  {ORIG, A, TCP_STATE_ESTABLISHED},
						  {REPLY, S | A, TCP_STATE_SAME},
						  {ORIG, A, TCP_STATE_ESTABLISHED},
						  {ORIG, F | A, TCP_STATE_FIN_WAIT},
						  {REPLY, A, TCP_STATE_CLOSE_WAIT},
						  {REPLY, F | A, TCP_STATE_LAST_ACK},
						  {REPLY, F | A, TCP_STATE_LAST_ACK},
						  {ORIG, A, TCP_STATE_TIME_WAIT},
						  {REPLY, F | A, TCP_STATE_TIME_WAIT}});
}

TEST(TcpState, SimultaneousOpen)
{
	story("SYNs cross", {{ORIG, S, TCP_STATE_SYN_SENT},
			     {REPLY, S, TCP_STATE_SYN_SENT2},
			     {ORIG, S, TCP_STATE_SYN_SENT2},
			     {REPLY, S, TCP_STATE_SYN_SENT2},
			     {ORIG, S | A, TCP_STATE_SYN_RECV},
			     {REPLY, S | A, TCP_STATE_SAME},
			     {ORIG, A, TCP_STATE_ESTABLISHED}});
	story("the other side's SYN-ACK first", {{ORIG, S, TCP_STATE_SYN_SENT},
						 {REPLY, S, TCP_STATE_SYN_SENT2},
						 {REPLY, S | A, TCP_STATE_SYN_RECV},
						 {ORIG, S | A, TCP_STATE_SYN_RECV},
						 {ORIG, A, TCP_STATE_ESTABLISHED}});
}

TEST(TcpState, Refused)
{
	story("nobody listens, then another try", {{ORIG, S, TCP_STATE_SYN_SENT},
						   {REPLY, R | A, TCP_STATE_CLOSE},
						   {REPLY, R | A, TCP_STATE_CLOSE},
						   {ORIG, S, -ESTALE}});
	story("half-open discovery", {{ORIG, S, TCP_STATE_SYN_SENT},
				      {REPLY, A, TCP_STATE_SAME},
				      {ORIG, R, TCP_STATE_CLOSE},
				      {ORIG, S, -ESTALE}});
}

TEST(TcpState, SynInAConversationPassesAndTeachesNothing)
{
	for (int s : {TCP_STATE_SYN_RECV, TCP_STATE_ESTABLISHED, TCP_STATE_FIN_WAIT, TCP_STATE_CLOSE_WAIT}) {
		EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), S, ORIG), TCP_STATE_SAME) << tcp_state_name(s);
		EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), S, REPLY), -EPROTO) << tcp_state_name(s);
	}
}

TEST(TcpState, SynOnWhatBothHaveClosedOpensAnew)
{
	EXPECT_EQ(tcp_state_next(TCP_STATE_LAST_ACK, S, ORIG), -ESTALE);
	EXPECT_EQ(tcp_state_next(TCP_STATE_LAST_ACK, S, REPLY), -EPROTO);
	EXPECT_EQ(tcp_state_next(TCP_STATE_TIME_WAIT, S, ORIG), -ESTALE);
	EXPECT_EQ(tcp_state_next(TCP_STATE_TIME_WAIT, S, REPLY), -ESTALE);
	EXPECT_EQ(tcp_state_next(TCP_STATE_CLOSE, S, ORIG), -ESTALE);
	EXPECT_EQ(tcp_state_next(TCP_STATE_CLOSE, S, REPLY), -EPROTO);
}

TEST(TcpState, ResetClosesFromEveryState)
{
	for (int s = TCP_STATE_SYN_SENT; s < TCP_STATE_COUNT; s++) {
		for (bool reply : {ORIG, REPLY}) {
			for (int f : {int(R), R | A, R | A | P, R | U})
				EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), static_cast<uint8_t>(f), reply),
					  TCP_STATE_CLOSE)
					<< tcp_state_name(s);
		}
	}
}

TEST(TcpState, SynSentTakesNothingElseOfTheOriginator)
{
	for (int s : {TCP_STATE_SYN_SENT, TCP_STATE_SYN_SENT2}) {
		EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), A, ORIG), -EPROTO);
		EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), F | A, ORIG), -EPROTO);
		EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), F | A, REPLY), -EPROTO);
	}
	EXPECT_EQ(tcp_state_next(TCP_STATE_SYN_SENT, S | A, ORIG), -EPROTO);
}

TEST(TcpState, FirstSegments)
{
	EXPECT_EQ(tcp_state_next(TCP_STATE_NONE, S, ORIG), TCP_STATE_SYN_SENT);
	EXPECT_EQ(tcp_state_next(TCP_STATE_NONE, A, ORIG), TCP_STATE_ESTABLISHED);
	for (int f : {S | A, F | A, int(R), R | A})
		EXPECT_EQ(tcp_state_next(TCP_STATE_NONE, static_cast<uint8_t>(f), ORIG), -EPROTO);
	for (int f = 0; f < 256; f++)
		EXPECT_EQ(tcp_state_next(TCP_STATE_NONE, static_cast<uint8_t>(f), REPLY), -EPROTO);
}

TEST(TcpState, ContradictoryFlagsAreInvalidInEveryState)
{
	for (int f = 0; f < 256; f++) {
		int control = f & (S | A | F | R);
		bool sane = control == S || control == (S | A) || control == A || control == (F | A) || control == R ||
			    control == (R | A);
		if (sane)
			continue;
		for (int s = 0; s < TCP_STATE_COUNT; s++) {
			EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), static_cast<uint8_t>(f), ORIG), -EPROTO)
				<< f;
			EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), static_cast<uint8_t>(f), REPLY), -EPROTO)
				<< f;
		}
	}
}

TEST(TcpState, OnlyTheControlBitsMatter)
{
	for (int f = 0; f < 256; f++) {
		for (int s = 0; s < TCP_STATE_COUNT; s++) {
			for (bool reply : {ORIG, REPLY})
				EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(s), static_cast<uint8_t>(f), reply),
					  tcp_state_next(static_cast<tcp_state>(s),
							 static_cast<uint8_t>(f & (S | A | F | R)), reply));
		}
	}
}

TEST(TcpState, MayOpenIsASynAlone)
{
	for (int f = 0; f < 256; f++)
		EXPECT_EQ(tcp_state_may_open(static_cast<uint8_t>(f)), (f & (S | A | F | R)) == S) << f;
}

// Whatever two peers send, a closed connection never comes back to life without -ESTALE, and no state is left but for a
// known one.
TEST(TcpState, NothingReturnsFromTheDead)
{
	for (int s = 0; s < TCP_STATE_COUNT; s++) {
		for (int f = 0; f < 256; f++) {
			for (bool reply : {ORIG, REPLY}) {
				int next = tcp_state_next(static_cast<tcp_state>(s), static_cast<uint8_t>(f), reply);
				EXPECT_NE(next, TCP_STATE_NONE);
				EXPECT_TRUE((next > 0 && next <= TCP_STATE_SAME) || next == -EPROTO || next == -ESTALE);
				if (s == TCP_STATE_CLOSE && next >= 0) {
					EXPECT_TRUE(next == TCP_STATE_CLOSE || next == TCP_STATE_SAME);
				}
				if (s == TCP_STATE_TIME_WAIT && next >= 0) {
					EXPECT_TRUE(next == TCP_STATE_TIME_WAIT || next == TCP_STATE_CLOSE ||
						    next == TCP_STATE_SAME);
				}
				if (s >= TCP_STATE_FIN_WAIT && s <= TCP_STATE_CLOSE) {
					EXPECT_NE(next, TCP_STATE_ESTABLISHED);
				}
			}
		}
	}
}

TEST(TcpState, UnknownStatesAreInvalid)
{
	EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(TCP_STATE_COUNT), A, ORIG), -EPROTO);
	EXPECT_EQ(tcp_state_next(static_cast<tcp_state>(255), A, REPLY), -EPROTO);
}

TEST(TcpState, Names)
{
	std::map<std::string, int> seen;
	for (unsigned int s = 0; s < TCP_STATE_COUNT; s++) {
		ASSERT_NE(tcp_state_name(s), nullptr);
		seen[tcp_state_name(s)]++;
	}
	EXPECT_EQ(seen.size(), size_t(TCP_STATE_COUNT));
	EXPECT_STREQ(tcp_state_name(TCP_STATE_ESTABLISHED), "ESTABLISHED");
	EXPECT_EQ(tcp_state_name(TCP_STATE_COUNT), nullptr);
}

} // namespace
