// What the loops are given, and the loops of every instruction set.
//
// Arrays are row-major: data [T, B, ...], states [B, H], w_x [D, 4H], w_h [H, 4H] and
// b [4H] with the gates in the order i, f, g, o. An optional array that is absent is null.
#pragma once

#include <cstdint>

namespace lstm {

// The sequence: `mask` is false at steps to leave out; `resets` is true where the state
// becomes the one in reset_h and reset_c before the step, in the order of processing.
struct Sequence {
  int64_t T, B, H;
  bool reverse;
  const bool* mask;
  const bool* resets;
  const float* reset_h;
  const float* reset_c;
  // How the work is cut; see deal.h.
  bool rows_apart = false;         // every thread has its own rows, not its own units
  const int64_t* order = nullptr;  // the rows in another order

  int64_t row(int64_t place) const { return order ? order[place] : place; }
  int64_t time(int64_t step) const { return reverse ? T - 1 - step : step; }
  bool real(int64_t t, int64_t row) const { return !mask || mask[t * B + row]; }
  bool reset(int64_t t, int64_t row) const { return resets && resets[t * B + row]; }
};

// gates, cs and operands are for the backward loop, and null where nobody will
// differentiate.
struct Forward : Sequence {
  int64_t D;
  bool bfloat16;  // xs and h are bfloat16, stored as floats; weights are rounded to it
  const float *xs, *w_x, *w_h, *b, *h0, *c0;
  float *hs, *h, *c;
  // operands: what w_h was multiplied with; null as well where that is the output of the
  // step before, or h0.
  float *gates, *cs, *operands;
};

// A gradient that nobody asked for is null. dz takes the place of the gates.
struct Backward : Sequence {
  int64_t D;
  bool bfloat16;  // as in Forward; products may round dz to it
  const float *xs, *w_x, *w_h, *h0, *c0, *gates, *cs;
  const float* hs;  // with a mask or resets, the operands
  const float *d_hs, *d_h, *d_c;
  float *dz, *dx, *dw_x, *dw_h, *db, *dh0, *dc0, *d_reset_h, *d_reset_c;

  const float* h_before(int64_t step, int64_t row) const {
    if (mask || resets) return hs + (time(step) * B + row) * H;
    return (step == 0 ? h0 : hs + time(step - 1) * B * H) + row * H;
  }
};

// Where memory is fresh, most of the time to write it is spent on its first touch, page
// by page: large arrays ask for large pages.
void expect_writes(float* data, int64_t floats);

// Memory for floats, aligned to cache lines or to large pages; std::free returns it.
// Throws std::bad_alloc.
float* allocate(int64_t floats);

// The first rounds of a loop pack the weights: several, since the caller begins alone and
// whoever comes while it is at it shall help.
constexpr int64_t kPacking = 8;

// Threads that go through rounds together; see team.h.
struct Team {
  virtual int most() const = 0;
  using Body = void (*)(void* self, int64_t round, int member, int members);
  virtual void run(int64_t rounds, Body body, void* self) = 0;

 protected:
  ~Team() = default;
};

struct Loops {
  const char* name;
  bool pairs;  // bfloat16 is multiplied as such, not as floats
  void (*forward)(const Forward&, Team&);
  void (*backward)(const Backward&, Team&);
  void (*activate)(const float* x, float* y, int64_t n, bool tanh);
};

extern const Loops kPortable, kAvx2, kAvx512, kAvx512bf16, kAmx;

}  // namespace lstm
