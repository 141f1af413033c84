// Vectors of floats and of integers, with AVX-512 or AVX2: the few operations that the kernels are written in.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <limits>

namespace crossette {

// A float of 16 bits.
struct Half {
    uint16_t bits;
};

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__)

constexpr size_t LANES = 16, REGISTERS = 32;
constexpr size_t TILE_ROWS = 4;  // of which the sums fill the registers, with three vectors a row
constexpr size_t FEW_TILE_ROWS = 4;  // where weights are unpacked for each tile
#if defined(__AVX512VNNI__)  // sums take a unit that unpacking leaves to them
constexpr size_t FEW_ROWS = std::numeric_limits<size_t>::max();
#else
constexpr size_t FEW_ROWS = 32;  // up to which it is faster to unpack weights for each tile than to store them
#endif
constexpr size_t LONGEST_SPAN = 256;  // columns that are unpacked at a time: most of a first-level cache
constexpr size_t ATTENTION_ROWS = 8;  // of a tile with 32 columns

using Floats = __m512;
using Integers = __m512i;

inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline Floats load(const Half* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline Floats load(const int8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline void store(float* to, Floats value) { _mm512_storeu_ps(to, value); }
inline Floats broadcast(float value) { return _mm512_set1_ps(value); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats between(Floats lowest, Floats value, Floats highest) {  // NaN stays NaN
    return _mm512_max_ps(lowest, _mm512_min_ps(highest, value));
}
inline Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats to_floats(Integers value) { return _mm512_cvtepi32_ps(value); }
inline Integers to_integers(Floats value) { return _mm512_cvtps_epi32(value); }
inline Floats as_floats(Integers bits) { return _mm512_castsi512_ps(bits); }
inline Integers as_integers(Floats value) { return _mm512_castps_si512(value); }

inline Integers load(const uint32_t* from) { return _mm512_loadu_si512(from); }
inline void store(uint32_t* to, Integers value) { _mm512_storeu_si512(to, value); }
inline Integers broadcast(int32_t value) { return _mm512_set1_epi32(value); }
inline Integers both(Integers a, Integers b) { return _mm512_and_si512(a, b); }
inline Integers either(Integers a, Integers b) { return _mm512_or_si512(a, b); }
inline Integers sum(Integers a, Integers b) { return _mm512_add_epi32(a, b); }
inline Integers subtract_halves(Integers a, Integers b) { return _mm512_sub_epi16(a, b); }
template <int BITS>
inline Integers shift_left(Integers value) { return _mm512_slli_epi32(value, BITS); }
template <int BITS>
inline Integers shift_right(Integers value) { return _mm512_srli_epi32(value, BITS); }
template <int BITS>
inline Integers shift_halves_right(Integers value) { return _mm512_srli_epi16(value, BITS); }

// Store the lower halves.
inline void store(int16_t* to, Integers value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(value));
}

// 32 floats, and what belongs to their sum: 8 parts of it, of the same floats in the same order for any LANES.
using Block = Floats[2];
inline __m256 parts_of_sum(const Block& values) {
    const Floats half = add(values[0], values[1]);
    return _mm256_add_ps(_mm512_castps512_ps256(half), _mm512_extractf32x8_ps(half, 1));
}
inline float largest_of(Floats value) { return _mm512_reduce_max_ps(value); }

// The sums of the products of two integers of 16 bits each.
inline Integers multiply_pairs(Integers a, Integers b) { return _mm512_madd_epi16(a, b); }
inline Integers multiply_add_pairs(Integers a, Integers b, Integers sums) {
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sums, a, b);
#else
    return _mm512_add_epi32(sums, _mm512_madd_epi16(a, b));
#endif
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

constexpr size_t LANES = 8, REGISTERS = 16;
constexpr size_t TILE_ROWS = 3;  // of which the sums of a group fill the registers: those of all columns stay in memory
constexpr size_t FEW_TILE_ROWS = 4;
constexpr size_t FEW_ROWS = 4;
constexpr size_t LONGEST_SPAN = 320;  // half of a first-level cache
constexpr size_t ATTENTION_ROWS = 2;

using Floats = __m256;
using Integers = __m256i;

inline Floats load(const float* from) { return _mm256_loadu_ps(from); }
inline Floats load(const Half* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline Floats load(const int8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
inline void store(float* to, Floats value) { _mm256_storeu_ps(to, value); }
inline Floats broadcast(float value) { return _mm256_set1_ps(value); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
inline Floats between(Floats lowest, Floats value, Floats highest) {
    return _mm256_max_ps(lowest, _mm256_min_ps(highest, value));
}
inline Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats to_floats(Integers value) { return _mm256_cvtepi32_ps(value); }
inline Integers to_integers(Floats value) { return _mm256_cvtps_epi32(value); }
inline Floats as_floats(Integers bits) { return _mm256_castsi256_ps(bits); }
inline Integers as_integers(Floats value) { return _mm256_castps_si256(value); }

inline Integers load(const uint32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline void store(uint32_t* to, Integers value) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value); }
inline Integers broadcast(int32_t value) { return _mm256_set1_epi32(value); }
inline Integers both(Integers a, Integers b) { return _mm256_and_si256(a, b); }
inline Integers either(Integers a, Integers b) { return _mm256_or_si256(a, b); }
inline Integers sum(Integers a, Integers b) { return _mm256_add_epi32(a, b); }
inline Integers subtract_halves(Integers a, Integers b) { return _mm256_sub_epi16(a, b); }
template <int BITS>
inline Integers shift_left(Integers value) { return _mm256_slli_epi32(value, BITS); }
template <int BITS>
inline Integers shift_right(Integers value) { return _mm256_srli_epi32(value, BITS); }
template <int BITS>
inline Integers shift_halves_right(Integers value) { return _mm256_srli_epi16(value, BITS); }

// The integers fit into 16 bits.
inline void store(int16_t* to, Integers value) {
    const __m128i low = _mm256_castsi256_si128(value), high = _mm256_extracti128_si256(value, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packs_epi32(low, high));
}

using Block = Floats[4];
inline __m256 parts_of_sum(const Block& values) {
    return add(add(values[0], values[2]), add(values[1], values[3]));
}
inline float largest_of(Floats value) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
}

inline Integers multiply_pairs(Integers a, Integers b) { return _mm256_madd_epi16(a, b); }
inline Integers multiply_add_pairs(Integers a, Integers b, Integers sums) {
#if defined(__AVXVNNI__)
    return _mm256_dpwssd_avx_epi32(sums, a, b);
#else
    return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
#endif
}

#else
#error "these kernels need AVX2, FMA and F16C, or AVX-512"
#endif

// Integers in a register: a compiler may load them again for each instruction that reads them.
inline Integers in_register(Integers value) {
    asm("" : "+v"(value));
    return value;
}

// What has more vectors than there are registers is read and written where the code says so. Without this, a compiler
// keeps a second copy of it in memory, and writes both.
template <class Vectors>
inline void keep_in_memory(Vectors& vectors) {
    asm("" : "+m"(vectors));
}

// The sum of 8 floats, in one order.
inline float sum_of(__m256 parts) {
    alignas(32) float values[8];
    _mm256_store_ps(values, parts);
    return ((values[0] + values[4]) + (values[1] + values[5])) + ((values[2] + values[6]) + (values[3] + values[7]));
}

inline Half to_half(float value) { return {_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT)}; }
inline float to_float(Half value) { return _cvtsh_ss(value.bits); }
inline void store(float value, float* to) { *to = value; }
inline void store(float value, Half* to) { *to = to_half(value); }

}  // namespace crossette
