// Outer products, summed over rows: a^T dz, some columns of dz at a time.
#pragma once

#include "loop.h"
#include "tile.h"

namespace lstm::LSTM_ISA {
namespace {

// In float.
class Outer {
 public:
  static constexpr int N = 4;  // registers of columns
  static constexpr int64_t kRows = 384;  // rows at a time

  Outer(const Backward&, int members) : columns(members * kRows * N * W) {}

  void begin(const float* const*, const float* const*, int64_t, Thread&) const {}

  // Takes some columns of dz, and returns their sums.
  void take(const float* const* dz, int64_t at, const int (&lanes)[N], int64_t count,
            Thread& thread, Vec (&sum)[N]) const {
    float* to = panel(thread);
    for (int64_t k = 0; k < count; ++k)
      for (int n = 0; n < N; ++n) {
        const Vec v = load(dz[k] + at + n * W, lanes[n]);
        store(to + (k * N + n) * W, v);
        sum[n] += v;
      }
  }

  // Calls f(column of a, its N sums with the columns of dz).
  template <typename F>
  void x(const float* const* a, int64_t width, int64_t count, Thread& thread,
         F&& f) const {
    for_tiles<N>(width, [&](auto tile, int64_t first) {
      constexpr int R = decltype(tile)::value;
      Vec acc[R][N] = {};
      add_outer_product<R, N>(a, first, count, panel(thread), acc);
      for (int r = 0; r < R; ++r) f(first + r, acc[r]);
    });
  }
  template <typename F>
  void h(const float* const* a, int64_t width, int64_t count, Thread& thread,
         F&& f) const {
    x(a, width, count, thread, f);
  }

 private:
  float* panel(const Thread& thread) const {
    return columns.get(thread.member * kRows * N * W);
  }

  Workspace columns;
};

}  // namespace
}  // namespace lstm::LSTM_ISA
