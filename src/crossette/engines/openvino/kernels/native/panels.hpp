// A quantised matrix in the order in which the kernels read it.
//
// A panel has WIDTH outputs and all columns. For each group of columns it has the scales of its outputs, their offsets
// unless one zero point serves all, and the integers: a word of each output in turn, of 4 columns in 8 bits or 8 in 4.
// The even ones of these columns are in the lower half of a word and the odd ones in the upper, in ascending order, so
// that a shift and a mask give pairs of adjacent columns.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>

#include <tbb/parallel_for.h>

#include "source.hpp"
#include "vector.hpp"

namespace crossette {

constexpr size_t VECTORS = 3;
constexpr size_t WIDTH = VECTORS * LANES;
constexpr size_t CACHE_LINE = 64;
constexpr size_t LARGE_PAGE = 1 << 21;

// Memory in large pages, where the system has them, for many matrices: a page of the usual size has few rows of one,
// and each next page costs a wait. It is returned when the last of its matrices is freed.
class Region {
public:
    static std::shared_ptr<uint8_t> allocate(size_t size) {
        static std::mutex mutex;
        static std::weak_ptr<Region> last;
        const std::lock_guard lock(mutex);
        size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
        auto region = last.lock();
        if (!region || region->_used + size > region->_size) {
            region = std::make_shared<Region>(size);
            last = region;
        }
        uint8_t* data = region->_data + region->_used;
        region->_used += size;
        return {region, data};
    }

    explicit Region(size_t size) : _size(std::max(SIZE, (size + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE)) {
        _data = static_cast<uint8_t*>(std::aligned_alloc(LARGE_PAGE, _size));
        if (!_data) throw std::bad_alloc();
        madvise(_data, _size, MADV_HUGEPAGE);
    }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;
    ~Region() { std::free(_data); }

private:
    static constexpr size_t SIZE = 32 * LARGE_PAGE;
    const size_t _size;
    uint8_t* _data;
    size_t _used = 0;
};

// The bytes of a group before its integers: the scales, and the offsets behind them, as floats or halves.
template <class Number>
constexpr size_t numbers_bytes(bool has_offsets) {
    return WIDTH * sizeof(Number) * (has_offsets ? 2 : 1);
}

class Panels {
public:
    explicit Panels(const Source& source)
        : outputs(source.outputs),
          columns(source.columns),
          group(source.group),
          bits(source.bits),
          has_offsets(source.has_offsets()),
          has_halves(source.has_halves()),
          zero_point(has_offsets ? 0 : static_cast<int32_t>(source.zero_point(0))),
          count((outputs + WIDTH - 1) / WIDTH),
          group_bytes((has_halves ? numbers_bytes<Half>(has_offsets) : numbers_bytes<float>(has_offsets)) +
                      WIDTH * group * bits / 8),
          panel_bytes(columns / group * group_bytes),
          _data(Region::allocate(count * panel_bytes)) {
        const auto fill = has_halves ? &Panels::fill<Half> : &Panels::fill<float>;
        tbb::parallel_for(size_t(0), count, [&](size_t index) { (this->*fill)(source, index); });
    }

    const uint8_t* panel(size_t index) const { return _data.get() + index * panel_bytes; }

    const size_t outputs, columns, group;
    const unsigned bits;
    const bool has_offsets, has_halves;
    const int32_t zero_point;  // of all integers, without offsets
    const size_t count;
    const size_t group_bytes, panel_bytes;

private:
    template <class Number>
    void fill(const Source& source, size_t index) {
        uint8_t* to = _data.get() + index * panel_bytes;
        const size_t first = index * WIDTH, lanes = std::min(WIDTH, outputs - first);
        if (lanes < WIDTH) std::memset(to, 0, panel_bytes);
        for (size_t begin = 0; begin < columns; begin += group, to += group_bytes) {
            Number* numbers = reinterpret_cast<Number*>(to);
            for (size_t lane = 0; lane < lanes; lane++) {
                const size_t number = ((first + lane) * columns + begin) / group;
                store(source.scales[number], numbers + lane);
                if (has_offsets) store(source.offset(number), numbers + WIDTH + lane);
            }
            fill_integers(source, (first * columns + begin) * bits / 8, lanes, to + numbers_bytes<Number>(has_offsets));
        }
    }

    // The integers of a group from all outputs in turns, a word from each.
    void fill_integers(const Source& source, size_t begin, size_t lanes, uint8_t* to) const {
        const uint8_t* from = source.integers + begin;
        for (size_t lane = 0; lane < lanes; lane++, from += columns * bits / 8)
            for (size_t unit = 0; unit < group * bits / 32; unit++) {
                uint32_t word;
                std::memcpy(&word, from + unit * sizeof(word), sizeof(word));
                word = in_pairs(word ^ source.flip());
                std::memcpy(to + (unit * WIDTH + lane) * sizeof(word), &word, sizeof(word));
            }
    }

    // Even columns to the lower half of a word, odd ones to the upper.
    uint32_t in_pairs(uint32_t word) const {
        if (bits == 8) return (word & 0xff0000ff) | (word >> 8 & 0xff00) | (word << 8 & 0xff0000);
        const auto even = [](uint32_t columns) {
            columns &= 0x0f0f0f0f;
            columns = (columns | columns >> 4) & 0x00ff00ff;
            return (columns | columns >> 8) & 0xffff;
        };
        return even(word) | even(word >> 4) << 16;
    }

    const std::shared_ptr<uint8_t> _data;
};

}  // namespace crossette
