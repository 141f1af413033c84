// A vector of floats, with AVX-512 or AVX2: the few operations that the kernels are written in.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace crossette {

#if defined(__AVX512F__)

constexpr size_t LANES = 16;
constexpr size_t TILE_ROWS = 8;  // of which the sums fill the registers, with three vectors a row
constexpr size_t FEW_ROWS = 32;  // up to which it is faster to unpack weights for each tile than to store them

using Floats = __m512;
using Integers = __m512i;

inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Floats value) { _mm512_storeu_ps(to, value); }
inline Floats broadcast(float value) { return _mm512_set1_ps(value); }
inline Floats zeros() { return _mm512_setzero_ps(); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Integers load_words(const uint8_t* from) { return _mm512_loadu_si512(from); }

// Bits 4 * INDEX and on of each word. The permutation looks at the lowest four bits of an index alone.
template <int INDEX>
inline Floats nibbles(Integers words) {
    const Floats values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_permutexvar_ps(_mm512_srli_epi32(words, 4 * INDEX), values);
}

inline Floats bytes(const uint8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

#elif defined(__AVX2__) && defined(__FMA__)

constexpr size_t LANES = 8;
constexpr size_t TILE_ROWS = 4;
constexpr size_t FEW_ROWS = 4;

using Floats = __m256;
using Integers = __m256i;

inline Floats load(const float* from) { return _mm256_loadu_ps(from); }
inline void store(float* to, Floats value) { _mm256_storeu_ps(to, value); }
inline Floats broadcast(float value) { return _mm256_set1_ps(value); }
inline Floats zeros() { return _mm256_setzero_ps(); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Integers load_words(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

template <int INDEX>
inline Floats nibbles(Integers words) {
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(words, 4 * INDEX), _mm256_set1_epi32(15)));
}

inline Floats bytes(const uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}

#else
#error "these kernels need AVX2 and FMA, or AVX-512"
#endif

}  // namespace crossette
