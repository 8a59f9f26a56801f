// Products of bfloat16, two to a lane, summed in float. Numbers below the normal range
// count as 0.
#pragma once

#include <initializer_list>

#include "narrow.h"
#include "tile.h"

#if defined(__AVX512BF16__)

namespace lstm::LSTM_ISA {
namespace {

// Sums of up to so many rows and registers of columns are added to by calls of add,
// between a clear and a put.
constexpr int kChunk = 32, kColumns = 2;

#if defined(__AMX_BF16__)
// By AMX: registers of 16 rows, which multiply a tile at once.
class Tiles {
 public:
  Tiles() = default;
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles() {
    if (rows_) _tile_release();
  }

  void clear(int64_t rows) {
    asm volatile("" ::: "memory");  // what was written may be read by a tile
    configure(int(rows));
    _tile_zero(0);
    _tile_zero(1);
    if (rows <= 16) return;
    _tile_zero(2);
    _tile_zero(3);
  }

  // Adds the products of rows, `stride` numbers apart, with two tiles of every block,
  // which are side by side, `next` numbers from those of the block before.
  void add(const Bf16* a, int64_t stride, const Bf16* b, int64_t next, int64_t blocks) {
    const int64_t bytes = stride * sizeof(Bf16);
    if (rows_ <= 16) {
      for (; blocks > 0; --blocks, a += kBlock, b += next) {
        _tile_loadd(4, a, bytes);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + kTile, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      return;
    }
    for (; blocks > 0; --blocks, a += kBlock, b += next) {
      _tile_loadd(4, a, bytes);
      _tile_loadd(6, b, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, a + 16 * stride, bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_loadd(7, b + kTile, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }

  // Rows of kColumns * W sums, `stride` floats apart.
  void put(float* to, int64_t stride) const {
    const int64_t bytes = stride * sizeof(float);
    _tile_stored(0, to, bytes);
    _tile_stored(1, to + W, bytes);
    if (rows_ <= 16) return;
    _tile_stored(2, to + 16 * stride, bytes);
    _tile_stored(3, to + 16 * stride + W, bytes);
  }

 private:
  struct alignas(64) Configuration {
    uint8_t palette = 1, start = 0, none[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {};
  };

  void configure(int rows) {
    if (rows == rows_) return;
    Configuration c;
    const uint8_t first = rows < 16 ? rows : 16, second = rows > 16 ? rows - 16 : 1;
    for (const int tile : {0, 1, 4}) c.rows[tile] = first;
    for (const int tile : {2, 3, 5}) c.rows[tile] = second;
    c.rows[6] = c.rows[7] = 16;
    asm volatile("" : : "r"(&c) : "memory");  // all of it is read
    _tile_loadconfig(&c);
    rows_ = rows;
  }

  int rows_ = 0;
};
#else
// By AVX-512: sums of some rows at a time are in registers.
class Tiles {
 public:
  void clear(int64_t rows) {
    rows_ = rows;
    for (int64_t at = 0; at < rows * kColumns; ++at) sums_[at] = Vec{};
  }

  void add(const Bf16* a, int64_t stride, const Bf16* b, int64_t next, int64_t blocks) {
    for_tiles<kColumns>(rows_, [&](auto tile, int64_t first) {
      constexpr int R = decltype(tile)::value;
      __m512 acc[R][kColumns];
      std::memcpy(acc, sums_ + first * kColumns, sizeof acc);
      for (int64_t k = 0; k < blocks * kBlock; k += 2) {
        const Bf16* tile = b + k / kBlock * next + k % kBlock * W;
        __m512bh w[kColumns];
        for (int n = 0; n < kColumns; ++n) std::memcpy(&w[n], tile + n * kTile, 64);
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
          int32_t pair;
          std::memcpy(&pair, a + (first + r) * stride + k, sizeof pair);
          const __m512bh v = (__m512bh)(Ints{} + pair);
          for (int n = 0; n < kColumns; ++n)
            acc[r][n] = _mm512_dpbf16_ps(acc[r][n], v, w[n]);
        }
      }
      std::memcpy(sums_ + first * kColumns, acc, sizeof acc);
    });
  }

  void put(float* to, int64_t stride) const {
    for (int64_t r = 0; r < rows_; ++r)
      for (int n = 0; n < kColumns; ++n)
        store(to + r * stride + n * W, sums_[r * kColumns + n]);
  }

 private:
  int64_t rows_ = 0;
  Vec sums_[kChunk * kColumns];
};
#endif

struct Thread16 : Thread {
  explicit Thread16(int member) : Thread{member} {}
  Tiles tiles;
};

}  // namespace
}  // namespace lstm::LSTM_ISA

#endif
