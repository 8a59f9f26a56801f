// Where the time of the loops goes: cycles by kind of work, for benchmarks/phases.py.
// Compiled with LSTM_PHASES alone; without, a `Timed` is nothing.
#pragma once

#include <cstdint>

namespace lstm {

// As named in benchmarks/phases.py. `whole` is a loop from its first round to its last,
// as the thread that called it sees it.
enum Phase { kWhole, kPack, kInputs, kRecurrent, kGates, kProducts, kPhases };

#if defined(LSTM_PHASES) && defined(__x86_64__)
// Threads count apart; a slot outlives its thread.
inline uint64_t phase_cycles[256][kPhases];
inline int phase_threads = 0;
inline uint64_t* phase_slot() {
  thread_local uint64_t* slot =
      phase_cycles[__atomic_fetch_add(&phase_threads, 1, __ATOMIC_RELAXED) % 256];
  return slot;
}

class Timed {
 public:
  explicit Timed(Phase phase) : phase_(phase), start_(__builtin_ia32_rdtsc()) {}
  ~Timed() { phase_slot()[phase_] += __builtin_ia32_rdtsc() - start_; }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  const Phase phase_;
  const uint64_t start_;
};
#else
struct Timed {
  explicit Timed(Phase) {}
};
#endif

}  // namespace lstm
