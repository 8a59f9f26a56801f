// The outer products of outer.h in bfloat16: both factors are rounded.
#pragma once

#include "narrow.h"
#include "tiles.h"

#if defined(__AVX512BF16__)

namespace lstm::LSTM_ISA {
namespace {

class Outer16 {
 public:
  static constexpr int N = kColumns;  // registers of columns
  static constexpr int64_t kRows = 384;  // rows at a time
  static_assert(kRows % kBlock == 0);

  Outer16(const Backward& problem, int members)
      : D(problem.dw_x ? problem.D : 0),
        H(problem.dw_h ? problem.H : 0),
        xs(members * filled(D) * kRows),
        hs(members * filled(H) * kRows),
        columns(members * kRows * N * W),
        places(members * kChunk * N * W) {}

  // x and h by columns, which are read for all columns of dz.
  void begin(const float* const* x, const float* const* h, int64_t count,
             Thread16& thread) const {
    transpose_rows(x, D, count, xs.get(thread.member * filled(D) * kRows));
    transpose_rows(h, H, count, hs.get(thread.member * filled(H) * kRows));
  }

  void take(const float* const* dz, int64_t at, const int (&lanes)[N], int64_t count,
            Thread16& thread, Vec (&sum)[N]) const {
    Bf16* to = columns.get(thread.member * kRows * N * W);
    for (int64_t k = 0; k < blocks_of(count) * kBlock; k += 2)
      for (int n = 0; n < N; ++n) {
        const auto row = [&](int64_t k) {
          return k < count ? load(dz[k] + at + n * W, lanes[n]) : Vec{};
        };
        const Vec first = row(k), second = row(k + 1);
        sum[n] += first;
        sum[n] += second;
        const int64_t block = k / kBlock, within = k % kBlock;
        store_pairs(to + (block * N + n) * kTile + within * W, pairs(first, second));
      }
  }

  template <typename F>
  void x(const float* const*, int64_t count, Thread16& thread, F&& f) const {
    multiply(xs.get(thread.member * filled(D) * kRows), D, count, thread, f);
  }
  template <typename F>
  void h(const float* const*, int64_t count, Thread16& thread, F&& f) const {
    multiply(hs.get(thread.member * filled(H) * kRows), H, count, thread, f);
  }

 private:
  static int64_t filled(int64_t width) { return ceil_div(width, W) * W; }

  // Rows of floats into columns of bfloat16, kRows apart.
  static void transpose_rows(const float* const* rows, int64_t width, int64_t count,
                             Bf16* to) {
    for (int64_t k = 0; k < count; k += kBlock)
      for (int64_t at = 0; at < width; at += W) {
        const int n = valid(at, width);
        const auto row = [&](int64_t k) {
          return k < count ? load(rows[k] + at, n) : Vec{};
        };
        Ints lanes[W];
        for (int pair = 0; pair < W; ++pair)
          lanes[pair] = pairs(row(k + 2 * pair), row(k + 2 * pair + 1));
        transpose(lanes);
        for (int lane = 0; lane < W; ++lane)
          store_pairs(to + (at + lane) * kRows + k, lanes[lane]);
      }
  }

  template <typename F>
  void multiply(const Bf16* a, int64_t width, int64_t count, Thread16& thread,
                F&& f) const {
    const Bf16* b = columns.get(thread.member * kRows * N * W);
    float* sums = places.get(thread.member * kChunk * N * W);
    for (int64_t first = 0; first < width; first += kChunk) {
      const int64_t left = width - first, rows = left < kChunk ? left : kChunk;
      thread.tiles.clear(rows);
      thread.tiles.add(a + first * kRows, kRows, b, N * kTile, blocks_of(count));
      thread.tiles.put(sums, N * W);
      for (int64_t r = 0; r < rows; ++r) {
        Vec acc[N];
        for (int n = 0; n < N; ++n) acc[n] = load(sums + (r * N + n) * W);
        f(first + r, acc);
      }
    }
  }

  const int64_t D, H;
  Workspace16 xs, hs, columns;
  Workspace places;
};

}  // namespace
}  // namespace lstm::LSTM_ISA

#endif
