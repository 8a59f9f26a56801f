// The gradient of the recurrence.
//
// With dh and dc the gradients by the state after a step,
//
//     dc += dh * o * (1 - tanh(c)^2)
//     dz = (dc * g * i (1-i),  dc * c_{t-1} * f (1-f),  dc * i * (1-g^2),
//           dh * tanh(c) * o (1-o))
//     dc = dc * f,  dh = dz w_h^T        by the state before it
//
// and what becomes of dz besides stands in products.h.
#pragma once

#include "activations.h"
#include "loop.h"
#include "products.h"

namespace lstm::LSTM_ISA {
namespace {

template <typename Arithmetic>
struct BackwardLoop : Loop<Backward> {
  using Thread = typename Arithmetic::Thread;
  using Recurrent = typename Arithmetic::Recurrent;
  using Products = LSTM_ISA::Products<Arithmetic>;
  const int64_t depth, block;
  Recurrent w_h;
  Workspace part_sums;
  Products products;

  BackwardLoop(const Backward& problem, const Team& team)
      : Loop(problem, team),
        depth(4 * p.H),
        block(Products::steps(rows_apart ? p.B / members : p.B)),
        w_h(p, p.H, members),
        part_sums(rows_apart ? (members - 1) * sum_floats() : 0),
        products(p, members) {}

  int64_t sum_floats() const {
    return ((p.dw_x ? p.D : 0) + (p.dw_h ? p.H : 0) + (p.db ? 1 : 0)) * depth;
  }

  // The first part sums in the outputs, every other in a place of its own.
  Sums sums(int part) const {
    if (part == 0) return {p.dw_x, p.dw_h, p.db};
    float* at = part_sums.get((part - 1) * sum_floats());
    const auto next = [&](const float* wanted, int64_t floats) {
      float* place = wanted ? at : nullptr;
      if (wanted) at += floats;
      return place;
    };
    float* dw_x = next(p.dw_x, p.D * depth);
    float* dw_h = next(p.dw_h, p.H * depth);
    return {dw_x, dw_h, next(p.db, depth)};
  }

  // In the last round the sums of the parts are added.
  int64_t rounds() const { return Loop::rounds(p.T + 1) + (rows_apart ? 1 : 0); }

  void round(int64_t index, int member, int n) {
    if (index < kPacking) return begin(index, member, n);
    if (index == Loop::rounds(p.T + 1)) return add_parts(member, n);
    const Range over = steps(index, p.T + 1);
    const Range mine = panels_of(w_h.panels, member, n), own = w_h.units_of(mine);
    Thread thread{member};
    // Where units are cut, dz of all the others is needed before it is multiplied: a
    // round begins with the products and ends with the next step's dz.
    each_part(member, n, [&](int part, Range rows) {
      const Share share = rows_apart ? Share{own, 0, 1} : Share{own, member, n};
      for (int64_t step = p.T - over.begin; step > p.T - over.end; --step) {
        if (step < p.T) {
          state(step, rows, mine, thread);
          const int64_t pending = (p.T - step - 1) % block + 1;
          if (pending == block || step == 0)
            products.add({step, step + pending}, rows, share, sums(part), thread);
        }
        if (step > 0) gates(step - 1, rows, own);
      }
    });
  }

  void begin(int64_t round, int member, int n) {
    Thread thread{member};
    const Timed timed(kPack);
    const int64_t pieces = ceil_div(depth, Recurrent::kPiece);
    Range columns = part(part(pieces, round, kPacking), member, n);
    columns = {columns.begin * Recurrent::kPiece, columns.end * Recurrent::kPiece};
    w_h.pack(p.w_h, columns);
    products.pack(columns);
    if (round > 0) return;
    const Range states = part(p.B * p.H, member, n);
    if (p.T == 0 && member == 0)
      products.add({0, 0}, {0, 0}, {{0, p.H}, 0, 1}, sums(0), thread);
    const int64_t bytes = (states.end - states.begin) * sizeof(float);
    std::memcpy(p.dh0 + states.begin, p.d_h + states.begin, bytes);
    std::memcpy(p.dc0 + states.begin, p.d_c + states.begin, bytes);
    if (!p.resets) return;
    std::memset(p.d_reset_h + states.begin, 0, bytes);
    std::memset(p.d_reset_c + states.begin, 0, bytes);
  }

  void add_parts(int member, int n) const {
    const Timed timed(kProducts);
    const Sums to = sums(0);
    for (int other = 1; other < members; ++other) {
      const Sums from = sums(other);
      add(to.dw_x, from.dw_x, part(p.D * depth, member, n));
      add(to.dw_h, from.dw_h, part(p.H * depth, member, n));
      add(to.db, from.db, part(depth, member, n));
    }
  }

  static void add(float* to, const float* from, Range mine) {
    for (int64_t at = mine.begin; to && at < mine.end; ++at) to[at] += from[at];
  }

  // dz of a step, and dc before it.
  void gates(int64_t step, Range rows, Range mine) {
    const Timed timed(kGates);
    const int64_t t = p.time(step), H = p.H;
    const float* c_before = step == 0 ? p.c0 : p.cs + p.time(step - 1) * p.B * H;
    for (int64_t place = rows.begin; place < rows.end; ++place) {
      const int64_t row = p.row(place);
      const float* c_from = (p.reset(t, row) ? p.reset_c : c_before) + row * H;
      const float* gates = p.gates + (t * p.B + row) * 4 * H;
      float* dz = p.dz + (t * p.B + row) * 4 * H;
      if (!p.real(t, row)) continue;  // its gates are 0, and dz takes their place
      for (int64_t unit = mine.begin; unit < mine.end; unit += W) {
        const int n = valid(unit, H);
        const int64_t at = row * H + unit, now = t * p.B * H + at;
        const Vec i = load(gates + unit, n), f = load(gates + H + unit, n);
        const Vec g = load(gates + 2 * H + unit, n), o = load(gates + 3 * H + unit, n);
        const Vec c = tanh(load(p.cs + now, n));
        const Vec dh = load(p.dh0 + at, n) + load(p.d_hs + now, n);
        const Vec dc = load(p.dc0 + at, n) + dh * o * (1.0f - c * c);
        store(dz + unit, dc * g * i * (1.0f - i), n);
        store(dz + H + unit, dc * load(c_from + unit, n) * f * (1.0f - f), n);
        store(dz + 2 * H + unit, dc * i * (1.0f - g * g), n);
        store(dz + 3 * H + unit, dh * c * o * (1.0f - o), n);
        store(p.dc0 + at, dc * f, n);
      }
    }
  }

  // dh before a step; where an episode begins, both go to the state it began from.
  void state(int64_t step, Range rows, Range mine, Thread& thread) {
    const Timed timed(kRecurrent);
    const int64_t t = p.time(step);
    constexpr int64_t kRows = 64;
    for (int64_t begin = rows.begin; begin < rows.end; begin += kRows) {
      const int64_t end = begin + kRows < rows.end ? begin + kRows : rows.end;
      const float* dz[kRows];
      float* dh[kRows];
      int64_t count = 0;
      for (int64_t place = begin; place < end; ++place) {
        const int64_t row = p.row(place);
        if (!p.real(t, row)) continue;
        dz[count] = p.dz + (t * p.B + row) * depth;
        dh[count++] = p.dh0 + row * p.H;
      }
      w_h.multiply(dz, dh, count, mine, thread);
      if (!p.resets) continue;
      for (int64_t place = begin; place < end; ++place)
        if (const int64_t row = p.row(place); p.reset(t, row)) give_to_reset(row, mine);
    }
  }

  void give_to_reset(int64_t row, Range mine) {
    const Range own = w_h.units_of(mine);
    for (int64_t unit = own.begin; unit < own.end; ++unit) {
      const int64_t at = row * p.H + unit;
      p.d_reset_h[at] += p.dh0[at];
      p.d_reset_c[at] += p.dc0[at];
      p.dh0[at] = p.dc0[at] = 0;
    }
  }
};

}  // namespace
}  // namespace lstm::LSTM_ISA
