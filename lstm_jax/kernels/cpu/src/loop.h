// What the loops forwards and backwards share: how work is cut and taken in rounds.
//
// A thread owns some of the rows or some of the units for all time. A round is what is
// done between two meetings of the threads.
#pragma once

#include <cstdlib>

#include "phases.h"
#include "problem.h"
#include "vector.h"

namespace lstm::LSTM_ISA {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Range {
  int64_t begin, end;
};

Range part(Range all, int64_t member, int64_t members) {
  const int64_t total = all.end - all.begin;
  return {all.begin + total * member / members,
          all.begin + total * (member + 1) / members};
}
Range part(int64_t total, int64_t member, int64_t members) {
  return part(Range{0, total}, member, members);
}

// The columns of panels that are so wide, of so many columns in all.
Range columns_of(Range panels, int64_t width, int64_t all) {
  const int64_t begin = panels.begin * width, end = panels.end * width;
  return {begin < all ? begin : all, end < all ? end : all};
}

// Memory of a call, for as long as the loop lives.
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

// What a thread needs for itself.
struct Thread {
  int member;  // no two at a time the same
};

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
        rows_apart(p.rows_apart) {}

  // After those that pack, every round has so many steps.
  int64_t rounds(int64_t steps) const { return kPacking + ceil_div(steps, stride()); }
  Range steps(int64_t round, int64_t total) const {
    const int64_t begin = (round - kPacking) * stride();
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

template <typename L>
void run(L& loop, int64_t rounds, Team& team) {
  const Timed timed(kWhole);
  team.run(
      rounds,
      [](void* self, int64_t round, int member, int members) {
        static_cast<L*>(self)->round(round, member, members);
      },
      &loop);
}

}  // namespace
}  // namespace lstm::LSTM_ISA
