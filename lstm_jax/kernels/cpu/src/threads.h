// Work shared with a thread pool that may be busy, or have no thread to spare.
#pragma once

#include <atomic>
#include <chrono>
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

// Whether short steps go faster with helpers or without: between cores that lie far apart, what a step writes and the
// next one reads takes longer than the work that is saved. Measured while they run, and again every few hundred steps.
class Pace {
  typedef std::chrono::steady_clock Clock;
  static constexpr int64_t WINDOW = 4, WARM = 3, WINDOWS = 64;
  static constexpr std::chrono::microseconds SHORT{4 * WINDOW}; // longer ones gain in any case
  Clock::time_point began = Clock::now();
  Clock::duration together{};
  int64_t steps = 0, warm = 0, chosen = 0; // windows in which helpers did all theirs, and for which a choice holds
  bool complete = true;                    // helpers did all of this window's steps

public:
  bool alone = false;

  void count(bool helped) {
    complete &= helped;
    if (++steps < WINDOW) return;
    Clock::time_point now = Clock::now();
    if (chosen) {
      if (--chosen == 0) alone = false, warm = 0;
    } else if (alone) {
      alone = now - began < together;
      chosen = WINDOWS;
    } else if (complete && ++warm > WARM) { // by then they have their weights at hand
      together = now - began;
      alone = together < SHORT;
      chosen = alone ? 0 : WINDOWS;
    }
    began = now, steps = 0, complete = true;
  }
};

// A crew of several threads for one loop. A share is claimed anew at every step: by its helper where that has come and
// is awake, otherwise by the thread that leads, which therefore never waits for a thread that has not started.
template <class Pool> struct March : Crew {
  Pool &pool;
  March(Pool &pool, int64_t shares, bool of_units) : Crew{shares, of_units, go}, pool(pool) {}

  struct Share { // in steps; apart, so that who waits for the one does not take the other's cache line away
    alignas(64) std::atomic<int64_t> claimed{0};
    alignas(64) std::atomic<int64_t> done{0};
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
    Pace pace;
    bool helped = false; // by all, at the step before: then they are likely to come, and their claims are left alone
    for (int64_t s = 0; s < steps; ++s) {
      begin(loop, s);
      if (!pace.alone) {
        for (int64_t k = 1; !helped && k < crew.shares; ++k)
          state->shares[k].claimed.store(s, std::memory_order_relaxed);
        state->open.store(s + 1, std::memory_order_release);
      }
      work(loop, s, 0);
      bool expected = std::exchange(helped, !pace.alone);
      for (int64_t k = 1; k < crew.shares; ++k) {
        Share &share = state->shares[k];
        auto done = [&] { return share.done.load(std::memory_order_acquire) > s; };
        for (int64_t spins = 0; expected && !pace.alone && spins < 1000 && !done();) ++spins;
        int64_t before = s;
        if (pace.alone || (!done() && share.claimed.compare_exchange_strong(before, s + 1))) {
          work(loop, s, k);
          helped = false;
        } else {
          for (int64_t spins = 0; !done();) wait_a_while(++spins);
        }
      }
      pace.count(helped);
    }
    state->open.store(-1, std::memory_order_release);
  }
};
