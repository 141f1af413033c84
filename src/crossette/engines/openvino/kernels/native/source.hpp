// A quantised matrix as a graph stores it. A weight is `(integer - zero point) * scale`, of which scale and zero point
// belong to a group of adjacent columns of an output.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <tbb/parallel_for.h>

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
    size_t bytes() const { return outputs * columns * bits / 8; }
    float zero_point(size_t number) const { return zero_points ? zero_points[one_zero_point ? 0 : number] : 0; }
};

// Whether `holds(begin, end)` for all parts of `count` numbers, in parallel; it stops at the first for which not.
template <class Holds>
bool holds_for_all(size_t count, size_t part, const Holds& holds) {
    std::atomic<bool> result = true;
    tbb::parallel_for(size_t(0), (count + part - 1) / part, [&](size_t index) {
        if (result && !holds(index * part, std::min((index + 1) * part, count))) result = false;
    });
    return result;
}

// How many bits integers have in memory, and the integer that is zero there: there is one kind of kernel for signed and
// for unsigned ones. The formats of 5 and 6 bits are stored in 8 by graphs.
struct Packing {
    unsigned bits;
    int32_t lowest;

    explicit Packing(const Source& source) : bits(source.bits), lowest(source.is_signed ? -(1 << (bits - 1)) : 0) {
        if (bits != 8) return;
        const uint8_t first = source.is_signed ? uint8_t(-32) : 0;
        const bool fit = holds_for_all(source.bytes(), 1 << 16, [&](size_t begin, size_t end) {
            uint8_t beyond = 0;
            for (size_t at = begin; at < end; at++) beyond |= uint8_t(source.integers[at] - first) & 0xc0;
            return beyond == 0;
        });
        if (fit) bits = 6, lowest = source.is_signed ? -32 : 0;
    }
};

}  // namespace crossette
