// The loops of one instruction set. This file is compiled once for each of them.
#include "backward.h"
#include "forward.h"

namespace lstm::LSTM_ISA {
namespace {

template <typename Arithmetic>
void forward_with(const Forward& p, Team& team) {
  ForwardLoop<Arithmetic> loop(p, team);
  run(loop, loop.rounds(p.T), team);
}

template <typename Arithmetic>
void backward_with(const Backward& p, Team& team) {
  BackwardLoop<Arithmetic> loop(p, team);
  run(loop, loop.rounds(), team);
}

void forward(const Forward& p, Team& team) {
#if defined(__AVX512BF16__)
  if (p.bfloat16) return forward_with<Bfloat16>(p, team);
#endif
  switch (panel_registers(p.B, 4 * ceil_div(p.H, W) / team.most())) {
    case 16:
      if constexpr (kAccumulators >= 16) return forward_with<Float32<16>>(p, team);
      break;
    case 8: return forward_with<Float32<8>>(p, team);
    default: return forward_with<Float32<4>>(p, team);
  }
}

void backward(const Backward& p, Team& team) {
#if defined(__AVX512BF16__)
  if (p.bfloat16) return backward_with<Bfloat16>(p, team);
#endif
  switch (panel_registers(p.B, ceil_div(p.H, W) / team.most())) {
    case 16: if constexpr (kAccumulators >= 16) return backward_with<Float32<16>>(p, team); break;
    case 8: return backward_with<Float32<8>>(p, team);
    default: return backward_with<Float32<4>>(p, team);
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
#if defined(__AVX512BF16__)
constexpr bool kPairs = true;
#else
constexpr bool kPairs = false;
#endif
const Loops LSTM_LOOPS = {LSTM_NAME, kPairs, LSTM_ISA::forward, LSTM_ISA::backward,
                          LSTM_ISA::activate};
}  // namespace lstm
