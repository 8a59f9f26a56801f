// The recurrence.
//
//     z_t = x_t w_x + h_{t-1} w_h + b,  gates i, f, o = sigmoid(z), g = tanh(z)
//     c_t = f * c_{t-1} + i * g
//     h_t = o * tanh(c_t)
//
// Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000, as defined in
// lstm_jax/core/cells/lstm.py.
//
// The pre-activations of a tile of rows and units are summed in registers, over weights
// packed into panels that are read from first to last, and become gates, c and h before
// they leave them.
#pragma once

#include "activations.h"
#include "loop.h"
#include "tile.h"

namespace lstm::LSTM_ISA {
namespace {

// Inputs are multiplied where their product is needed. A step of very few rows would
// read all of w_x for them: there the inputs of some steps are multiplied together first.
template <int N>
struct ForwardLoop : Loop<Forward> {
  static constexpr int kUnits = N / 4;  // registers of units in a panel
  static constexpr int64_t kAhead = 48;  // rows multiplied together
  const int64_t panels, ahead;  // steps multiplied ahead; 0 for none
  const bool training;
  Workspace w_x, w_h, state, gx;

  ForwardLoop(const Forward& problem, const Team& team)
      : Loop(problem, team),
        panels(ceil_div(units, kUnits)),
        ahead(p.B < 4 && p.T > 1 ? kAhead / p.B : 0),
        training(p.gates != nullptr),
        w_x(panels * p.D * N * W),
        w_h(panels * p.H * N * W),
        state(2 * p.B * p.H),
        gx(ahead * p.B * panels * N * W) {}

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
          store(to, load(row + gate * p.H + unit, n));
        }
    }
  }

  // Rows of both weights.
  void pack(Range mine) {
    const Timed timed(kPack);
    for (int64_t row = mine.begin; row < mine.end; ++row) {
      // Where inputs are multiplied with many rows, it is in narrow panels.
      if (row < p.D)
        pack(p.w_x, p.D, row, ahead ? 1 : kUnits, w_x);
      else
        pack(p.w_h, p.H, row - p.D, kUnits, w_h);
    }
  }

  Range units_of(Range panels) const {
    const int64_t end = panels.end * kUnits;
    return {panels.begin * kUnits, end < units ? end : units};
  }

  // The state before a step, and where the state after it goes. What a caller gets to
  // see serves where it can.
  const float* h_in(int64_t step) const {
    if (p.operands) return p.operands + p.time(step) * p.B * p.H;
    if (step == 0) return p.h0;
    if (!p.mask) return p.hs + p.time(step - 1) * p.B * p.H;
    return state.get(step % 2 * p.B * p.H);
  }
  float* h_out(int64_t step) const {
    if (step == p.T - 1) return p.h;
    if (p.operands) return p.operands + p.time(step + 1) * p.B * p.H;
    return p.mask ? state.get((step + 1) % 2 * p.B * p.H) : nullptr;
  }
  const float* c_in(int64_t step) const {
    if (step == 0) return p.c0;
    return training ? p.cs + p.time(step - 1) * p.B * p.H : p.c;
  }
  float* c_out(int64_t step) const {
    return training ? p.cs + p.time(step) * p.B * p.H : p.c;
  }

  void round(int64_t index, int member, int n) {
    if (index < kPacking) {
      pack(part(part(p.D + p.H, index, kPacking), member, n));
      if (p.operands && index == 0 && member == 0)
        std::memcpy(p.operands + p.time(0) * p.B * p.H, p.h0,
                    p.B * p.H * sizeof(float));
      return;
    }
    const Range over = steps(index, p.T), mine = panels_of(panels, member, n);
    each_part(member, n, [&](int, Range rows) {
      for (int64_t step = over.begin; step < over.end; ++step) {
        if (ahead && step % ahead == 0) multiply_ahead(step, mine);
        do_step(step, rows, mine);
      }
    });
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
    const Range all = units_of(mine);
    for (int64_t unit = all.begin; unit < all.end; ++unit)
      for_tiles<4>(count, [&](auto tile, int64_t first) {
        constexpr int R = decltype(tile)::value;
        Vec acc[R][4] = {};
        add_product<R, 4>(x + first, p.D, w_x.get(unit * p.D * 4 * W), acc);
        for (int r = 0; r < R; ++r)
          for (int gate = 0; gate < 4; ++gate)
            store(to[first + r] + (unit * 4 + gate) * W, acc[r][gate]);
      });
  }

  void do_step(int64_t step, Range rows, Range mine) {
    const int64_t t = p.time(step);
    constexpr int64_t kRows = 64;  // at a time
    for (int64_t begin = rows.begin; begin < rows.end; begin += kRows) {
      const int64_t end = begin + kRows < rows.end ? begin + kRows : rows.end;
      int64_t real[kRows];
      const float *x[kRows], *h[kRows], *c[kRows];
      int64_t count = 0;
      for (int64_t place = begin; place < end; ++place) {
        const int64_t row = p.row(place);
        const bool reset = p.reset(t, row);
        const float* h_row = (reset ? p.reset_h : h_in(step)) + row * p.H;
        const float* c_row = (reset ? p.reset_c : c_in(step)) + row * p.H;
        if (reset && p.operands) {
          float* operand = p.operands + (t * p.B + row) * p.H;
          each_unit(mine, [&](int64_t unit) { copy(operand, h_row, unit, p.H); });
        }
        if (p.real(t, row)) {
          real[count] = row;
          x[count] = p.xs + (t * p.B + row) * p.D;
          h[count] = h_row;
          c[count++] = c_row;
        } else {
          leave_out(step, row, mine, h_row, c_row);
        }
      }
      for (int64_t panel = mine.begin; panel < mine.end; ++panel) {
        for_tiles<N>(count, [&](auto tile, int64_t first) {
          constexpr int R = decltype(tile)::value;
          Vec acc[R][N] = {};
          if (ahead) {
            for (int r = 0; r < R; ++r)
              for (int k = 0; k < N; ++k)
                acc[r][k] = load(gx_of(step, real[first + r], panel * kUnits) + k * W);
          } else {
            const Timed timed(kInputs);
            add_product<R, N>(x + first, p.D, w_x.get(panel * p.D * N * W), acc);
          }
          {
            const Timed timed(kRecurrent);
            add_product<R, N>(h + first, p.H, w_h.get(panel * p.H * N * W), acc);
          }
          const Timed timed(kGates);
          for (int r = 0; r < R; ++r)
            for (int u = 0; u < kUnits; ++u) {
              const int64_t unit = (panel * kUnits + u) * W;
              if (unit < p.H)
                update(step, real[first + r], unit, c[first + r], &acc[r][4 * u]);
            }
        });
      }
    }
  }

  template <typename F>
  void each_unit(Range panels, F&& f) {
    const int64_t last = panels.end * kUnits * W;
    for (int64_t unit = panels.begin * kUnits * W; unit < last && unit < p.H; unit += W)
      f(unit);
  }

  // A step that is not real keeps the state and puts out 0.
  void leave_out(int64_t step, int64_t row, Range mine, const float* h, const float* c) {
    const int64_t at = row * p.H;
    float* out = p.hs + p.time(step) * p.B * p.H + at;
    float* gates = training ? p.gates + (p.time(step) * p.B + row) * 4 * p.H : nullptr;
    each_unit(mine, [&](int64_t unit) {
      copy(c_out(step) + at, c, unit, p.H);
      if (step == p.T - 1) copy(p.c + at, c, unit, p.H);
      if (h_out(step)) copy(h_out(step) + at, h, unit, p.H);
      store(out + unit, Vec{}, valid(unit, p.H));
      for (int gate = 0; training && gate < 4; ++gate)
        store(gates + gate * p.H + unit, Vec{}, valid(unit, p.H));
    });
  }

  // From the sums of the four gates to the new state.
  void update(int64_t step, int64_t row, int64_t unit, const float* c_row, Vec* z) {
    const int64_t H = p.H, at = row * H + unit, steps = p.time(step) * p.B;
    const int n = valid(unit, H);
    for (int gate = 0; gate < 4; ++gate)
      z[gate] += load(p.b + gate * H + unit, n);
    const Vec i = sigmoid(z[0]), f = sigmoid(z[1]), g = tanh(z[2]), o = sigmoid(z[3]);
    const Vec c = f * load(c_row + unit, n) + i * g;
    Vec h = o * tanh(c);
    if (p.bfloat16) h = round_to_bfloat16(h);
    store(p.hs + steps * H + at, h, n);
    if (float* out = h_out(step)) store(out + at, h, n);
    store(c_out(step) + at, c, n);
    if (!training) return;
    if (step == p.T - 1) store(p.c + at, c, n);
    float* gates = p.gates + (steps + row) * 4 * H + unit;
    store(gates, i, n);
    store(gates + H, f, n);
    store(gates + 2 * H, g, n);
    store(gates + 3 * H, o, n);
  }
};

}  // namespace
}  // namespace lstm::LSTM_ISA
