// The door to XLA: buffers in, buffers out, through its foreign function interface.
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "deal.h"
#include "phases.h"
#include "problem.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lstm {
namespace {

using Floats = ffi::Buffer<ffi::F32>;
using Flags = ffi::Buffer<ffi::PRED>;
using Out = ffi::Result<Floats>;

#if defined(LSTM_AMX)
// Linux saves tile registers only for a process that has asked for them.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kAsk = 0x1023, kTiles = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  return __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("avx512bf16") &&
         syscall(SYS_arch_prctl, kAsk, kTiles) == 0;
#else
  return false;
#endif
}
#endif

// What was compiled and this processor has, the fastest for float first.
const std::vector<const Loops*>& available() {
  static const std::vector<const Loops*> found = [] {
    std::vector<const Loops*> found;
#if defined(LSTM_X86)
    __builtin_cpu_init();
    const bool avx512 =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
#if defined(LSTM_AMX)
    if (avx512 && may_use_tiles()) found.push_back(&kAmx);
#endif
    if (avx512) found.push_back(&kAvx512);
#if defined(LSTM_AVX512BF16)
    // Intel multiplies pairs at half the rate, which is no faster than floats.
    if (avx512 && __builtin_cpu_supports("avx512bf16"))
      found.insert(found.end() - __builtin_cpu_is("amd"), &kAvx512bf16);
#endif
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      found.push_back(&kAvx2);
#endif
    found.push_back(&kPortable);
    return found;
  }();
  return found;
}

// The first, or the one that LSTM_JAX_CPU names. Python refuses other names.
const Loops& loops() {
  static const Loops& chosen = []() -> const Loops& {
    const char* name = std::getenv("LSTM_JAX_CPU");
    for (const Loops* loops : available())
      if (name && std::string_view(name) == loops->name) return *loops;
    return *available().front();
  }();
  return chosen;
}

// An optional array comes as one without elements.
template <typename B>
auto optional(const B& buffer) {
  return buffer.element_count() ? buffer.typed_data() : nullptr;
}
float* optional(Out& buffer) { return optional(*buffer); }

Sequence sequence(const Floats& data, int64_t H, bool reverse, const Flags& mask,
                  const Flags& resets, const Floats& reset_h, const Floats& reset_c) {
  const auto shape = data.dimensions();
  return {shape[0],         shape[1],           H,
          reverse,          optional(mask),     optional(resets),
          optional(reset_h), optional(reset_c)};
}

// Threads worth having: a step should take long against the meeting at its end.
int threads(const ffi::ThreadPool& pool, const Sequence& s) {
  const double worth = double(s.B) * s.H * s.H / 16384;
  if (worth < 2 || s.T < 2) return 1;
  const double available = std::min<double>(pool.num_threads(), worth);
  return std::clamp(int(available), 1, 64);
}

// Memory is taken before the threads start, so what fails here leaves nothing behind.
template <typename F>
ffi::Error or_exhausted(F&& run) {
  try {
    run();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "lstm_jax: out of memory for the kernel's own order of the "
                      "weights and inputs; take smaller layers, or implementation=\"scan\".");
  }
  return ffi::Error::Success();
}

ffi::Error forward(ffi::ThreadPool pool, bool reverse, bool bfloat16, Floats xs,
                   Floats w_x, Floats w_h, Floats b, Floats h0, Floats c0, Flags mask,
                   Flags resets, Floats reset_h, Floats reset_c, Out hs, Out h, Out c,
                   Out gates, Out cs, Out operands) {
  const int64_t H = w_h.dimensions()[0];
  return or_exhausted([&] {
    const Sequence all = sequence(xs, H, reverse, mask, resets, reset_h, reset_c);
    PoolTeam team(pool, threads(pool, all));
    const Dealt dealt(all, team.most(), bfloat16 && loops().pairs);
    const Forward problem{
        dealt.steps,
        w_x.dimensions()[0], bfloat16, xs.typed_data(), w_x.typed_data(),
        w_h.typed_data(), b.typed_data(), h0.typed_data(), c0.typed_data(), optional(hs), optional(h),
        optional(c), optional(gates), optional(cs), optional(operands)};
    const int64_t hidden = problem.T * problem.B * H;
    expect_writes(problem.hs, hidden);
    expect_writes(problem.gates, 4 * hidden);
    expect_writes(problem.cs, hidden);
    expect_writes(problem.operands, hidden);
    loops().forward(problem, team);
  });
}

template <bool kBfloat16>
ffi::Error backward(ffi::ThreadPool pool, bool reverse, Floats gates, Floats xs,
                    Floats w_x, Floats w_h, Floats h0, Floats c0, Floats cs, Floats hs,
                    Floats d_hs, Floats d_h, Floats d_c, Flags mask, Flags resets,
                    Floats reset_h, Floats reset_c, Out dz, Out dx, Out dw_x, Out dw_h,
                    Out db, Out dh0, Out dc0, Out d_reset_h, Out d_reset_c) {
  const int64_t H = w_h.dimensions()[0];
  return or_exhausted([&] {
    const Sequence all = sequence(gates, H, reverse, mask, resets, reset_h, reset_c);
    PoolTeam team(pool, threads(pool, all));
    const Dealt dealt(all, team.most(), kBfloat16 && loops().pairs);
    const Backward problem{
        dealt.steps,
        w_x.dimensions()[0], kBfloat16, xs.typed_data(), w_x.typed_data(),
        w_h.typed_data(), h0.typed_data(), c0.typed_data(), gates.typed_data(),
        cs.typed_data(),
        hs.typed_data(), d_hs.typed_data(), d_h.typed_data(), d_c.typed_data(),
        optional(dz), optional(dx), optional(dw_x), optional(dw_h), optional(db),
        optional(dh0), optional(dc0), optional(d_reset_h), optional(d_reset_c)};
    if (problem.dx) expect_writes(problem.dx, problem.T * problem.B * problem.D);
    loops().backward(problem, team);
  });
}

ffi::Error activate(bool tanh, Floats x, Out y) {
  loops().activate(x.typed_data(), y->typed_data(), x.element_count(), tanh);
  return ffi::Error::Success();
}

auto of_backward() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<bool>("reverse")
      .Arg<lstm::Floats>()  // gates
      .Arg<lstm::Floats>()  // xs
      .Arg<lstm::Floats>()  // w_x
      .Arg<lstm::Floats>()  // w_h
      .Arg<lstm::Floats>()  // h0
      .Arg<lstm::Floats>()  // c0
      .Arg<lstm::Floats>()  // cs
      .Arg<lstm::Floats>()  // hs
      .Arg<lstm::Floats>()  // d_hs
      .Arg<lstm::Floats>()  // d_h
      .Arg<lstm::Floats>()  // d_c
      .Arg<lstm::Flags>()   // mask
      .Arg<lstm::Flags>()   // resets
      .Arg<lstm::Floats>()  // reset_h
      .Arg<lstm::Floats>()  // reset_c
      .Ret<lstm::Floats>()  // dz
      .Ret<lstm::Floats>()  // dx
      .Ret<lstm::Floats>()  // dw_x
      .Ret<lstm::Floats>()  // dw_h
      .Ret<lstm::Floats>()  // db
      .Ret<lstm::Floats>()  // dh0
      .Ret<lstm::Floats>()  // dc0
      .Ret<lstm::Floats>()  // d_reset_h
      .Ret<lstm::Floats>();  // d_reset_c
}

}  // namespace
}  // namespace lstm

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_forward, lstm::forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<bool>("reverse")
                                  .Attr<bool>("bfloat16")
                                  .Arg<lstm::Floats>()  // xs
                                  .Arg<lstm::Floats>()  // w_x
                                  .Arg<lstm::Floats>()  // w_h
                                  .Arg<lstm::Floats>()  // b
                                  .Arg<lstm::Floats>()  // h0
                                  .Arg<lstm::Floats>()  // c0
                                  .Arg<lstm::Flags>()   // mask
                                  .Arg<lstm::Flags>()   // resets
                                  .Arg<lstm::Floats>()  // reset_h
                                  .Arg<lstm::Floats>()  // reset_c
                                  .Ret<lstm::Floats>()  // hs
                                  .Ret<lstm::Floats>()  // h
                                  .Ret<lstm::Floats>()  // c
                                  .Ret<lstm::Floats>()  // gates
                                  .Ret<lstm::Floats>()  // cs
                                  .Ret<lstm::Floats>());  // operands

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_backward, lstm::backward<false>,
                              lstm::of_backward());
// The same in bfloat16. A name of its own, so that exported programs of float32 still run.
XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_backward16, lstm::backward<true>,
                              lstm::of_backward());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    lstm_jax_activate, lstm::activate,
    ffi::Ffi::Bind().Attr<bool>("tanh").Arg<lstm::Floats>().Ret<lstm::Floats>());

// Which interface it was built against: a newer one than the runtime's must not be
// registered. Read before anything else, with ctypes.
extern "C" {
int lstm_jax_api_major() { return XLA_FFI_API_MAJOR; }
int lstm_jax_api_minor() { return XLA_FFI_API_MINOR; }
const char* lstm_jax_instruction_set() { return lstm::loops().name; }
// All that there are, with spaces in between.
const char* lstm_jax_instruction_sets() {
  static const std::string names = [] {
    std::string names;
    for (const lstm::Loops* loops : lstm::available())
      names += (names.empty() ? "" : " ") + std::string(loops->name);
    return names;
  }();
  return names.c_str();
}
#if defined(LSTM_PHASES) && defined(__x86_64__)
// Cycles by phase, of all threads together, since the process began.
void lstm_jax_phases(uint64_t* sums) {
  for (int phase = 0; phase < lstm::kPhases; ++phase) {
    sums[phase] = 0;
    for (const auto& thread : lstm::phase_cycles) sums[phase] += thread[phase];
  }
}
uint64_t lstm_jax_now() { return __builtin_ia32_rdtsc(); }
#endif
}
