// Outer products, summed over rows: a^T dz, some columns of dz at a time.
#pragma once

#include "loop.h"
#include "tile.h"

namespace lstm::LSTM_ISA {
namespace {

// In float. Rows are packed first, in the order in which tiles read them. Unpacked, a
// tile reads a few numbers from each of hundreds of cache lines. Where the size of a row
// is a power of two, these lines share few places of a cache.
class Outer {
 public:
  static constexpr int N = 4;  // registers of columns
  static constexpr int64_t kRows = 384;  // rows at a time

  Outer(const Backward& problem, int members)
      : D(problem.dw_x ? problem.D : 0),
        H(problem.dw_h ? problem.H : 0),
        most(problem.T * problem.B < kRows ? problem.T * problem.B : kRows),
        packs((problem.rows_apart || members * kUnits <= problem.H) &&
              members * most * (D + H) <= kFloats),
        columns(members * kRows * N * W),
        rows(packs ? members * most * (D + H) : 0) {}

  // Takes the rows of both factors that are multiplied with all columns.
  void begin(const float* const* x, const float* const* h, int64_t count,
             Thread& thread) const {
    if (!packs) return;
    pack(x, D, count, packed(thread, 0));
    pack(h, H, count, packed(thread, D));
  }

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
  void x(const float* const* a, int64_t count, Thread& thread, F&& f) const {
    each(a, 0, D, count, thread, f);
  }
  template <typename F>
  void h(const float* const* a, int64_t count, Thread& thread, F&& f) const {
    each(a, D, H, count, thread, f);
  }

 private:
  // Where threads have no rows of their own, each packs all rows. That pays with so many
  // units to a thread, and while all of them take no more than 64 MB.
  static constexpr int64_t kUnits = 32, kFloats = int64_t{1} << 24;

  // [tile of columns][row][column]
  static void pack(const float* const* a, int64_t width, int64_t count, float* to) {
    for_tiles<N>(width, [&](auto tile, int64_t first) {
      constexpr int R = decltype(tile)::value;
      float* at = to + first * count;
      for (int64_t k = 0; k < count; ++k, at += R)
        std::memcpy(at, a[k] + first, R * sizeof(float));
    });
  }

  template <typename F>
  void each(const float* const* a, int64_t begin, int64_t width, int64_t count,
            Thread& thread, F&& f) const {
    for_tiles<N>(width, [&](auto tile, int64_t first) {
      constexpr int R = decltype(tile)::value;
      Vec acc[R][N] = {};
      if (packs) {
        const float* at = packed(thread, begin) + first * count;
        add_outer_product<R, N>([&](int64_t k) { return at + k * R; }, count,
                                panel(thread), acc);
      } else {
        add_outer_product<R, N>([&](int64_t k) { return a[k] + first; }, count,
                                panel(thread), acc);
      }
      for (int r = 0; r < R; ++r) f(first + r, acc[r]);
    });
  }

  float* packed(const Thread& thread, int64_t column) const {
    return rows.get(most * (thread.member * (D + H) + column));
  }
  float* panel(const Thread& thread) const {
    return columns.get(thread.member * kRows * N * W);
  }

  const int64_t D, H, most;  // inputs, units, and rows that may come at a time
  const bool packs;
  Workspace columns, rows;
};

}  // namespace
}  // namespace lstm::LSTM_ISA
