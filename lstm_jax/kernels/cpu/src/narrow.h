// Arrays of bfloat16 in the order in which tiles.h multiplies them.
//
// The first factor has its rows one after the other, each filled up with zeros to whole
// blocks of the depth. The second factor is cut into tiles of 32 rows and 16 columns, of
// 1 KB each: [block][columns / 16][row / 2][column][row % 2].
#pragma once

#include "loop.h"

#if defined(__AVX512BF16__)

namespace lstm::LSTM_ISA {
namespace {

typedef uint16_t Bf16;  // the bits of a bfloat16
constexpr int64_t kBlock = 32;  // of the depth
constexpr int64_t kTile = kBlock * W;

int64_t blocks_of(int64_t depth) { return ceil_div(depth, kBlock); }

struct Workspace16 : Workspace {
  explicit Workspace16(int64_t count) : Workspace(ceil_div(count, 2)) {}
  Bf16* get(int64_t at = 0) const {
    return reinterpret_cast<Bf16*>(Workspace::get()) + at;
  }
};

// n floats, and zeros up to the end of the block.
void narrow_row(const float* from, int64_t n, Bf16* to) {
  for (int64_t at = 0; at < blocks_of(n) * kBlock; at += W) {
    const int64_t left = n - at;
    const int lanes = left >= W ? W : left > 0 ? int(left) : 0;
    const __m256bh narrow = _mm512_cvtneps_pbh((__m512)load(from + at, lanes));
    std::memcpy(to + at, &narrow, sizeof narrow);
  }
}

// Two rows of W columns in one: pairs, column by column.
Ints pairs(Vec first, Vec second) {
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  const __m512i order = _mm512_set_epi16(
      31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
      20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (Ints)_mm512_permutexvar_epi16(order, both);
}

void store_pairs(Bf16* to, Ints pairs) { std::memcpy(to, &pairs, sizeof pairs); }

// Lanes of two registers: 0 to 15 of the first, 16 to 31 of the second.
Ints pick(Ints first, Ints second, Ints lanes) {
  return (Ints)_mm512_permutex2var_epi32((__m512i)first, (__m512i)lanes, (__m512i)second);
}

// W registers of W lanes.
void transpose(Ints (&r)[W]) {
  const Ints low{0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29};
  const Ints low_pairs{0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29};
  Ints a[W];
  for (int n = 0; n < W; n += 2) {  // lanes, two by two
    a[n] = pick(r[n], r[n + 1], low);
    a[n + 1] = pick(r[n], r[n + 1], low + 2);
  }
  for (int n = 0; n < W; n += 4)  // four by four
    for (int k = 0; k < 2; ++k) {
      const Ints first = a[n + k], second = a[n + k + 2];
      r[n + 2 * k] = pick(first, second, low_pairs);
      r[n + 2 * k + 1] = pick(first, second, low_pairs + 2);
    }
  const Ints even{0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27};
  const Ints odd = even + 4;
  for (int n = 0; n < W; n += 8)  // quarters
    for (int k = n; k < n + 4; ++k) {
      a[k] = pick(r[k], r[k + 4], even);
      a[k + 4] = pick(r[k], r[k + 4], odd);
    }
  for (int k = 0; k < 8; ++k) {
    r[k] = pick(a[k], a[k + 8], even);
    r[k + 8] = pick(a[k], a[k + 8], odd);
  }
}

}  // namespace
}  // namespace lstm::LSTM_ISA

#endif
