// Rows of activations as integers of 16 bits with a scale for each group of columns, so that a product is sums of
// integers. These are exact in any order: kernels may add in different orders, and a row's numbers are the same.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <memory>

#include "team.hpp"

namespace crossette {

constexpr float LARGEST = 32767;    // the integer of the largest activation of a group
constexpr float SMALLEST = 1e-30f;  // activations of a group in which all are smaller count as zero

class Rows {
public:
    // `count` rows of x, of `columns` columns, in groups of `group`.
    Rows(const float* x, size_t count, size_t columns, size_t group)
        : columns(columns),
          group(group),
          groups(columns / group),
          _integers(std::make_unique_for_overwrite<int16_t[]>(count * columns)),
          _scales(std::make_unique_for_overwrite<float[]>(count * groups)),
          _totals(std::make_unique_for_overwrite<int32_t[]>(count * groups)),
          _sums(std::make_unique_for_overwrite<float[]>(count * groups)) {
        const auto round_row = [&](size_t row) {
            for (size_t number = row * groups; number < (row + 1) * groups; number++) round(x, number);
        };
        if (count == 1) round_row(0);
        else in_parallel(count, round_row);
    }

    const int16_t* integers(size_t row) const { return _integers.get() + row * columns; }
    const float* scales(size_t row) const { return _scales.get() + row * groups; }
    // The sum of the integers of each group.
    const int32_t* totals(size_t row) const { return _totals.get() + row * groups; }
    // The same in floats, times the scales.
    const float* sums(size_t row) const { return _sums.get() + row * groups; }

    const size_t columns, group, groups;

private:
    // Round one group. Its scale is NaN if a number is not finite, and so are the results of its row.
    void round(const float* x, size_t number) {
        const float* from = x + number * group;
        int16_t* to = _integers.get() + number * group;
        uint32_t bits = 0;  // of the largest: those of floats without a sign are in their order
        for (size_t column = 0; column < group; column++)
            bits = std::max(bits, std::bit_cast<uint32_t>(from[column]) & 0x7fffffff);
        const float largest = std::bit_cast<float>(bits);
        const bool is_finite = largest <= std::numeric_limits<float>::max();
        const float inverse = is_finite && largest >= SMALLEST ? LARGEST / largest : 0;
        constexpr float SHIFT = 3 << 22;  // a float of this size is an integer: its last bits
        uint32_t total = 0;  // without overflow, also if a number is not finite
        for (size_t column = 0; column < group; column++) {
            const float shifted = from[column] * inverse + SHIFT;
            const int32_t integer = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(SHIFT);
            to[column] = static_cast<int16_t>(integer);
            total += integer;
        }
        _totals[number] = is_finite ? static_cast<int32_t>(total) : 0;
        _scales[number] = is_finite ? (inverse == 0 ? 0 : largest / LARGEST) : std::numeric_limits<float>::quiet_NaN();
        _sums[number] = static_cast<float>(_totals[number]) * _scales[number];
    }

    std::unique_ptr<int16_t[]> _integers;
    std::unique_ptr<float[]> _scales;
    std::unique_ptr<int32_t[]> _totals;
    std::unique_ptr<float[]> _sums;
};

}  // namespace crossette
