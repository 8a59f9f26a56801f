// What dz is multiplied with besides w_h: the gradients by the weights and the inputs,
//
//     dw_x = sum x^T dz,   dw_h = sum h^T dz,   db = sum dz,   dx = dz w_x^T
//
// taken some rows at a time while their dz is still in a near cache, and of real rows
// alone.
#pragma once

#include "arithmetic.h"
#include "loop.h"

namespace lstm::LSTM_ISA {
namespace {

// Where gradients by weights are summed: the outputs, or a place of a part's own.
struct Sums {
  float *dw_x, *dw_h, *db;
};

// A share of the work on a block of steps: the sums' columns of some units, and dx of
// some of the rows.
struct Share {
  Range units;
  int member, members;
};

template <typename Arithmetic>
class Products {
 public:
  using Thread = typename Arithmetic::Thread;
  using Outer = typename Arithmetic::Outer;
  static constexpr int N = Outer::N;
  static constexpr int64_t kRows = Outer::kRows;

  Products(const Backward& problem, int members)
      : p(problem),
        depth(4 * p.H),
        w_x(p, p.dx ? p.D : 0, members),
        outer(p, members) {}

  // Steps to a block, of so many rows each.
  static int64_t steps(int64_t rows) { return ceil_div(kRows, rows > 0 ? rows : 1); }

  void pack(Range columns) { w_x.pack(p.w_x, columns); }

  void add(Range steps, Range rows, const Share& share, const Sums& sums,
           Thread& thread) const {
    const Timed timed(kProducts);
    Batch batch(*this, share, sums, thread, steps.end < p.T);
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
    Thread& thread;
    bool begun;  // is there anything in the sums yet
    int64_t count = 0;
    const float *x[kRows], *h[kRows], *dz[kRows];
    float* dx[kRows];

    Batch(const Products& products, const Share& mine, const Sums& to, Thread& thread,
          bool any)
        : of(products), share(mine), sums(to), thread(thread), begun(any) {}

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
      of.w_x.multiply(dz, dx, count, {0, of.w_x.panels}, thread, share.member,
                      share.members);
      if (share.units.begin < share.units.end) of.outer.begin(x, h, count, thread);
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
        Vec sum[N] = {};
        of.outer.take(dz, at, lanes, count, thread, sum);
        if (sums.db) put(sums.db + at, lanes, sum);
        const auto into = [&](float* to) {
          return [this, to, at, &lanes](int64_t row, const Vec(&sum)[N]) {
            put(to + row * of.depth + at, lanes, sum);
          };
        };
        if (sums.dw_x) of.outer.x(x, count, thread, into(sums.dw_x));
        if (sums.dw_h) of.outer.h(h, count, thread, into(sums.dw_h));
      }
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
  const int64_t depth;
  typename Arithmetic::Inputs w_x;
  Outer outer;
};

}  // namespace
}  // namespace lstm::LSTM_ISA
