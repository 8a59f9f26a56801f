// Threads of XLA's own pool that go through rounds together.
//
// The caller leads. A worker takes part from the first round that begins after it has
// begun itself, so that the caller never waits for one that has not: where the pool is
// busy, or has but one thread, the caller does all the work alone. It waits only for
// those that it counted at the start of a round, which run by then.
#pragma once

#include <sched.h>

#include <atomic>
#include <memory>

#include "problem.h"
#include "xla/ffi/api/ffi.h"

namespace lstm {

class PoolTeam final : public Team {
 public:
  PoolTeam(xla::ffi::ThreadPool pool, int most) : pool_(pool), most_(most) {}

  int most() const override { return most_; }

  void run(int64_t rounds, Body body, void* self) override {
    if (most_ == 1) {
      for (int64_t round = 0; round < rounds; ++round) body(self, round, 0, 1);
      return;
    }
    // Workers that begin when all is over still find this.
    auto shared = std::make_shared<Shared>();
    for (int n = 1; n < most_; ++n)
      pool_.Schedule([shared, body, self] { follow(*shared, body, self); });
    for (int64_t round = 0; round < rounds; ++round) {
      const int members = 1 + shared->begun.load(std::memory_order_acquire);
      shared->done.store(0, std::memory_order_relaxed);
      shared->now.store({int32_t(round), members}, std::memory_order_release);
      body(self, round, 0, members);
      Patience patience;
      while (shared->done.load(std::memory_order_acquire) < members - 1) patience.wait();
    }
    shared->now.store({kOver, 0}, std::memory_order_release);
  }

 private:
  struct Now {
    int32_t round, members;
  };
  static constexpr int32_t kNotYet = -1, kOver = -2;

  struct Shared {
    std::atomic<Now> now{Now{kNotYet, 0}};
    alignas(64) std::atomic<int> begun{0};
    alignas(64) std::atomic<int> done{0};
  };

  // Waits a little on the core, and then lets others have it: they may be what it waits
  // for, where there are more threads than cores.
  class Patience {
   public:
    void wait() {
      if (++waited_ > 4096) {
        sched_yield();
        return;
      }
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }

   private:
    int waited_ = 0;
  };

  static void follow(Shared& shared, Body body, void* self) {
    const int member = 1 + shared.begun.fetch_add(1, std::memory_order_acq_rel);
    int32_t last = kNotYet;
    for (Patience patience;; patience.wait()) {
      const Now now = shared.now.load(std::memory_order_acquire);
      if (now.round == kOver) return;
      if (now.round == last || member >= now.members) continue;
      last = now.round;
      body(self, now.round, member, now.members);
      shared.done.fetch_add(1, std::memory_order_release);
      patience = Patience();
    }
  }

  xla::ffi::ThreadPool pool_;
  const int most_;
};

}  // namespace lstm
