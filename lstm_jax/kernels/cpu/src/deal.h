// Rows of different lengths, dealt out to parts of equal size.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "problem.h"

namespace lstm {

// An order of the rows in which parts of neighbours have about as many real steps, since
// the last part to be done decides: the longest row first, each to the part that has the
// least to do and still has room. Empty where all steps are real, or there is one part.
inline std::vector<int64_t> deal(const Sequence& s, int parts) {
  if (!s.mask || parts < 2 || s.B < parts) return {};
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

}  // namespace lstm
