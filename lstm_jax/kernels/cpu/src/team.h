// Threads of XLA's own pool that go through rounds together.
//
// The caller leads. A worker takes part from the first round that begins after it has
// begun itself, so that the caller never waits for one that has not: where the pool is
// busy, or has but one thread, the caller does all the work alone. It waits only for
// those that it counted at the start of a round, which run by then.
#pragma once

#include <sched.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

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
    // A pool that is full runs them here, where nobody would lead.
    for (int n = 1; n < most_; ++n)
      pool_.Schedule([shared, body, self] {
        if (std::this_thread::get_id() != shared->leader) follow(*shared, body, self);
      });
    for (int64_t round = 0; round < rounds; ++round) {
      const int members = 1 + shared->begun.load(std::memory_order_acquire);
      shared->done.store(0, std::memory_order_relaxed);
      shared->now.store({int32_t(round), members}, std::memory_order_release);
      const auto start = Clock::now();
      body(self, round, 0, members);
      if (round == kPacking && members == 1 &&
          (Clock::now() - start) * (rounds - kPacking - 1) > kLong &&
          shared->begun.load(std::memory_order_acquire) == 0)
        leave_the_core();
      Patience patience;
      while (shared->done.load(std::memory_order_acquire) < members - 1) patience.wait();
    }
    shared->now.store({kOver, 0}, std::memory_order_release);
  }

 private:
  // A woken worker is often put in line on the very core that works here, while another
  // is idle, and the system leaves it there for many milliseconds. So the caller of a
  // long piece of work sleeps for an instant, and a worker that finds itself on the
  // caller's core goes to another.
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kLong{200};

  static void leave_the_core() {
    const timespec instant = {0, 1};
    nanosleep(&instant, nullptr);
  }

  static void keep_off(int core) {
#if defined(__linux__)
    cpu_set_t allowed;
    if (core != sched_getcpu() || sched_getaffinity(0, sizeof allowed, &allowed)) return;
    cpu_set_t others = allowed;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) == 0) return;
    sched_setaffinity(0, sizeof others, &others);  // moves at once
    sched_setaffinity(0, sizeof allowed, &allowed);
#endif
  }

  static int core_here() {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
  }

  struct alignas(8) Now {  // else clang asks for a library of its own
    int32_t round, members;
  };
  static constexpr int32_t kNotYet = -1, kOver = -2;

  struct Shared {
    const std::thread::id leader = std::this_thread::get_id();
    const int leader_core = core_here();
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
    keep_off(shared.leader_core);
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
