// A quantised matrix as a graph stores it. A weight is `(integer - zero point) * scale`, of which scale and zero point
// belong to a group of adjacent columns of an output.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

#include <tbb/parallel_for.h>

#include "vector.hpp"

namespace crossette {

struct Source {
    size_t outputs, columns, group;
    unsigned bits;  // 4 or 8
    bool is_signed;
    const uint8_t* integers;  // of each output in turn, the first one in the lowest bits
    const float* scales;
    const float* zero_points;  // one for each group, or for all; null for none
    bool one_zero_point;

    size_t groups() const { return outputs * columns / group; }

    // Signed integers are read with half of their range added to them, so that there is one kind of kernel.
    uint32_t flip() const { return is_signed ? (bits == 4 ? 0x88888888 : 0x80808080) : 0; }
    float zero_point(size_t number) const {
        return (is_signed ? float(1u << (bits - 1)) : 0) + (zero_points ? zero_points[one_zero_point ? 0 : number] : 0);
    }

    // What belongs to a zero, with a zero point of the group.
    float offset(size_t number) const { return -(zero_point(number) * scales[number]); }

    // Whether groups have zero points of their own, or one that sums of integers cannot be reduced by.
    bool has_offsets() const {
        if (!zero_points || !one_zero_point) return zero_points;
        return std::trunc(zero_point(0)) != zero_point(0) || std::abs(zero_point(0)) > 256;
    }

    // Whether 16 bits are enough for all scales and offsets, as in files that store them so. An offset is a rounded
    // product, so it may be some digits of f32 away from the file's number.
    bool has_halves() const {
        const auto is_half = [](float value, float tolerance) {
            return std::abs(to_float(to_half(value)) - value) <= tolerance * std::abs(value);
        };
        const bool offsets = has_offsets();
        constexpr size_t PART = 1 << 14;
        std::atomic<bool> result = true;
        tbb::parallel_for(size_t(0), groups() / PART + 1, [&](size_t part) {
            for (size_t number = part * PART; number < std::min((part + 1) * PART, groups()) && result; number++)
                if (!is_half(scales[number], 0) || (offsets && !is_half(offset(number), 0x1p-22f))) result = false;
        });
        return result;
    }
};

}  // namespace crossette
