// Work shared with a thread pool that may be busy, or have no thread to spare.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "problem.h"

inline void wait_a_while(int64_t spins) {
  if (spins > 4000) std::this_thread::yield();
}

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
  for (int64_t spins = 0; state->done.load(std::memory_order_acquire) < n;) wait_a_while(++spins);
}

// A crew of several threads for one loop. A share is claimed anew at every step: by its helper where that has come and
// is awake, otherwise by the thread that leads, which therefore never waits for a thread that has not started.
template <class Pool> struct March : Crew {
  Pool &pool;
  March(Pool &pool, int64_t shares, bool of_units) : Crew{shares, of_units, go}, pool(pool) {}

  struct alignas(64) Share {
    std::atomic<int64_t> claimed{0}, done{0}; // steps
  };
  struct State {
    std::atomic<int64_t> open{0}; // steps that have begun; negative when all are done
    std::unique_ptr<Share[]> shares;
  };

  static void go(const Crew &crew, int64_t steps, void *loop, void (*begin)(void *, int64_t),
                 void (*work)(void *, int64_t, int64_t)) {
    auto state = std::make_shared<State>();
    state->shares.reset(new Share[crew.shares]);
    for (int64_t k = 1; k < crew.shares; ++k)
      static_cast<const March &>(crew).pool.Schedule([state, loop, work, k] {
        Share &own = state->shares[k];
        int64_t seen = 0, open;
        for (int64_t spins = 0; (open = state->open.load(std::memory_order_acquire)) >= 0; wait_a_while(++spins)) {
          if (open == seen) continue;
          spins = 0;
          seen = open;
          int64_t before = open - 1;
          if (!own.claimed.compare_exchange_strong(before, open)) continue;
          work(loop, open - 1, k);
          own.done.store(open, std::memory_order_release);
        }
      });
    for (int64_t s = 0; s < steps; ++s) {
      begin(loop, s);
      state->open.store(s + 1, std::memory_order_release);
      work(loop, s, 0);
      for (int64_t k = 1; k < crew.shares; ++k) {
        Share &share = state->shares[k];
        int64_t before = s;
        if (share.claimed.compare_exchange_strong(before, s + 1)) {
          work(loop, s, k);
        } else {
          for (int64_t spins = 0; share.done.load(std::memory_order_acquire) <= s;) wait_a_while(++spins);
        }
      }
    }
    state->open.store(-1, std::memory_order_release);
  }
};
