// sigmoid and tanh to 4 units in the last place, NaN kept.
#pragma once

#include "vector.h"

namespace lstm::LSTM_ISA {

// x = n ln 2 + r with |r| <= ln(2) / 2: returns exp(r) - 1, and 2^n.
//
// exp(r) - 1 = r + r^2 q(r); q is the polynomial of degree 4 closest to it (least
// maximal error relative to exp(r): 3e-9, a twentieth of half a unit).
static inline Vec reduced_expm1(Vec x, Vec& power) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  Vec shifted = x * 0x1.715476p+0f + magic;
  Vec n = shifted - magic;
  // ln 2 in two parts, the first of few bits, so that its product with n is exact.
  Vec r = x - n * 0x1.62e4p-1f;
  r = r - n * 0x1.7f7d1cp-20f;
  Vec q = r * 0x1.6a2418p-10f + 0x1.1239e6p-7f;
  q = q * r + 0x1.5558f2p-5f;
  q = q * r + 0x1.555492p-3f;
  q = q * r + 0x1.fffffcp-2f;
  power = (Vec)(((Ints)shifted - 0x4b400000 + 127) << 23);
  return r + r * r * q;
}

// Written as selections that are false for NaN, which so passes through.
static inline Vec at_most(Vec x, float bound) {
  return x > bound ? broadcast(bound) : x;
}

static inline Vec at_least(Vec x, float bound) {
  return x < bound ? broadcast(bound) : x;
}

// 1 / (1 + exp(-x)); beyond +-88 it is 1, or below the normal range, and here 0: a gate
// that is shut times an infinite state is NaN, as it is by the definition.
static inline Vec sigmoid(Vec x) {
  Vec power;
  Vec e = reduced_expm1(at_least(at_most(-x, 88.0f), -88.0f), power);
  const Vec y = 1.0f / (1.0f + (power + power * e));
  return x < -88.0f ? Vec{} : y;
}

// expm1(2x) / (expm1(2x) + 2) for x >= 0, odd; from 9.02 on the float nearest to it is 1.
static inline Vec tanh(Vec x) {
  const Ints sign = (Ints)x & INT32_MIN;
  Vec magnitude = at_most((Vec)((Ints)x & INT32_MAX), 9.02f);
  Vec power;
  Vec e = reduced_expm1(magnitude + magnitude, power);
  e = power * e + (power - 1.0f);
  return (Vec)((Ints)(e / (e + 2.0f)) | sign);
}

}  // namespace lstm::LSTM_ISA
