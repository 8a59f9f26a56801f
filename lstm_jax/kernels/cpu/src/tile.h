// The product of a few rows with a panel of packed weights, held in registers.
#pragma once

#include "vector.h"

namespace lstm::LSTM_ISA {

// Columns of a panel, in registers of W floats: as many as leave room for all the rows,
// few enough not to be mostly padding.
static inline int panel_registers(int64_t rows, int64_t available) {
  for (int n = 16; n > 4; n /= 2)
    if (rows * n <= kAccumulators && n <= available) return n;
  return 4;
}

// acc[r][n] += sum_k rows[r][k] * panel[k][n].
//
// A tile of few accumulators sums in several chains, since an addition takes longer than
// the next may wait.
template <int R, int N>
static inline __attribute__((always_inline)) void add_product(
    const float* const* rows, int64_t depth, const float* panel, Vec (&acc)[R][N]) {
  constexpr int room = kAccumulators / (R * N);
  constexpr int chains = room >= 4 ? 4 : room >= 2 ? 2 : 1;
  Vec sum[chains][R][N];
  for (int u = 0; u < chains; ++u)
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) sum[u][r][n] = u ? Vec{} : acc[r][n];
  const float* row[R];
  for (int r = 0; r < R; ++r) row[r] = rows[r];
  int64_t k = 0;
  for (; k + chains <= depth; k += chains) {
#pragma GCC unroll 4
    for (int u = 0; u < chains; ++u) {
      const float* w = panel + (k + u) * N * W;
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const Vec a = broadcast(row[r][k + u]);
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n) sum[u][r][n] += a * load(w + n * W);
      }
    }
  }
  for (; k < depth; ++k)
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n)
        sum[0][r][n] += row[r][k] * load(panel + (k * N + n) * W);
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) {
      acc[r][n] = sum[0][r][n];
      for (int u = 1; u < chains; ++u) acc[r][n] += sum[u][r][n];
    }
}

// acc[r][n] += sum_k row(k)[r] * panel[k][n].
template <int R, int N, typename Row>
static inline __attribute__((always_inline)) void add_outer_product(
    Row&& row, int64_t depth, const float* panel, Vec (&acc)[R][N]) {
  for (int64_t k = 0; k < depth; ++k, panel += N * W) {
    const float* a = row(k);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Vec v = broadcast(a[r]);
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) acc[r][n] += v * load(panel + n * W);
    }
  }
}

template <int R>
struct Rows {
  static constexpr int value = R;
};

// Calls f(Rows<R>, first row) for tiles of nearly equal size, N registers wide; of
// several members for the share of one. How the rows are cut does not depend on the
// members, and so neither does the order of sums.
template <int N, typename F>
static inline void for_tiles(int64_t count, F&& f, int member = 0, int members = 1) {
  constexpr int most = kAccumulators / N;
  const int64_t tiles = (count + most - 1) / most;
  const int64_t end = tiles * (member + 1) / members;
  for (int64_t tile = tiles * member / members; tile < end; ++tile) {
    const int64_t first = count * tile / tiles;
    switch (count * (tile + 1) / tiles - first) {
      case 1: f(Rows<1>(), first); break;
      case 2: if constexpr (most >= 2) f(Rows<2>(), first); break;
      case 3: if constexpr (most >= 3) f(Rows<3>(), first); break;
      case 4: if constexpr (most >= 4) f(Rows<4>(), first); break;
      case 5: if constexpr (most >= 5) f(Rows<5>(), first); break;
      case 6: if constexpr (most >= 6) f(Rows<6>(), first); break;
      case 7: if constexpr (most >= 7) f(Rows<7>(), first); break;
      case 8: if constexpr (most >= 8) f(Rows<8>(), first); break;
      case 9: if constexpr (most >= 9) f(Rows<9>(), first); break;
      case 10: if constexpr (most >= 10) f(Rows<10>(), first); break;
      case 11: if constexpr (most >= 11) f(Rows<11>(), first); break;
      case 12: if constexpr (most >= 12) f(Rows<12>(), first); break;
    }
  }
}

}  // namespace lstm::LSTM_ISA
