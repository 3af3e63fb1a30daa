// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "jsonrpc.h"

namespace
{

class Parse : public ::testing::Test
{
      protected:
	~Parse() override
	{
		rpc_request_free(&r);
	}
	int
	parse(const std::string &text)
	{
		rpc_request_free(&r);
		e = {};
		return rpc_request_parse(&r, text.data(), text.size(), &e);
	}
	std::string
	why(const std::string &text, int code)
	{
		EXPECT_EQ(parse(text), code == RPC_PARSE_ERROR ? -EBADMSG : -EINVAL) << text;
		EXPECT_EQ(e.code, code) << text;
		return e.message;
	}
	struct rpc_request r = {};
	struct rpc_error e = {};
};

TEST_F(Parse, ARequestHasIdMethodAndParams)
{
	ASSERT_EQ(parse(R"({"jsonrpc":"2.0","id":7,"method":"get","params":{"kind":"Port"}})"), 0);
	EXPECT_EQ(json_integer_value(r.id), 7);
	EXPECT_FALSE(r.notification);
	EXPECT_STREQ(r.method, "get");
	EXPECT_STREQ(json_string_value(json_object_get(r.params, "kind")), "Port");
}

TEST_F(Parse, IdsAreStringsNumbersOrNull)
{
	ASSERT_EQ(parse(R"({"jsonrpc":"2.0","id":"a","method":"x"})"), 0);
	EXPECT_STREQ(json_string_value(r.id), "a");
	ASSERT_EQ(parse(R"({"jsonrpc":"2.0","id":1.5,"method":"x"})"), 0);
	EXPECT_EQ(json_real_value(r.id), 1.5);
	ASSERT_EQ(parse(R"({"jsonrpc":"2.0","id":null,"method":"x"})"), 0);
	EXPECT_TRUE(json_is_null(r.id));
	EXPECT_FALSE(r.notification);
	for (const char *id : {"true", "[]", "{}", "[1]"}) {
		EXPECT_EQ(why(std::string(R"({"jsonrpc":"2.0","method":"x","id":)") + id + "}", RPC_INVALID_REQUEST),
			  "id: must be a string, a number or null");
		EXPECT_EQ(r.id, nullptr);
		EXPECT_FALSE(r.notification);
	}
}

TEST_F(Parse, NoIdIsANotificationAlsoWhenItsParamsAreWrong)
{
	ASSERT_EQ(parse(R"({"jsonrpc":"2.0","method":"x"})"), 0);
	EXPECT_TRUE(r.notification);
	EXPECT_EQ(r.params, nullptr);
	EXPECT_EQ(parse(R"({"jsonrpc":"2.0","method":"x","params":[1]})"), -EINVAL);
	EXPECT_TRUE(r.notification);
}

TEST_F(Parse, WhatIsNoRequestIsRefusedAndAnswered)
{
	EXPECT_EQ(why("{}", RPC_INVALID_REQUEST), "jsonrpc: must be \"2.0\"");
	EXPECT_FALSE(r.notification);
	EXPECT_EQ(why(R"({"jsonrpc":2.0,"id":1,"method":"x"})", RPC_INVALID_REQUEST), "jsonrpc: must be \"2.0\"");
	EXPECT_EQ(json_integer_value(r.id), 1);
	EXPECT_EQ(why(R"({"jsonrpc":"1.0","id":1,"method":"x"})", RPC_INVALID_REQUEST), "jsonrpc: must be \"2.0\"");
	EXPECT_EQ(why(R"({"jsonrpc":"2.0","id":1})", RPC_INVALID_REQUEST),
		  "method: must be the name of a verb, such as \"status\"");
	EXPECT_EQ(why(R"({"jsonrpc":"2.0","id":1,"method":7})", RPC_INVALID_REQUEST).substr(0, 7), "method:");
	EXPECT_EQ(why(R"({"jsonrpc":"2.0","id":1,"method":""})", RPC_INVALID_REQUEST).substr(0, 7), "method:");
	EXPECT_EQ(why(R"({"jsonrpc":"2.0","id":1,"method":"x","parms":{}})", RPC_INVALID_REQUEST),
		  "parms: is not a member of a request (jsonrpc, id, method, params)");
	EXPECT_EQ(why(R"({"jsonrpc":"2.0","id":1,"method":"x","params":[1]})", RPC_INVALID_PARAMS),
		  "params: must be an object");
	EXPECT_EQ(why(R"({"jsonrpc":"2.0","id":1,"method":"x","params":null})", RPC_INVALID_PARAMS),
		  "params: must be an object");
	EXPECT_EQ(why("[]", RPC_INVALID_REQUEST), "batches are not supported: send one request per line");
	EXPECT_EQ(why(R"([{"jsonrpc":"2.0","id":1,"method":"x"}])", RPC_INVALID_REQUEST).substr(0, 7), "batches");
	EXPECT_EQ(why("7", RPC_INVALID_REQUEST), "a request must be an object");
	EXPECT_EQ(why("\"x\"", RPC_INVALID_REQUEST), "a request must be an object");
}

TEST_F(Parse, WhatIsNotJsonIsToldApart)
{
	for (const std::string &text : {std::string("{"),
					std::string("}"),
					std::string("x"),
					std::string("{\"a\":1} x"),
					std::string("{\"a\":1}{}"),
					std::string("{'a':1}"),
					std::string("{\"a\":NaN}"),
					std::string("{\"a\":1,}"),
					std::string("{\"a\":01}"),
					std::string("\"\xff\""),
					std::string("\"\xc0\xaf\""),
					std::string("\"\xed\xa0\x80\""),
					std::string("\"\\ud800\""),
					std::string("\"\x01\""),
					std::string("{\"a\\u0000\":1}"),
					std::string("1\0", 2),
					std::string("{}\0x", 4),
					std::string("{\"a\":9223372036854775808}"),
					std::string("{\"a\":1e999}"),
					std::string()})
		EXPECT_NE(why(text, RPC_PARSE_ERROR).find("not JSON"), std::string::npos) << text;
}

TEST_F(Parse, DuplicateKeysAreNotJson)
{
	EXPECT_NE(why(R"({"jsonrpc":"2.0","id":1,"method":"a","method":"b"})", RPC_PARSE_ERROR).find("duplicate"),
		  std::string::npos);
	EXPECT_NE(why(R"({"jsonrpc":"2.0","id":1,"method":"a","params":{"x":{"y":1,"y":2}}})", RPC_PARSE_ERROR)
			  .find("duplicate"),
		  std::string::npos);
}

class Frame : public ::testing::Test
{
      protected:
	// The states as the text comes in pieces of n bytes.
	enum rpc_frame_state
	feed(const std::string &text, size_t step, unsigned int depth = 64)
	{
		f = {};
		for (size_t n = step;; n += step) {
			n = std::min(n, text.size());
			enum rpc_frame_state st = rpc_frame_scan(&f, text.data(), n, depth);
			if (st != RPC_FRAME_MORE || n == text.size())
				return st;
		}
	}
	struct rpc_frame f = {};
};

TEST_F(Frame, ALineEndsAtItsNewlineHoweverItComes)
{
	std::string text = "{\"a\":\"[[[ \\\" {{{\\\\\"}\nnext";
	for (size_t step = 1; step <= text.size(); step++) {
		EXPECT_EQ(feed(text, step, 1), RPC_FRAME_LINE) << step;
		EXPECT_EQ(f.scanned, text.find('\n') + 1);
		EXPECT_TRUE(f.begun);
	}
}

TEST_F(Frame, ANewlineEndsTheLineAlsoWithinAString)
{
	EXPECT_EQ(feed("{\"a\n", 3), RPC_FRAME_LINE);
	EXPECT_EQ(feed("{\"a\\\n", 1), RPC_FRAME_LINE);
}

TEST_F(Frame, WhiteSpaceBeginsNothing)
{
	EXPECT_EQ(feed(" \t\r", 1), RPC_FRAME_MORE);
	EXPECT_FALSE(f.begun);
	EXPECT_EQ(feed(" \r\n", 1), RPC_FRAME_LINE);
	EXPECT_FALSE(f.begun);
	EXPECT_EQ(feed("\"", 1), RPC_FRAME_MORE);
	EXPECT_TRUE(f.begun);
	EXPECT_EQ(feed("[", 1), RPC_FRAME_MORE);
	EXPECT_TRUE(f.begun);
}

TEST_F(Frame, DepthIsCountedAndNotTheNumberOfBrackets)
{
	std::string wide, deep(64, '['), closed(64, ']');
	for (int i = 0; i < 1000; i++)
		wide += "[{}],";
	EXPECT_EQ(feed(wide, 7, 2), RPC_FRAME_MORE);
	EXPECT_EQ(feed(wide, 7, 1), RPC_FRAME_DEEP);
	EXPECT_EQ(feed(deep + closed + "\n", 5), RPC_FRAME_LINE);
	EXPECT_EQ(feed(deep + "{", 5), RPC_FRAME_DEEP);
	EXPECT_EQ(f.scanned, 65u);
	EXPECT_EQ(feed(std::string(1000000, '['), 4096), RPC_FRAME_DEEP);
	EXPECT_EQ(f.scanned, 65u);
	EXPECT_EQ(feed(std::string(1000, ']') + std::string(65, '['), 9), RPC_FRAME_DEEP);
}

std::string
taken(char *text, size_t n)
{
	EXPECT_NE(text, nullptr);
	std::string out(text, n);
	EXPECT_EQ(strlen(text), n);
	free(text);
	return out;
}

TEST(Lines, AnswersEchoTheId)
{
	size_t n = 0;
	json_t *id = json_string("a\nb"), *value = json_pack("{s:i}", "x", 1);
	char *text = rpc_result_line(id, value, &n);
	EXPECT_EQ(taken(text, n), "{\"jsonrpc\":\"2.0\",\"id\":\"a\\nb\",\"result\":{\"x\":1}}\n");
	text = rpc_result_line(nullptr, value, &n);
	EXPECT_EQ(taken(text, n), "{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":{\"x\":1}}\n");
	text = rpc_event_line(value, &n);
	EXPECT_EQ(taken(text, n), "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"x\":1}}\n");
	json_decref(id);
	json_decref(value);
}

TEST(Lines, AMessageCutWithinACharacterIsStillSent)
{
	size_t n = 0;
	struct rpc_error e = {RPC_REFUSED, "name \xc3"};
	char *text = rpc_error_line(nullptr, &e, &n);
	EXPECT_EQ(taken(text, n),
		  "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"name ?\"}}\n");
	struct rpc_error good = {RPC_REFUSED, "name \xc3\xa9"};
	text = rpc_error_line(nullptr, &good, &n);
	EXPECT_NE(taken(text, n).find("name \xc3\xa9"), std::string::npos);
}

} // namespace
