// SPDX-License-Identifier: Apache-2.0
// What the thread sanitizer may say.

extern "C" const char *__tsan_default_options();
extern "C" const char *__tsan_default_suppressions();

const char *
__tsan_default_options()
{
	return "halt_on_error=0:second_deadlock_stack=1:history_size=4";
}

// DPDK 22.11's rte_rcu_qsbr_check() reads and writes acked_token plainly: an older value only makes it look again.
const char *
__tsan_default_suppressions()
{
	return "race:rte_rcu_qsbr_check\n"
	       "race:__rte_rcu_qsbr_check_all\n"
	       "race:__rte_rcu_qsbr_check_selective\n";
}
