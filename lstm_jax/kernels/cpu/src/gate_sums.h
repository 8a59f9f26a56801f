// The sums x w_x + h w_h of the four gates: rows of a step times a panel of weights.
#pragma once

#include "loop.h"
#include "tile.h"

namespace lstm::LSTM_ISA {
namespace {

// The real rows of a step that are multiplied together, and where they are.
struct StepRows {
  static constexpr int64_t kMost = 64;
  int64_t step, count = 0;  // the arrays are not filled: that would cost time
  int64_t row[kMost];
  const float *x[kMost], *h[kMost], *c[kMost];
};

// In float: a tile of sums is held in registers.
//
// Inputs are multiplied where their product is needed. A step of very few rows would
// read all of w_x for them: there the inputs of some steps are multiplied together first.
template <int N>
class GateSums {
 public:
  static constexpr int kUnits = N / 4;  // registers of units in a panel

  GateSums(const Forward& problem, int)
      : p(problem),
        panels(ceil_div(ceil_div(p.H, W), kUnits)),
        ahead(p.B < 4 && p.T > 1 ? kAhead / p.B : 0),
        w_x(panels * p.D * N * W),
        w_h(panels * p.H * N * W),
        gx(ahead * p.B * panels * N * W) {}

  // Rows of both weights, of all that there are.
  int64_t pieces() const { return p.D + p.H; }
  void pack(Range mine) {
    for (int64_t row = mine.begin; row < mine.end; ++row) {
      // Where inputs are multiplied with many rows, it is in narrow panels.
      if (row < p.D)
        pack(p.w_x, p.D, row, ahead ? 1 : kUnits, w_x);
      else
        pack(p.w_h, p.H, row - p.D, kUnits, w_h);
    }
  }

  void begin(int64_t step, Range panels, Thread&) {
    if (ahead && step % ahead == 0) multiply_ahead(step, panels);
  }

  void take(const StepRows&, Thread&) {}

  // Calls f(number of the row, its 4 * kUnits sums) for every row.
  template <typename F>
  void each(const StepRows& rows, int64_t panel, Thread&, F&& f) {
    for_tiles<N>(rows.count, [&](auto tile, int64_t first) {
      constexpr int R = decltype(tile)::value;
      Vec acc[R][N] = {};
      if (ahead) {
        for (int r = 0; r < R; ++r)
          for (int k = 0; k < N; ++k)
            acc[r][k] =
                load(gx_of(rows.step, rows.row[first + r], panel * kUnits) + k * W);
      } else {
        const Timed timed(kInputs);
        add_product<R, N>(rows.x + first, p.D, w_x.get(panel * p.D * N * W), acc);
      }
      {
        const Timed timed(kRecurrent);
        add_product<R, N>(rows.h + first, p.H, w_h.get(panel * p.H * N * W), acc);
      }
      const Timed timed(kGates);
      for (int r = 0; r < R; ++r) f(first + r, acc[r]);
    });
  }

 private:
  static constexpr int64_t kAhead = 48;  // rows multiplied together

  // Row k of w [depth, 4H] into [panel][k][unit register][gate][W], with as many registers
  // of units in a panel: the order in which a tile reads them. By rows, since those are
  // read from first to last.
  void pack(const float* w, int64_t depth, int64_t k, int registers,
            const Workspace& packed) {
    const float* row = w + k * 4 * p.H;
    for (int64_t panel = 0; panel < panels * kUnits / registers; ++panel) {
      float* to = packed.get((panel * depth + k) * registers * 4 * W);
      for (int u = 0; u < registers; ++u)
        for (int gate = 0; gate < 4; ++gate, to += W) {
          const int64_t unit = (panel * registers + u) * W;
          const int n = unit < p.H ? valid(unit, p.H) : 0;
          store(to, rounded(load(row + gate * p.H + unit, n), p.bfloat16));
        }
    }
  }

  // x w_x of a step that was multiplied ahead: [step][row][unit register][gate][W].
  float* gx_of(int64_t step, int64_t row, int64_t unit) const {
    return gx.get(((step % ahead * p.B + row) * panels * kUnits + unit) * 4 * W);
  }

  void multiply_ahead(int64_t begin, Range mine) {
    const Timed timed(kInputs);
    const float* x[kAhead];
    float* to[kAhead];
    int64_t count = 0;
    for (int64_t step = begin; step < begin + ahead && step < p.T; ++step)
      for (int64_t row = 0; row < p.B; ++row) {
        if (!p.real(p.time(step), row)) continue;
        x[count] = p.xs + (p.time(step) * p.B + row) * p.D;
        to[count++] = gx_of(step, row, 0);
      }
    const int64_t units = ceil_div(p.H, W), end = mine.end * kUnits;
    for (int64_t unit = mine.begin * kUnits; unit < end && unit < units; ++unit)
      for_tiles<4>(count, [&](auto tile, int64_t first) {
        constexpr int R = decltype(tile)::value;
        Vec acc[R][4] = {};
        add_product<R, 4>(x + first, p.D, w_x.get(unit * p.D * 4 * W), acc);
        for (int r = 0; r < R; ++r)
          for (int gate = 0; gate < 4; ++gate)
            store(to[first + r] + (unit * 4 + gate) * W, acc[r][gate]);
      });
  }

  const Forward& p;

 public:
  const int64_t panels;

 private:
  const int64_t ahead;  // steps multiplied ahead; 0 for none
  Workspace w_x, w_h, gx;
};

}  // namespace
}  // namespace lstm::LSTM_ISA
