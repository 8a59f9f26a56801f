// One vector register of floats, in the compiler's own vector extension.
//
// LSTM_WIDTH floats to a register: 16 for AVX-512, 8 for AVX2, 4 for SSE and NEON.
// This header and those that include it are compiled once per instruction set, each time
// in a namespace of its own: a function shared between them could be linked from the
// wrong one.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace lstm::LSTM_ISA {

constexpr int W = LSTM_WIDTH;
// Accumulators of a register tile; the rest is left to weights and operands.
constexpr int kAccumulators = W == 16 ? 24 : 12;

typedef float Vec __attribute__((vector_size(4 * W)));
typedef int32_t Ints __attribute__((vector_size(4 * W)));

static inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

static inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

// x in all lanes, as one load. The compiler drops x - 0 but not x + 0, since -0 + 0 is 0.
// With x + 0 the inner loops took 1.5 times as long.
static inline Vec broadcast(float x) { return x - Vec{}; }

// The first n of W floats; the rest is 0.
static inline Vec load(const float* p, int n) {
  if (n == W) return load(p);
#if LSTM_WIDTH == 16 && defined(__AVX512F__)
  return (Vec)_mm512_maskz_loadu_ps((1u << n) - 1, p);
#else
  Vec v = {};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
#endif
}

static inline void store(float* p, Vec v, int n) {
  if (n == W) return store(p, v);
#if LSTM_WIDTH == 16 && defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (1u << n) - 1, (__m512)v);
#else
  std::memcpy(p, &v, n * sizeof(float));
#endif
}

// To the nearest bfloat16, ties to even; NaN stays one.
static inline Vec round_to_bfloat16(Vec v) {
  const Ints bits = (Ints)v;
  const Ints rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & ~0xffff;
  return v == v ? (Vec)rounded : v;
}

static inline Vec rounded(Vec v, bool to_bfloat16) {
  return to_bfloat16 ? round_to_bfloat16(v) : v;
}

}  // namespace lstm::LSTM_ISA
