// What dz is multiplied with besides w_h: the gradients by the weights and the inputs,
//
//     dw_x = sum x^T dz,   dw_h = sum h^T dz,   db = sum dz,   dx = dz w_x^T
//
// taken some rows at a time while their dz is still in a near cache, and of real rows
// alone.
#pragma once

#include "loop.h"
#include "tile.h"

namespace lstm::LSTM_ISA {
namespace {

// Columns k of w [units, depth] into [panel][k][unit register][W], so many registers to a
// panel; by squares, so that neither side leaves the nearest cache.
void pack_transposed(const float* w, int64_t units, int64_t depth, int registers,
                     int64_t panel, Range columns, const Workspace& packed) {
  const int64_t lanes = registers * W;
  float* to = packed.get(panel * depth * lanes);
  for (int64_t begin = columns.begin; begin < columns.end; begin += W) {
    const int64_t end = begin + W < columns.end ? begin + W : columns.end;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t unit = panel * lanes + lane;
      const float* from = w + unit * depth;
      for (int64_t k = begin; k < end; ++k)
        to[k * lanes + lane] = unit < units ? from[k] : 0;
    }
  }
}

// rows[r] times panel number `panel` of packed weights, into its place in to[r].
template <int N>
void multiply(const float* const* rows, float* const* to, int64_t count, int64_t depth,
              const Workspace& packed, int64_t panel, int64_t units, int member = 0,
              int members = 1) {
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

// Where gradients by weights are summed: the outputs, or a place of a part's own.
struct Sums {
  float *dw_x, *dw_h, *db;
};

// A share of the work on a block of steps: the sums' columns of some units, and dx of
// some of the rows.
struct Share {
  Range units;
  int member, members;
  int place;  // which workspace, no two at a time the same
};

class Products {
 public:
  static constexpr int N = 4;
  static constexpr int64_t kRows = 384;  // at a time

  Products(const Backward& problem, int parts)
      : p(problem),
        depth(4 * p.H),
        panels(p.dx ? ceil_div(p.D, N * W) : 0),
        w_x(panels * depth * N * W),
        columns(parts * kRows * N * W) {}

  // Steps to a block, of so many rows each.
  static int64_t steps(int64_t rows) { return ceil_div(kRows, rows > 0 ? rows : 1); }

  void pack(Range columns) {
    for (int64_t panel = 0; panel < panels; ++panel)
      pack_transposed(p.w_x, p.D, depth, N, panel, columns, w_x);
  }

  void add(Range steps, Range rows, const Share& share, const Sums& sums) const {
    const Timed timed(kProducts);
    Batch batch(*this, share, sums, steps.end < p.T);
    for (int64_t step = steps.begin; step < steps.end; ++step)
      for (int64_t place = rows.begin; place < rows.end; ++place) {
        const int64_t row = p.row(place);
        if (p.real(p.time(step), row))
          batch.take(step, row);
        else if (p.dx && share.member == 0)
          std::memset(dx_of(step, row), 0, p.D * sizeof(float));
      }
    // Sums of no rows at all are 0, and have to be put down as such.
    if (batch.count || !batch.begun) batch.finish();
  }

 private:
  // Rows that are multiplied together.
  struct Batch {
    const Products& of;
    const Share& share;
    const Sums& sums;
    bool begun;  // is there anything in the sums yet
    int64_t count = 0;
    const float *x[kRows], *h[kRows], *dz[kRows];
    float* dx[kRows];
    float* const panel;  // some columns of dz

    Batch(const Products& products, const Share& mine, const Sums& to, bool any)
        : of(products),
          share(mine),
          sums(to),
          begun(any),
          panel(of.columns.get(share.place * kRows * N * W)) {}

    void take(int64_t step, int64_t row) {
      const Backward& p = of.p;
      const int64_t at = p.time(step) * p.B + row;
      x[count] = p.xs + at * p.D;
      h[count] = p.h_before(step, row);
      dz[count] = p.dz + at * of.depth;
      dx[count] = of.dx_of(step, row);
      if (++count == kRows) finish();
    }

    void finish() {
      for (int64_t panel = 0; panel < of.panels; ++panel)
        multiply<N>(dz, dx, count, of.depth, of.w_x, panel, of.p.D, share.member,
                    share.members);
      const int64_t H = of.p.H;
      if (share.units.begin == 0 && share.units.end == H) {
        add_columns({0, of.depth});
      } else {
        for (int64_t gate = 0; gate < of.depth; gate += H)
          add_columns({gate + share.units.begin, gate + share.units.end});
      }
      begun = true;
      count = 0;
    }

    void add_columns(Range columns) {
      if (!sums.dw_x && !sums.dw_h && !sums.db) return;
      for (int64_t at = columns.begin; at < columns.end; at += N * W) {
        int lanes[N];
        for (int n = 0; n < N; ++n) {
          const int64_t left = columns.end - at - n * W;
          lanes[n] = left >= W ? W : left > 0 ? int(left) : 0;
        }
        Vec sum[1][N] = {};
        for (int64_t k = 0; k < count; ++k)
          for (int n = 0; n < N; ++n) {
            const Vec v = load(dz[k] + at + n * W, lanes[n]);
            store(panel + (k * N + n) * W, v);
            sum[0][n] += v;
          }
        if (sums.db) put(sums.db + at, lanes, sum[0]);
        if (sums.dw_x) outer_product(x, of.p.D, sums.dw_x + at, lanes);
        if (sums.dw_h) outer_product(h, of.p.H, sums.dw_h + at, lanes);
      }
    }

    void outer_product(const float* const* a, int64_t width, float* to,
                       const int (&lanes)[N]) {
      for_tiles<N>(width, [&](auto tile, int64_t first) {
        constexpr int R = decltype(tile)::value;
        Vec acc[R][N] = {};
        add_outer_product<R, N>(a, first, count, panel, acc);
        for (int r = 0; r < R; ++r) put(to + (first + r) * of.depth, lanes, acc[r]);
      });
    }

    void put(float* to, const int (&lanes)[N], const Vec (&sum)[N]) const {
      for (int n = 0; n < N; ++n) {
        const Vec before = begun ? load(to + n * W, lanes[n]) : Vec{};
        store(to + n * W, before + sum[n], lanes[n]);
      }
    }
  };

  float* dx_of(int64_t step, int64_t row) const {
    return p.dx ? p.dx + (p.time(step) * p.B + row) * p.D : nullptr;
  }

  const Backward& p;
  const int64_t depth, panels;
  Workspace w_x, columns;
};

}  // namespace
}  // namespace lstm::LSTM_ISA
