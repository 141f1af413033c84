// Blocks of a cache of keys or values in 8 bits.
//
// A block has the keys, or the values, of one head for BLOCK tokens. A number is `integer * scale + offset`, of which
// scale and offset belong to a token. First are the scales, then the offsets, then the integers, in the order in which
// products with rows read them (products with keys are sums over their columns, those with values over tokens): a word
// has 4 terms of a sum, the even ones in its lower half and the odd ones in the upper; words of the same terms are
// adjacent.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "vector.hpp"

namespace crossette {

constexpr size_t BLOCK = 32;
constexpr size_t LARGEST_HEAD = 256;  // columns, up to which sums of products of 16 and 8 bits fit into 32

// The bytes of a block of a head.
inline size_t block_bytes(size_t columns) { return BLOCK * (columns + 2 * sizeof(float)); }

struct CacheBlock {
    uint8_t* data;

    float* scales() const { return reinterpret_cast<float*>(data); }
    float* offsets() const { return scales() + BLOCK; }
    uint32_t* words() const { return reinterpret_cast<uint32_t*>(offsets() + BLOCK); }

    void store_key(size_t token, const float* key, size_t columns) const {
        const Rounding rounding = round(token, key, columns);
        uint8_t* bytes = reinterpret_cast<uint8_t*>(words() + token);
        for (size_t column = 0; column < columns; column++)
            bytes[column / 4 * BLOCK * sizeof(uint32_t) + place(column)] = rounding(key[column]);
    }

    void store_value(size_t token, const float* value, size_t columns) const {
        const Rounding rounding = round(token, value, columns);
        uint8_t* bytes = reinterpret_cast<uint8_t*>(words() + token / 4 * columns) + place(token);
        for (size_t column = 0; column < columns; column++)
            bytes[column * sizeof(uint32_t)] = rounding(value[column]);
    }

private:
    struct Rounding {
        float offset, inverse;
        uint8_t operator()(float value) const {
            return static_cast<uint8_t>(static_cast<int32_t>((value - offset) * inverse + 0.5f));
        }
    };

    // The byte of a word in which one of its terms is.
    static size_t place(size_t term) { return (term & 1) << 1 | (term >> 1 & 1); }

    // Store a token's scale and offset. Both are NaN if a number is not finite, and so is all that reads them.
    Rounding round(size_t token, const float* from, size_t columns) const {
        float lowest = from[0], highest = from[0];
        float zeros = 0;  // the sum of zeros: NaN if a number is not finite
        for (size_t column = 0; column < columns; column++) {
            lowest = std::min(lowest, from[column]);
            highest = std::max(highest, from[column]);
            zeros += from[column] * 0;
        }
        const float range = highest - lowest;
        const bool is_finite = zeros == 0 && range <= std::numeric_limits<float>::max();
        constexpr float NONE = std::numeric_limits<float>::quiet_NaN();
        scales()[token] = is_finite ? range / 255 : NONE;
        offsets()[token] = is_finite ? lowest : NONE;
        return {is_finite ? lowest : 0, is_finite && range > 1e-30f ? 255 / range : 0};
    }
};

// Two words for each of a block, each with two terms in 16 bits: `units` times `width` words become twice as many times
// `padded` ones, of which the last are zero.
inline void unpack(const uint32_t* words, size_t units, size_t width, size_t padded, uint32_t* to) {
    constexpr uint32_t MASK = 0x00ff00ff;
    for (size_t unit = 0; unit < units; unit++, words += width, to += 2 * padded) {
        size_t at = 0;
        for (; at + LANES <= width; at += LANES) {
            const Integers packed = load(words + at);
            store(to + at, both(packed, broadcast(int32_t(MASK))));
            store(to + padded + at, both(shift_right<8>(packed), broadcast(int32_t(MASK))));
        }
        for (; at < padded; at++) {
            const uint32_t packed = at < width ? words[at] : 0;
            to[at] = packed & MASK;
            to[padded + at] = packed >> 8 & MASK;
        }
    }
}

}  // namespace crossette
