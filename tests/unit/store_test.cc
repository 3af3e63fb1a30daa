// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <store.h>

namespace
{

struct Row {
	std::string kind, name, owner, json;
	uint64_t generation, epoch;
	bool closed;
};

class Store : public testing::Test
{
      protected:
	std::string dir, file;
	struct store *s = nullptr;
	struct error e = {};

	void
	SetUp() override
	{
		char text[] = "/tmp/weft-store-XXXXXX";
		ASSERT_NE(mkdtemp(text), nullptr);
		dir = text;
		file = dir + "/objects.db";
	}

	void
	TearDown() override
	{
		store_close(s);
		for (const char *name : {"", "-wal", "-shm", "-journal"})
			unlink((file + name).c_str());
		ASSERT_EQ(rmdir(dir.c_str()), 0) << "something was left behind in " << dir;
	}

	int
	open(const char *boot = "boot-1")
	{
		store_close(s);
		s = nullptr;
		e = {};
		return store_open(&s, dir.c_str(), boot, &e);
	}

	void
	put(const char *kind, const char *name, const char *json, uint64_t generation = 1, uint64_t epoch = 1)
	{
		struct store_row r = {kind, name, "cni", json, generation, epoch, false, false, nullptr, 0};
		ASSERT_EQ(store_put(s, &r, &e), 0) << e.text;
	}

	void
	commit_one(uint64_t epoch = 1)
	{
		ASSERT_EQ(store_begin(s, &e), 0);
		put("Node", "a", R"({"ips":["192.0.2.1"]})");
		ASSERT_EQ(store_commit(s, epoch, &e), 0);
	}

	std::vector<Row>
	load(int *rc = nullptr)
	{
		std::vector<Row> rows;
		auto add = [](const struct store_row *r, void *arg, struct error *) {
			static_cast<std::vector<Row> *>(arg)->push_back(
				{r->kind, r->name, r->owner, r->json, r->generation, r->epoch, r->closed});
			return 0;
		};
		e = {};
		int result = store_load(s, add, &rows, &e);
		if (rc != nullptr)
			*rc = result;
		else
			EXPECT_EQ(result, 0) << e.text;
		return rows;
	}

	// Behind the store's back.
	void
	sql(const char *text)
	{
		sqlite3 *db;
		ASSERT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
		char *why = nullptr;
		ASSERT_EQ(sqlite3_exec(db, text, nullptr, nullptr, &why), SQLITE_OK) << why;
		sqlite3_close(db);
	}

	void
	close()
	{
		store_close(s);
		s = nullptr;
	}
};

TEST_F(Store, IsEmptyAtFirst)
{
	ASSERT_EQ(open(), 0) << e.text;
	EXPECT_EQ(store_epoch(s), 0u);
	EXPECT_TRUE(load().empty());
	EXPECT_EQ(store_path(s), file);
}

TEST_F(Store, IsForItsOwnerOnly)
{
	ASSERT_EQ(open(), 0);
	commit_one();
	for (const char *name : {"", "-wal"}) {
		struct stat st;
		ASSERT_EQ(stat((file + name).c_str(), &st), 0) << name;
		EXPECT_EQ(st.st_mode & 0777, 0600u) << name;
	}
	close();
	chmod(file.c_str(), 0644);
	ASSERT_EQ(open(), 0);
	struct stat st;
	stat(file.c_str(), &st);
	EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(Store, KeepsWhatIsCommitted)
{
	ASSERT_EQ(open(), 0);
	ASSERT_EQ(store_begin(s, &e), 0);
	put("Port", "b", R"({"type":"test"})", 3, 7);
	put("Node", "a", R"({"ips":["192.0.2.1"]})");
	put("Node", "A", "{}");
	ASSERT_EQ(store_commit(s, 7, &e), 0);
	ASSERT_EQ(open(), 0);
	EXPECT_EQ(store_epoch(s), 7u);
	auto rows = load();
	ASSERT_EQ(rows.size(), 3u);
	EXPECT_EQ(rows[0].name, "A");
	EXPECT_EQ(rows[1].name, "a");
	EXPECT_EQ(rows[2].kind, "Port");
	EXPECT_EQ(rows[2].json, R"({"type":"test"})");
	EXPECT_EQ(rows[2].owner, "cni");
	EXPECT_EQ(rows[2].generation, 3u);
	EXPECT_EQ(rows[2].epoch, 7u);
	EXPECT_FALSE(rows[2].closed);
}

TEST_F(Store, ReplacesAndRemoves)
{
	ASSERT_EQ(open(), 0);
	commit_one();
	ASSERT_EQ(store_begin(s, &e), 0);
	put("Node", "a", "{}", 2, 2);
	put("Node", "b", "{}");
	ASSERT_EQ(store_commit(s, 2, &e), 0);
	ASSERT_EQ(store_begin(s, &e), 0);
	ASSERT_EQ(store_remove(s, "Node", "b", &e), 0);
	ASSERT_EQ(store_commit(s, 3, &e), 0);
	auto rows = load();
	ASSERT_EQ(rows.size(), 1u);
	EXPECT_EQ(rows[0].generation, 2u);
	EXPECT_EQ(store_epoch(s), 3u);
}

TEST_F(Store, RollbackLeavesNothing)
{
	ASSERT_EQ(open(), 0);
	commit_one(4);
	ASSERT_EQ(store_begin(s, &e), 0);
	put("Node", "b", "{}");
	store_remove(s, "Node", "a", &e);
	store_rollback(s);
	store_rollback(s); // once more does no harm
	EXPECT_EQ(load().size(), 1u);
	EXPECT_EQ(store_epoch(s), 4u);
	commit_one(5);
}

TEST_F(Store, CutOffInTheMiddleOfATransactionIsTheStateBefore)
{
	ASSERT_EQ(open(), 0);
	commit_one(4);
	ASSERT_EQ(store_begin(s, &e), 0);
	put("Node", "b", "{}");
	ASSERT_EQ(open(), 0); // closes without commit
	EXPECT_EQ(load().size(), 1u);
	EXPECT_EQ(store_epoch(s), 4u);
}

TEST_F(Store, SurvivesTheDeathOfItsProcess)
{
	pid_t child = fork();
	ASSERT_GE(child, 0);
	if (child == 0) {
		struct error why;
		struct store *mine;
		struct store_row r = {"Node", "a", "", "{}", 1, 9, false, false, nullptr, 0};
		if (store_open(&mine, dir.c_str(), "boot-1", &why) < 0 || store_begin(mine, &why) < 0 ||
		    store_put(mine, &r, &why) < 0 || store_commit(mine, 9, &why) < 0)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	int status;
	waitpid(child, &status, 0);
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(open(), 0) << e.text;
	EXPECT_EQ(store_epoch(s), 9u);
	EXPECT_EQ(load().size(), 1u);
}

TEST_F(Store, ASecondInstanceIsRefused)
{
	ASSERT_EQ(open(), 0);
	struct store *other = nullptr;
	EXPECT_EQ(store_open(&other, dir.c_str(), "boot-1", &e), -EBUSY);
	EXPECT_EQ(std::string(e.text), file + " is in use by another weftd");
	commit_one();
	EXPECT_EQ(load().size(), 1u);
}

TEST_F(Store, AnotherProcessIsRefusedToo)
{
	ASSERT_EQ(open(), 0);
	pid_t child = fork();
	ASSERT_GE(child, 0);
	if (child == 0) {
		struct error why;
		struct store *mine;
		_exit(store_open(&mine, dir.c_str(), "boot-1", &why) == -EBUSY ? 0 : 1);
	}
	int status;
	waitpid(child, &status, 0);
	EXPECT_EQ(status, 0);
}

TEST_F(Store, ARebootClosesEndpointsUntilTheyAreStoredAgain)
{
	ASSERT_EQ(open("boot-1"), 0);
	ASSERT_EQ(store_begin(s, &e), 0);
	put("Endpoint", "e1", "{}");
	put("Endpoint", "e2", "{}");
	put("Service", "s", "{}");
	ASSERT_EQ(store_commit(s, 1, &e), 0);
	ASSERT_EQ(open("boot-1"), 0);
	for (const Row &r : load())
		EXPECT_FALSE(r.closed) << r.name;
	ASSERT_EQ(open("boot-2"), 0);
	for (const Row &r : load())
		EXPECT_EQ(r.closed, r.kind == "Endpoint") << r.name;
	ASSERT_EQ(store_begin(s, &e), 0);
	put("Endpoint", "e1", "{}");
	ASSERT_EQ(store_commit(s, 2, &e), 0);
	ASSERT_EQ(open("boot-2"), 0);
	for (const Row &r : load())
		EXPECT_EQ(r.closed, r.name == "e2") << r.name;
}

TEST_F(Store, MakesTheFolder)
{
	std::string below = dir + "/state";
	ASSERT_EQ(store_open(&s, below.c_str(), "b", &e), 0) << e.text;
	struct stat st;
	ASSERT_EQ(stat(below.c_str(), &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0700u);
	close();
	unlink((below + "/objects.db").c_str());
	ASSERT_EQ(rmdir(below.c_str()), 0);
	EXPECT_EQ(store_open(&s, (dir + "/no/such").c_str(), "b", &e), -ENOENT);
	EXPECT_NE(std::string(e.text).find(dir + "/no/such"), std::string::npos);
}

// Whatever is refused stays as it is, for somebody to look at.
class Damaged : public Store
{
      protected:
	void
	refused(int rc, const char *why)
	{
		std::ifstream before(file, std::ios::binary);
		std::string was((std::istreambuf_iterator<char>(before)), {});
		EXPECT_EQ(open(), rc);
		EXPECT_EQ(s, nullptr);
		EXPECT_EQ(std::string(e.text).find(file), 0u) << e.text;
		EXPECT_NE(std::string(e.text).find(why), std::string::npos) << e.text;
		std::ifstream after(file, std::ios::binary);
		std::string now((std::istreambuf_iterator<char>(after)), {});
		EXPECT_EQ(was, now);
	}

	void
	fill()
	{
		ASSERT_EQ(open(), 0);
		ASSERT_EQ(store_begin(s, &e), 0);
		for (int i = 0; i < 500; i++)
			put("Service", ("s" + std::to_string(i)).c_str(),
			    R"({"ips":["10.96.0.10"],"network":"default","ports":[{"port":80}]})");
		ASSERT_EQ(store_commit(s, 1, &e), 0);
		close();
	}
};

TEST_F(Damaged, EmptyFile)
{
	std::ofstream(file).close();
	refused(-EBADMSG, "it is empty");
}

TEST_F(Damaged, NotADatabase)
{
	std::ofstream(file) << std::string(8192, 'x');
	refused(-EBADMSG, "is damaged");
}

TEST_F(Damaged, CutOff)
{
	fill();
	struct stat st;
	ASSERT_EQ(stat(file.c_str(), &st), 0);
	ASSERT_GT(st.st_size, 20000);
	ASSERT_EQ(truncate(file.c_str(), st.st_size / 2), 0);
	refused(-EBADMSG, "is damaged");
	ASSERT_EQ(truncate(file.c_str(), 100), 0);
	refused(-EBADMSG, "is damaged");
}

TEST_F(Damaged, PageOverwritten)
{
	fill();
	std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
	f.seekp(4096 * 3);
	f << std::string(4096, '\xff');
	f.close();
	refused(-EBADMSG, "is damaged");
}

TEST_F(Damaged, OneAddressChanged)
{
	fill();
	std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
	std::string all((std::istreambuf_iterator<char>(f)), {});
	size_t at = all.find("10.96.0.10");
	ASSERT_NE(at, std::string::npos);
	f.clear();
	f.seekp((std::streamoff)at);
	f << "10.97.0.10";
	f.close();
	ASSERT_EQ(open(), 0) << e.text; // SQLite sees nothing wrong
	int rc;
	load(&rc);
	EXPECT_EQ(rc, -EBADMSG);
	EXPECT_NE(std::string(e.text).find("Service s"), std::string::npos) << e.text;
	EXPECT_EQ(std::string(e.text).find(file), 0u);
}

TEST_F(Damaged, RowChangedByHand)
{
	for (const char *change :
	     {"UPDATE objects SET epoch = 2 WHERE name = 's7'", "UPDATE objects SET owner = 'x' WHERE name = 's7'",
	      "UPDATE objects SET name = 'x' WHERE name = 's7'", "UPDATE objects SET json = '{}' WHERE name = 's7'"}) {
		fill();
		sql(change);
		ASSERT_EQ(open(), 0) << e.text;
		int rc;
		load(&rc);
		EXPECT_EQ(rc, -EBADMSG) << change;
		close();
		unlink(file.c_str());
	}
}

TEST_F(Damaged, NewerVersion)
{
	fill();
	sql("UPDATE meta SET version = 3");
	refused(-EBADMSG, "has version \"3\", this weftd knows version 2 only");
}

TEST_F(Damaged, SomebodyElsesDatabase)
{
	sql("CREATE TABLE t (x)");
	chmod(file.c_str(), 0600);
	EXPECT_EQ(open(), -EBADMSG);
	EXPECT_EQ(std::string(e.text), file + " is a database, but not one of weftd's");
}

TEST_F(Damaged, NotAFile)
{
	ASSERT_EQ(symlink("/dev/null", file.c_str()), 0);
	EXPECT_EQ(open(), -EBADMSG);
	EXPECT_EQ(std::string(e.text), file + " is not a regular file");
}

TEST_F(Damaged, LogWithoutItsFile)
{
	std::ofstream(file + "-wal") << "left over";
	EXPECT_EQ(open(), -EBADMSG);
	EXPECT_NE(std::string(e.text).find("is missing, but its log"), std::string::npos) << e.text;
}

TEST_F(Store, ACallbackEndsTheLoad)
{
	ASSERT_EQ(open(), 0);
	commit_one();
	auto refuse = [](const struct store_row *, void *, struct error *why) {
		return error_set(why, -EBADMSG, "no");
	};
	EXPECT_EQ(store_load(s, refuse, nullptr, &e), -EBADMSG);
	EXPECT_STREQ(e.text, "no");
	commit_one(2);
}

} // namespace
