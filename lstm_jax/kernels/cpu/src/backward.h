// The gradient of the recurrence.
//
// With dh and dc the gradients by the state after a step,
//
//     dc += dh * o * (1 - tanh(c)^2)
//     dz = (dc * g * i (1-i),  dc * c_{t-1} * f (1-f),  dc * i * (1-g^2),
//           dh * tanh(c) * o (1-o))
//     dc = dc * f,  dh = dz w_h^T        by the state before it
#pragma once

#include "activations.h"
#include "loop.h"
#include "tile.h"

namespace lstm::LSTM_ISA {
namespace {

template <int N>
struct BackwardLoop : Loop<Backward> {
  const int64_t panels, depth;
  Workspace packed, biases;

  BackwardLoop(const Backward& problem, const Team& team)
      : Loop(problem, team),
        panels(ceil_div(units, N)),
        depth(4 * p.H),
        packed(panels * depth * N * W),
        biases(members * depth) {
    std::memset(biases.get(), 0, members * depth * sizeof(float));
  }

  // w_h transposed: [panel][k][unit register][W], k over all gates; by squares, so that
  // neither side leaves the nearest cache.
  void pack(int64_t panel) {
    float* to = packed.get(panel * depth * N * W);
    for (int64_t begin = 0; begin < depth; begin += W) {
      const int64_t end = begin + W < depth ? begin + W : depth;
      for (int64_t lane = 0; lane < N * W; ++lane) {
        const int64_t unit = panel * N * W + lane;
        const float* from = p.w_h + unit * depth;
        for (int64_t k = begin; k < end; ++k)
          to[k * N * W + lane] = unit < p.H ? from[k] : 0;
      }
    }
  }

  void round(int64_t index, int member, int n) {
    if (index == 0) {
      const Range mine = part(panels, member, n);
      for (int64_t panel = mine.begin; panel < mine.end; ++panel) pack(panel);
      const Range states = part(p.B * p.H, member, n);
      const int64_t bytes = (states.end - states.begin) * sizeof(float);
      std::memcpy(p.dh0 + states.begin, p.d_h + states.begin, bytes);
      std::memcpy(p.dc0 + states.begin, p.d_c + states.begin, bytes);
      if (p.resets) {
        std::memset(p.d_reset_h + states.begin, 0, bytes);
        std::memset(p.d_reset_c + states.begin, 0, bytes);
      }
      return;
    }
    const Range over = steps(index, p.T + 1), mine = panels_of(panels, member, n);
    // Where units are cut, dz of all the others is needed before it is multiplied: a
    // round begins with the product and ends with the next step's dz.
    each_part(member, n, [&](int part, Range rows) {
      for (int64_t step = p.T - over.begin; step > p.T - over.end; --step) {
        if (step < p.T) state(step, rows, mine);
        if (step > 0) gates(step - 1, rows, mine, part);
      }
    });
  }

  void finish() {
    for (int64_t k = 0; k < depth; ++k) {
      p.db[k] = 0;
      for (int m = 0; m < members; ++m) p.db[k] += biases.get(m * depth)[k];
    }
  }

  // dz of a step, and dc before it.
  void gates(int64_t step, Range rows, Range mine, int part) {
    const int64_t t = p.time(step), H = p.H;
    const float* c_before = step == 0 ? p.c0 : p.cs + p.time(step - 1) * p.B * H;
    for (int64_t unit = mine.begin * N * W; unit < mine.end * N * W && unit < H;
         unit += W) {
      const int n = valid(unit, H);
      Vec sum[4] = {};
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        const int64_t at = row * H + unit, now = (t * p.B) * H + at;
        float* dz = p.dz + (t * p.B + row) * 4 * H + unit;
        if (!p.real(t, row)) {
          for (int gate = 0; gate < 4; ++gate) store(dz + gate * H, Vec{}, n);
          continue;
        }
        const float* gate = p.gates + (t * p.B + row) * 4 * H + unit;
        const Vec i = load(gate, n), f = load(gate + H, n);
        const Vec g = load(gate + 2 * H, n), o = load(gate + 3 * H, n);
        const Vec c_prev = load((p.reset(t, row) ? p.reset_c : c_before) + at, n);
        const Vec c = tanh(load(p.cs + now, n));
        const Vec dh = load(p.dh0 + at, n) + load(p.d_hs + now, n);
        const Vec dc = load(p.dc0 + at, n) + dh * o * (1.0f - c * c);
        const Vec d[4] = {dc * g * i * (1.0f - i), dc * c_prev * f * (1.0f - f),
                          dc * i * (1.0f - g * g), dh * c * o * (1.0f - o)};
        for (int k = 0; k < 4; ++k) {
          store(dz + k * H, d[k], n);
          sum[k] += d[k];
        }
        store(p.dc0 + at, dc * f, n);
      }
      float* db = biases.get(part * depth) + unit;
      for (int k = 0; k < 4; ++k)
        store(db + k * H, load(db + k * H, n) + sum[k], n);
    }
  }

  // dh before a step; where an episode begins, both go to the state it began from.
  void state(int64_t step, Range rows, Range mine) {
    const int64_t t = p.time(step), H = p.H;
    constexpr int64_t kRows = 64;
    for (int64_t begin = rows.begin; begin < rows.end; begin += kRows) {
      const int64_t end = begin + kRows < rows.end ? begin + kRows : rows.end;
      int64_t real[kRows];
      const float* dz[kRows];
      int64_t count = 0;
      for (int64_t row = begin; row < end; ++row) {
        if (!p.real(t, row)) continue;
        dz[count] = p.dz + (t * p.B + row) * depth;
        real[count++] = row;
      }
      for (int64_t panel = mine.begin; panel < mine.end; ++panel) {
        const float* w = packed.get(panel * depth * N * W);
        for_tiles<N>(count, [&](auto tile, int64_t first) {
          constexpr int R = decltype(tile)::value;
          Vec acc[R][N] = {};
          add_product<R, N>(dz + first, depth, w, acc);
          for (int r = 0; r < R; ++r)
            for (int u = 0; u < N; ++u) {
              const int64_t unit = (panel * N + u) * W;
              if (unit < H)
                store(p.dh0 + real[first + r] * H + unit, acc[r][u], valid(unit, H));
            }
        });
      }
      if (!p.resets) continue;
      for (int64_t row = begin; row < end; ++row)
        if (p.reset(t, row)) give_to_reset(row, mine);
    }
  }

  void give_to_reset(int64_t row, Range mine) {
    const int64_t last = mine.end * N * W < p.H ? mine.end * N * W : p.H;
    for (int64_t unit = mine.begin * N * W; unit < last; ++unit) {
      const int64_t at = row * p.H + unit;
      p.d_reset_h[at] += p.dh0[at];
      p.d_reset_c[at] += p.dc0[at];
      p.dh0[at] = p.dc0[at] = 0;
    }
  }
};

}  // namespace
}  // namespace lstm::LSTM_ISA
