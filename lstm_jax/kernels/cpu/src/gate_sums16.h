// The sums of gate_sums.h in bfloat16: rows are rounded as they are taken.
#pragma once

#include "gate_sums.h"
#include "narrow.h"
#include "tiles.h"

#if defined(__AVX512BF16__)

namespace lstm::LSTM_ISA {
namespace {

class GateSums16 {
 public:
  static constexpr int kUnits = 1;  // registers of units in a panel: one, of four gates

  GateSums16(const Forward& problem, int members)
      : p(problem),
        panels(ceil_div(p.H, W)),
        x_blocks(blocks_of(p.D)),
        h_blocks(blocks_of(p.H)),
        w_x(panels * x_blocks * 4 * kTile),
        w_h(panels * h_blocks * 4 * kTile),
        ahead(p.B <= kChunk / 2 ? kChunk / p.B : 0),
        gx(ahead * p.B * panels * 4 * W),
        rows(members * StepRows::kMost * depth()),
        places(members * kChunk * 4 * W) {}

  // Pairs of rows of both weights, of all that there are.
  int64_t pieces() const { return depth() / 2; }
  void pack(Range mine) {
    for (int64_t pair = mine.begin; pair < mine.end; ++pair) {
      const int64_t of_x = x_blocks * kBlock / 2;
      if (pair < of_x)
        pack(p.w_x, p.D, x_blocks, pair, w_x);
      else
        pack(p.w_h, p.H, h_blocks, pair - of_x, w_h);
    }
  }

  // Multiplies the inputs of some steps together: a step of few rows would read all of
  // w_x for them. Also of one step alone, so that sums come in the same order.
  void begin(int64_t step, Range panels, Thread16& thread) {
    if (!ahead || step % ahead != 0) return;
    const Timed timed(kInputs);
    float* to[kChunk];
    int64_t count = 0;
    for (int64_t later = step; later < step + ahead && later < p.T; ++later)
      for (int64_t row = 0; row < p.B; ++row) {
        const int64_t t = p.time(later);
        if (!p.real(t, row)) continue;
        narrow_row(p.xs + (t * p.B + row) * p.D, p.D, row_of(thread.member, count));
        to[count++] = gx_of(later, row);
      }
    if (count == 0) return;
    float* sums = places.get(thread.member * kChunk * 4 * W);
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      for (int gate = 0; gate < 4; gate += kColumns) {
        thread.tiles.clear(count);
        add(thread.tiles, row_of(thread.member, 0), w_x, panel, gate, x_blocks);
        thread.tiles.put(sums + gate * W, 4 * W);
      }
      for (int64_t r = 0; r < count; ++r)
        std::memcpy(to[r] + panel * 4 * W, sums + r * 4 * W, 4 * W * sizeof(float));
    }
  }

  void take(const StepRows& from, Thread16& thread) {
    const Timed timed(kPack);
    for (int64_t r = 0; r < from.count; ++r) {
      Bf16* to = row_of(thread.member, r);
      if (!ahead) narrow_row(from.x[r], p.D, to);
      narrow_row(from.h[r], p.H, to + x_blocks * kBlock);
    }
  }

  // Calls f(number of the row, its sums of the four gates) for every row.
  template <typename F>
  void each(const StepRows& from, int64_t panel, Thread16& thread, F&& f) {
    float* sums = places.get(thread.member * kChunk * 4 * W);
    for (int64_t first = 0; first < from.count; first += kChunk) {
      const int64_t left = from.count - first, count = left < kChunk ? left : kChunk;
      {
        const Timed timed(kRecurrent);
        const Bf16* a = row_of(thread.member, first);
        for (int gate = 0; gate < 4; gate += kColumns) {
          thread.tiles.clear(count);
          if (!ahead) add(thread.tiles, a, w_x, panel, gate, x_blocks);
          add(thread.tiles, a + x_blocks * kBlock, w_h, panel, gate, h_blocks);
          thread.tiles.put(sums + gate * W, 4 * W);
        }
      }
      const Timed timed(kGates);
      for (int64_t r = 0; r < count; ++r) {
        Vec z[4];
        for (int gate = 0; gate < 4; ++gate) z[gate] = load(sums + (r * 4 + gate) * W);
        if (ahead) {
          const float* x = gx_of(from.step, from.row[first + r]) + panel * 4 * W;
          for (int gate = 0; gate < 4; ++gate) z[gate] += load(x + gate * W);
        }
        f(first + r, z);
      }
    }
  }

 private:
  int64_t depth() const { return (x_blocks + h_blocks) * kBlock; }
  // x w_x of a step that was multiplied ahead: [step][row][panel][gate][W].
  float* gx_of(int64_t step, int64_t row) const {
    return gx.get((step % ahead * p.B + row) * panels * 4 * W);
  }
  Bf16* row_of(int member, int64_t r) const {
    return rows.get((member * StepRows::kMost + r) * depth());
  }

  // Two rows of w [depth, 4H] into [panel][block][gate][pair][W][2].
  void pack(const float* w, int64_t depth, int64_t blocks, int64_t pair,
            const Workspace16& packed) {
    const int64_t block = pair / (kBlock / 2), within = pair % (kBlock / 2);
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t unit = panel * W;
      const int n = valid(unit, p.H);
      Bf16* to = packed.get((panel * blocks + block) * 4 * kTile + within * 2 * W);
      for (int gate = 0; gate < 4; ++gate, to += kTile) {
        const auto row = [&](int64_t k) {
          return k < depth ? load(w + (k * 4 + gate) * p.H + unit, n) : Vec{};
        };
        store_pairs(to, pairs(row(2 * pair), row(2 * pair + 1)));
      }
    }
  }

  void add(Tiles& tiles, const Bf16* a, const Workspace16& w, int64_t panel, int gate,
           int64_t blocks) {
    const Bf16* b = w.get((panel * blocks * 4 + gate) * kTile);
    tiles.add(a, depth(), b, 4 * kTile, blocks);
  }

  const Forward& p;

 public:
  const int64_t panels;

 private:
  const int64_t x_blocks, h_blocks;
  Workspace16 w_x, w_h;
  const int64_t ahead;  // steps whose inputs are multiplied together; 0 for none
  Workspace gx;
  Workspace16 rows;
  Workspace places;
};

}  // namespace
}  // namespace lstm::LSTM_ISA

#endif
