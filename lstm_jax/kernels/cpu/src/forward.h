// The recurrence.
//
//     z_t = x_t w_x + h_{t-1} w_h + b,  gates i, f, o = sigmoid(z), g = tanh(z)
//     c_t = f * c_{t-1} + i * g
//     h_t = o * tanh(c_t)
//
// Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000, as defined in
// lstm_jax/core/cells/lstm.py.
//
// The pre-activations of some rows and units are summed over weights that are packed into
// panels, which are read from first to last, and become gates, c and h at once.
#pragma once

#include "activations.h"
#include "arithmetic.h"
#include "loop.h"

namespace lstm::LSTM_ISA {
namespace {

template <typename Arithmetic>
struct ForwardLoop : Loop<Forward> {
  using Thread = typename Arithmetic::Thread;
  static constexpr int kUnits = Arithmetic::GateSums::kUnits;
  const bool training;
  typename Arithmetic::GateSums sums;
  Workspace state;

  ForwardLoop(const Forward& problem, const Team& team)
      : Loop(problem, team),
        training(p.gates != nullptr),
        sums(p, members),
        state(2 * p.B * p.H) {}

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
      const Timed timed(kPack);
      sums.pack(part(part(sums.pieces(), index, kPacking), member, n));
      if (p.operands && index == 0 && member == 0)
        std::memcpy(p.operands + p.time(0) * p.B * p.H, p.h0,
                    p.B * p.H * sizeof(float));
      return;
    }
    const Range over = steps(index, p.T), mine = panels_of(sums.panels, member, n);
    Thread thread{member};
    each_part(member, n, [&](int, Range rows) {
      for (int64_t step = over.begin; step < over.end; ++step) {
        sums.begin(step, mine, thread);
        do_step(step, rows, mine, thread);
      }
    });
  }

  void do_step(int64_t step, Range rows, Range mine, Thread& thread) {
    const int64_t t = p.time(step);
    constexpr int64_t kRows = StepRows::kMost;
    for (int64_t begin = rows.begin; begin < rows.end; begin += kRows) {
      const int64_t end = begin + kRows < rows.end ? begin + kRows : rows.end;
      StepRows real;
      real.step = step;
      for (int64_t at = begin; at < end; ++at) {
        const int64_t row = p.row(at);
        const bool reset = p.reset(t, row);
        const float* h_row = (reset ? p.reset_h : h_in(step)) + row * p.H;
        const float* c_row = (reset ? p.reset_c : c_in(step)) + row * p.H;
        if (reset && p.operands) {
          float* operand = p.operands + (t * p.B + row) * p.H;
          each_unit(mine, [&](int64_t unit) { copy(operand, h_row, unit, p.H); });
        }
        if (p.real(t, row)) {
          real.row[real.count] = row;
          real.x[real.count] = p.xs + (t * p.B + row) * p.D;
          real.h[real.count] = h_row;
          real.c[real.count++] = c_row;
        } else {
          leave_out(step, row, mine, h_row, c_row);
        }
      }
      sums.take(real, thread);
      for (int64_t panel = mine.begin; panel < mine.end; ++panel)
        sums.each(real, panel, thread, [&](int64_t r, Vec* z) {
          for (int u = 0; u < kUnits; ++u) {
            const int64_t unit = (panel * kUnits + u) * W;
            if (unit < p.H) update(step, real.row[r], unit, real.c[r], z + 4 * u);
          }
        });
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
    const Vec h = rounded(o * tanh(c), p.bfloat16);
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
