// The products of the loops, in float and in bfloat16.
#pragma once

#include "gate_sums.h"
#include "gate_sums16.h"
#include "outer.h"
#include "outer16.h"
#include "transposed.h"
#include "transposed16.h"

namespace lstm::LSTM_ISA {
namespace {

// With panels of N registers.
template <int N>
struct Float32 {
  using Thread = LSTM_ISA::Thread;
  using GateSums = LSTM_ISA::GateSums<N>;
  using Recurrent = Transposed<N>;
  using Inputs = Transposed<4>;
  using Outer = LSTM_ISA::Outer;
};

#if defined(__AVX512BF16__)
struct Bfloat16 {
  using Thread = Thread16;
  using GateSums = GateSums16;
  using Recurrent = Transposed16;
  using Inputs = Transposed16;
  using Outer = Outer16;
};
#endif

}  // namespace
}  // namespace lstm::LSTM_ISA
