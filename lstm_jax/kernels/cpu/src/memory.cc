// Memory that is about to be written from one end to the other.
#include <cstdlib>
#include <new>

#include "problem.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lstm {
namespace {

constexpr uintptr_t kLine = 64, kLargePage = uintptr_t{2} << 20;

uintptr_t round_up(uintptr_t a, uintptr_t to) { return (a + to - 1) / to * to; }

}  // namespace

void expect_writes(float* data, int64_t floats) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (!data) return;
  const uintptr_t begin = round_up(reinterpret_cast<uintptr_t>(data), kLargePage);
  const uintptr_t end =
      reinterpret_cast<uintptr_t>(data + floats) / kLargePage * kLargePage;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)floats;
#endif
}

float* allocate(int64_t floats) {
  const uintptr_t bytes = floats > 0 ? floats * sizeof(float) : 1;
  const uintptr_t unit = bytes >= kLargePage ? kLargePage : kLine;
  auto* data = static_cast<float*>(std::aligned_alloc(unit, round_up(bytes, unit)));
  if (!data) throw std::bad_alloc();
  expect_writes(data, floats);
  return data;
}

}  // namespace lstm
