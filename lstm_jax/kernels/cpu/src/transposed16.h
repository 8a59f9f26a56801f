// The products of transposed.h in bfloat16: rows are rounded as they are taken.
#pragma once

#include "narrow.h"
#include "tiles.h"

#if defined(__AVX512BF16__)

namespace lstm::LSTM_ISA {
namespace {

class Transposed16 {
 public:
  static constexpr int64_t kPiece = kBlock;  // columns that are packed together

  Transposed16(const Backward& problem, int64_t units, int members)
      : units(units),
        depth(4 * problem.H),
        blocks(blocks_of(depth)),
        panels(ceil_div(units, kLanes)),
        packed(panels * blocks * kColumns * kTile),
        rows(members * kChunk * blocks * kBlock),
        places(members * kChunk * kLanes) {}

  // Columns k into [panel][block][unit register][pair][W][2].
  void pack(const float* w, Range columns) {
    for (int64_t block = columns.begin / kBlock; block * kBlock < columns.end; ++block)
      for (int64_t unit = 0; unit < panels * kLanes; unit += W) {
        const int64_t k = block * kBlock;
        Ints lanes[W];
        for (int lane = 0; lane < W; ++lane) {
          Bf16 row[kBlock] = {};
          if (unit + lane < units) {
            const int64_t left = depth - k;
            narrow_row(w + (unit + lane) * depth + k, left < kBlock ? left : kBlock, row);
          }
          std::memcpy(&lanes[lane], row, sizeof row);
        }
        transpose(lanes);
        const int64_t panel = unit / kLanes, column = unit % kLanes / W;
        Bf16* to = packed.get(((panel * blocks + block) * kColumns + column) * kTile);
        std::memcpy(to, lanes, sizeof lanes);
      }
  }

  // rows[r] times some of the panels, into its place in to[r]; of several members for
  // the share of one.
  void multiply(const float* const* from, float* const* to, int64_t count, Range mine,
                Thread16& thread, int member = 0, int members = 1) const {
    if (mine.begin == mine.end) return;
    const Range share = part(count, member, members);
    const int64_t stride = blocks * kBlock;
    Bf16* a = rows.get(thread.member * kChunk * stride);
    float* sums = places.get(thread.member * kChunk * kLanes);
    for (int64_t first = share.begin; first < share.end; first += kChunk) {
      const int64_t left = share.end - first, n = left < kChunk ? left : kChunk;
      for (int64_t r = 0; r < n; ++r) narrow_row(from[first + r], depth, a + r * stride);
      for (int64_t panel = mine.begin; panel < mine.end; ++panel) {
        const Bf16* b = packed.get(panel * blocks * kColumns * kTile);
        thread.tiles.clear(n);
        thread.tiles.add(a, stride, b, kColumns * kTile, blocks);
        thread.tiles.put(sums, kLanes);
        for (int64_t r = 0; r < n; ++r)
          for (int column = 0; column < kColumns; ++column)
            if (const int64_t unit = panel * kLanes + column * W; unit < units)
              store(to[first + r] + unit, load(sums + r * kLanes + column * W),
                    valid(unit, units));
      }
    }
  }

  Range units_of(Range panels) const { return columns_of(panels, kLanes, units); }

 private:
  static constexpr int64_t kLanes = kColumns * W;
  const int64_t units, depth, blocks;

 public:
  const int64_t panels;

 private:
  Workspace16 packed, rows;
  Workspace places;
};

}  // namespace
}  // namespace lstm::LSTM_ISA

#endif
