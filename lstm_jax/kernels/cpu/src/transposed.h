// Products with transposed weights, dz w^T.
#pragma once

#include "loop.h"
#include "tile.h"

namespace lstm::LSTM_ISA {
namespace {

// The columns of w [units, depth] as panels of N registers of units, in float.
template <int N>
class Transposed {
 public:
  static constexpr int64_t kPiece = 1;  // columns that are packed together

  Transposed(const Backward& problem, int64_t units, int)
      : units(units),
        depth(4 * problem.H),
        bfloat16(problem.bfloat16),
        panels(ceil_div(units, N * W)),
        packed(panels * depth * N * W) {}

  // Columns k into [panel][k][unit register][W]; by squares, so that neither side leaves
  // the nearest cache.
  void pack(const float* w, Range columns) {
    constexpr int64_t lanes = N * W;
    for (int64_t panel = 0; panel < panels; ++panel)
      for (int64_t begin = columns.begin; begin < columns.end; begin += W) {
        float* to = packed.get(panel * depth * lanes);
        const int64_t end = begin + W < columns.end ? begin + W : columns.end;
        for (int64_t lane = 0; lane < lanes; ++lane) {
          const int64_t unit = panel * lanes + lane;
          const float* from = w + unit * depth;
          if (unit >= units) {
            for (int64_t k = begin; k < end; ++k) to[k * lanes + lane] = 0;
            continue;
          }
          const Vec row = rounded(load(from + begin, int(end - begin)), bfloat16);
          for (int64_t k = begin; k < end; ++k) to[k * lanes + lane] = row[k - begin];
        }
      }
  }

  // rows[r] times some of the panels, into its place in to[r]; of several members for
  // the share of one.
  void multiply(const float* const* rows, float* const* to, int64_t count, Range mine,
                Thread&, int member = 0, int members = 1) const {
    for (int64_t panel = mine.begin; panel < mine.end; ++panel) {
      const auto tile_of_rows = [&](auto tile, int64_t first) {
        constexpr int R = decltype(tile)::value;
        Vec acc[R][N] = {};
        add_product<R, N>(rows + first, depth, packed.get(panel * depth * N * W), acc);
        for (int r = 0; r < R; ++r)
          for (int n = 0; n < N; ++n)
            if (const int64_t unit = (panel * N + n) * W; unit < units)
              store(to[first + r] + unit, acc[r][n], valid(unit, units));
      };
      for_tiles<N>(count, tile_of_rows, member, members);
    }
  }

  // The units of some panels.
  Range units_of(Range panels) const { return columns_of(panels, N * W, units); }

 private:
  const int64_t units, depth;
  const bool bfloat16;

 public:
  const int64_t panels;

 private:
  Workspace packed;
};

}  // namespace
}  // namespace lstm::LSTM_ISA
