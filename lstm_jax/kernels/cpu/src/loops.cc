// The recurrence forwards and backwards, compiled once per instruction set.
//
//     z_t = x_t w_x + h_{t-1} w_h + b,  gates i, f, o = sigmoid(z), g = tanh(z)
//     c_t = f * c_{t-1} + i * g
//     h_t = o * tanh(c_t)
//
// A thread owns some of the rows or some of the units for all time. The pre-activations
// of a tile of rows and units are summed in registers, over weights packed into panels
// that are read from first to last, and become gates, c and h before they leave them.
#include <cstdlib>

#include "activations.h"
#include "problem.h"
#include "tile.h"

namespace lstm::LSTM_ISA {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Range {
  int64_t begin, end;
};

Range part(int64_t total, int member, int members) {
  return {total * member / members, total * (member + 1) / members};
}

class Workspace {
 public:
  explicit Workspace(int64_t floats) : data_(allocate(floats)) {}
  ~Workspace() { std::free(data_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  float* get(int64_t at = 0) const { return data_ + at; }

 private:
  float* data_;
};

// How the work of a step is cut: by rows, with weights read by every thread and no
// meeting after every step, or by units. Measured: rows are as good or better as long as
// a thread has enough of them for its tiles, and the weights come from a near cache.
bool by_rows(int64_t B, int64_t H, int threads) {
  return B >= 8 * threads && 4 * H * H * int64_t{sizeof(float)} <= int64_t{4} << 20;
}

// Shared by both loops: panels, ranges, and the rounds of a team.
template <typename Problem>
struct Loop {
  const Problem& p;
  const int64_t units;  // registers of W units
  const int members;
  const bool rows_apart;

  Loop(const Problem& problem, const Team& team)
      : p(problem),
        units(ceil_div(p.H, W)),
        members(team.most()),
        rows_apart(members > 1 && by_rows(p.B, p.H, members)) {}

  // Round 0 packs the weights; the others have so many steps each.
  int64_t rounds(int64_t steps) const { return 1 + ceil_div(steps, stride()); }
  Range steps(int64_t round, int64_t total) const {
    const int64_t begin = (round - 1) * stride();
    return {begin, begin + stride() < total ? begin + stride() : total};
  }
  // Steps that a thread goes through on its own rows between two meetings: few enough
  // that one which comes late still finds something to do.
  int64_t stride() const {
    if (!rows_apart || p.T < 20) return 1;
    return p.T < 160 ? p.T / 10 : 16;
  }
  // The rows, in as many parts as there may be threads: not in as many as have come,
  // so that sums are taken in the same order in every run.
  template <typename F>
  void each_part(int member, int n, F&& f) const {
    if (!rows_apart) return f(0, Range{0, p.B});
    const Range mine = part(members, member, n);
    for (int64_t at = mine.begin; at < mine.end; ++at)
      f(int(at), part(p.B, int(at), members));
  }
  Range panels_of(int64_t count, int member, int n) const {
    return rows_apart ? Range{0, count} : part(count, member, n);
  }
};

int valid(int64_t unit, int64_t H) { return H - unit < W ? int(H - unit) : W; }

void copy(float* to, const float* from, int64_t unit, int64_t H) {
  store(to + unit, load(from + unit, valid(unit, H)), valid(unit, H));
}

// ---------------------------------------------------------------------- forwards

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

  // w [depth, 4H] as [panel][k][unit register][gate][W], with as many registers of units
  // in a panel: the order in which a tile reads them.
  void pack(const float* w, int64_t depth, int registers, int64_t panel,
            const Workspace& packed) {
    float* to = packed.get(panel * depth * registers * 4 * W);
    for (int64_t k = 0; k < depth; ++k)
      for (int u = 0; u < registers; ++u)
        for (int gate = 0; gate < 4; ++gate, to += W) {
          const int64_t unit = (panel * registers + u) * W;
          const int n = unit < p.H ? valid(unit, p.H) : 0;
          store(to, load(w + (k * 4 + gate) * p.H + unit, n));
        }
  }

  void pack(Range mine) {
    for (int64_t panel = mine.begin; panel < mine.end; ++panel) {
      pack(p.w_h, p.H, kUnits, panel, w_h);
      if (!ahead) pack(p.w_x, p.D, kUnits, panel, w_x);
    }
    if (!ahead) return;
    // Multiplied with many rows, in narrow panels.
    const Range all = units_of(mine);
    for (int64_t unit = all.begin; unit < all.end; ++unit)
      pack(p.w_x, p.D, 1, unit, w_x);
  }

  Range units_of(Range panels) const {
    const int64_t end = panels.end * kUnits;
    return {panels.begin * kUnits, end < units ? end : units};
  }

  // The state before a step, and where the state after it goes. What a caller gets to
  // see serves where it can.
  const float* h_in(int64_t step) const {
    if (training) return p.operands + p.time(step) * p.B * p.H;
    if (step == 0) return p.h0;
    if (!p.mask) return p.hs + p.time(step - 1) * p.B * p.H;
    return state.get(step % 2 * p.B * p.H);
  }
  float* h_out(int64_t step) const {
    if (step == p.T - 1) return p.h;
    if (training) return p.operands + p.time(step + 1) * p.B * p.H;
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
    if (index == 0) {
      const Range mine = part(panels, member, n);
      pack(mine);
      if (training && member == 0)
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
      for (int64_t row = begin; row < end; ++row) {
        const bool reset = p.reset(t, row);
        const float* h_row = (reset ? p.reset_h : h_in(step)) + row * p.H;
        const float* c_row = (reset ? p.reset_c : c_in(step)) + row * p.H;
        if (reset && training) {
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
            add_product<R, N>(x + first, p.D, w_x.get(panel * p.D * N * W), acc);
          }
          add_product<R, N>(h + first, p.H, w_h.get(panel * p.H * N * W), acc);
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
    each_unit(mine, [&](int64_t unit) {
      copy(c_out(step) + at, c, unit, p.H);
      if (step == p.T - 1) copy(p.c + at, c, unit, p.H);
      if (h_out(step)) copy(h_out(step) + at, h, unit, p.H);
      store(out + unit, Vec{}, valid(unit, p.H));
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
    const Vec h = o * tanh(c);
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

// --------------------------------------------------------------------- backwards

// With dh and dc the gradients by the state after a step,
//
//     dc += dh * o * (1 - tanh(c)^2)
//     dz = (dc * g * i (1-i),  dc * c_{t-1} * f (1-f),  dc * i * (1-g^2),
//           dh * tanh(c) * o (1-o))
//     dc = dc * f,  dh = dz w_h^T        by the state before it
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

template <typename L>
void run(L& loop, int64_t steps, Team& team) {
  team.run(
      loop.rounds(steps),
      [](void* self, int64_t round, int member, int members) {
        static_cast<L*>(self)->round(round, member, members);
      },
      &loop);
}

template <int N>
void forward_with(const Forward& p, Team& team) {
  ForwardLoop<N> loop(p, team);
  run(loop, p.T, team);
}

template <int N>
void backward_with(const Backward& p, Team& team) {
  BackwardLoop<N> loop(p, team);
  run(loop, p.T + 1, team);
  loop.finish();
}

void forward(const Forward& p, Team& team) {
  switch (panel_registers(p.B, 4 * ceil_div(p.H, W) / team.most())) {
    case 16: if constexpr (kAccumulators >= 16) return forward_with<16>(p, team); break;
    case 8: return forward_with<8>(p, team);
    default: return forward_with<4>(p, team);
  }
}

void backward(const Backward& p, Team& team) {
  switch (panel_registers(p.B, ceil_div(p.H, W) / team.most())) {
    case 16: if constexpr (kAccumulators >= 16) return backward_with<16>(p, team); break;
    case 8: return backward_with<8>(p, team);
    default: return backward_with<4>(p, team);
  }
}

void activate(const float* x, float* y, int64_t n, bool is_tanh) {
  for (int64_t at = 0; at < n; at += W) {
    const int count = n - at < W ? int(n - at) : W;
    const Vec v = load(x + at, count);
    store(y + at, is_tanh ? tanh(v) : sigmoid(v), count);
  }
}

}  // namespace
}  // namespace lstm::LSTM_ISA

namespace lstm {
const Loops LSTM_LOOPS = {LSTM_NAME, LSTM_ISA::forward, LSTM_ISA::backward,
                          LSTM_ISA::activate};
}  // namespace lstm
