// What every thread has to do: some of the units, or some of the rows.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "problem.h"

namespace lstm {

// How the work of a step is cut: by rows, with weights read by every thread and no
// meeting after every step, or by units. Measured: rows are better as long as a thread
// has enough of them for its tiles, and the weights come from a near cache; where rows
// fall out, large weights are read for fewer and fewer of them.
inline bool by_rows(int64_t B, int64_t H, int threads, bool all_real, bool pairs) {
  const int64_t bytes = 4 * H * H * int64_t{sizeof(float)};
  // In bfloat16 a product takes less time than to read its weights, so rows share them.
  if (pairs) return B >= 16 * threads && bytes <= int64_t{1} << 20;
  if (all_real || B >= 32 * threads)
    return B >= 8 * threads && bytes <= int64_t{4} << 20;
  return B >= 8 * threads && bytes <= int64_t{1} << 19;
}

// An order of the rows in which parts of neighbours have about as many real steps, since
// the last part to be done decides: the longest row first, each to the part that has the
// least to do and still has room. Empty where all steps are real.
inline std::vector<int64_t> deal(const Sequence& s, int parts) {
  if (!s.mask) return {};
  std::vector<int64_t> real(s.B, 0), longest_first(s.B);
  for (int64_t t = 0; t < s.T; ++t)
    for (int64_t row = 0; row < s.B; ++row) real[row] += s.mask[t * s.B + row];
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](int64_t a, int64_t b) { return real[a] > real[b]; });
  std::vector<std::vector<int64_t>> hands(parts);
  std::vector<int64_t> work(parts, 0);
  const auto has_room = [&](int part) {
    const int64_t room = s.B * (part + 1) / parts - s.B * part / parts;
    return int64_t(hands[part].size()) < room;
  };
  for (const int64_t row : longest_first) {
    int best = -1;
    for (int part = 0; part < parts; ++part)
      if (has_room(part) && (best < 0 || work[part] < work[best])) best = part;
    hands[best].push_back(row);
    work[best] += real[row];
  }
  std::vector<int64_t> order;
  for (auto& hand : hands) {
    std::sort(hand.begin(), hand.end());  // as they lie in memory
    order.insert(order.end(), hand.begin(), hand.end());
  }
  return order;
}

// A sequence, and how so many threads share it. Not to be copied: it points into itself.
struct Dealt {
  Sequence steps;
  std::vector<int64_t> order;

  Dealt(const Sequence& sequence, int threads, bool pairs) : steps(sequence) {
    steps.rows_apart =
        threads > 1 && by_rows(steps.B, steps.H, threads, !steps.mask, pairs);
    if (steps.rows_apart) order = deal(steps, threads);
    if (!order.empty()) steps.order = order.data();
  }
  Dealt(const Dealt&) = delete;
  Dealt& operator=(const Dealt&) = delete;
};

}  // namespace lstm
