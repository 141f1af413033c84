// A quantised matrix in the order in which the kernels read it.
//
// A weight is `integer * scale + offset`; scale and offset belong to a group of adjacent columns of an output.
// A panel has WIDTH outputs and all columns. For each group of columns it has the scales of its outputs, their offsets
// unless one zero point serves all, and the integers: of 8 bits column by column, a byte for each output; of 4 bits
// for each 8 columns a word for each output, with the first column in its lowest bits.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include <tbb/parallel_for.h>

#include "vector.hpp"

namespace crossette {

constexpr size_t VECTORS = 3;
constexpr size_t WIDTH = VECTORS * LANES;
constexpr size_t CACHE_LINE = 64;
constexpr size_t LARGE_PAGE = 1 << 21;

// A matrix as a graph stores it: a row of integers for each output, a scale for each group, and zero points.
struct Source {
    size_t outputs, columns, group;
    unsigned bits;       // 4 or 8
    bool is_signed;
    const uint8_t* integers;  // the first one in the lowest bits
    const float* scales;
    const float* zero_points;  // one for each group, or for all; null for none
    bool one_zero_point;
};

struct Free {
    void operator()(uint8_t* data) const { std::free(data); }
};

class Panels {
public:
    explicit Panels(const Source& source)
        : outputs(source.outputs),
          columns(source.columns),
          group(source.group),
          bits(source.bits),
          has_offsets(source.zero_points && !source.one_zero_point),
          zero_point(bias(source) + (source.zero_points && source.one_zero_point ? *source.zero_points : 0)),
          count((outputs + WIDTH - 1) / WIDTH),
          group_bytes(WIDTH * (sizeof(float) * (has_offsets ? 2 : 1) + group * bits / 8)),
          panel_bytes(columns / group * group_bytes),
          _data(allocate(count * panel_bytes)) {
        tbb::parallel_for(size_t(0), count, [&](size_t index) { fill(source, index); });
    }

    const uint8_t* panel(size_t index) const { return _data.get() + index * panel_bytes; }

    const size_t outputs, columns, group;
    const unsigned bits;
    const bool has_offsets;
    const float zero_point;  // of all integers, without offsets
    const size_t count;
    const size_t group_bytes, panel_bytes;

private:
    // Large matrices are in large pages, where the system has them.
    static uint8_t* allocate(size_t size) {
        const size_t alignment = size < 2 * LARGE_PAGE ? CACHE_LINE : LARGE_PAGE;
        void* data = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
        if (!data) throw std::bad_alloc();
        if (alignment == LARGE_PAGE) madvise(data, size, MADV_HUGEPAGE);
        return static_cast<uint8_t*>(data);
    }

    // Signed integers are stored with this added to them, so that there is one kind of kernel.
    static float bias(const Source& source) { return source.is_signed ? float(1u << (source.bits - 1)) : 0; }

    void fill(const Source& source, size_t index) {
        uint8_t* to = _data.get() + index * panel_bytes;
        const size_t first = index * WIDTH, lanes = std::min(WIDTH, outputs - first);
        if (lanes < WIDTH) std::memset(to, 0, panel_bytes);
        for (size_t begin = 0; begin < columns; begin += group, to += group_bytes) {
            for (size_t lane = 0; lane < lanes; lane++)
                fill_numbers(source, to, lane, ((first + lane) * columns + begin) / group);
            const uint8_t* from = source.integers + (first * columns + begin) * bits / 8;
            uint8_t* integers = to + WIDTH * sizeof(float) * (has_offsets ? 2 : 1);
            if (bits == 4) fill_integers<uint32_t>(from, lanes, source.is_signed ? 0x88888888 : 0, integers);
            else fill_integers<uint8_t>(from, lanes, source.is_signed ? 0x80 : 0, integers);
        }
    }

    void fill_numbers(const Source& source, uint8_t* to, size_t lane, size_t number) {
        float* numbers = reinterpret_cast<float*>(to);
        const float scale = source.scales[number];
        numbers[lane] = scale;
        if (has_offsets) numbers[WIDTH + lane] = -((source.zero_points[number] + bias(source)) * scale);
    }

    // The integers of a group from all outputs in turns, a unit from each.
    template <class Unit>
    void fill_integers(const uint8_t* from, size_t lanes, Unit flip, uint8_t* to) {
        for (size_t lane = 0; lane < lanes; lane++, from += columns * bits / 8)
            for (size_t unit = 0; unit < group * bits / 8 / sizeof(Unit); unit++) {
                Unit value;
                std::memcpy(&value, from + unit * sizeof(Unit), sizeof(Unit));
                value ^= flip;
                std::memcpy(to + (unit * WIDTH + lane) * sizeof(Unit), &value, sizeof(Unit));
            }
    }

    std::unique_ptr<uint8_t, Free> _data;
};

}  // namespace crossette
