// Work shared with a thread pool that may be busy, or have no thread to spare.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

// Calls work(i) for every i in [0, n), on this thread and on those that the pool lends. Helpers claim what is left
// when they arrive; this thread goes on by itself until nothing is, and then waits for what helpers have begun alone.
// A helper that comes late finds nothing to claim: nobody ever waits for a thread that has not started.
template <class Pool, class Work> void share(Pool &pool, int64_t helpers, int64_t n, const Work &work) {
  struct State {
    std::atomic<int64_t> next{0}, done{0};
  };
  auto state = std::make_shared<State>();
  auto claim = [state, n, &work] { // `work` is touched only with a claim, while the caller still waits
    for (int64_t i; (i = state->next.fetch_add(1)) < n;) {
      work(i);
      state->done.fetch_add(1, std::memory_order_release);
    }
  };
  for (int64_t i = 0; i < helpers && i < n - 1; ++i) {
    auto helper = claim;
    pool.Schedule(std::move(helper));
  }
  claim();
  for (int spins = 0; state->done.load(std::memory_order_acquire) < n; ++spins)
    if (spins > 1000) std::this_thread::yield();
}
