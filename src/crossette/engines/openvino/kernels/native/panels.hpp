// A quantised matrix in the order in which the kernels read it.
//
// A panel has WIDTH outputs and all columns. For each span of columns it has the factors of its scales and offsets, if
// these are products. Then it has for each group the scales of its outputs, their offsets unless one zero point serves
// all, and the integers: a word of each output in turn, of 4 columns in 8 bits or 8 in 4. In 6 bits 16 columns have
// three words: two pairs are in the lower 12 bits of the halves of each, and two more in the upper 4.
// The even ones of a word's columns are in its lower half and the odd ones in the upper, in ascending order, so that a
// shift and a mask give pairs of adjacent columns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include <tbb/parallel_for.h>

#include "numbers.hpp"
#include "region.hpp"
#include "source.hpp"
#include "vector.hpp"

namespace crossette {

constexpr size_t VECTORS = 3;
constexpr size_t WIDTH = VECTORS * LANES;

constexpr size_t bytes_of(Form form) {
    return form == Form::FLOATS ? sizeof(float) : form == Form::HALVES ? sizeof(Half) : sizeof(int8_t);
}

class Panels {
public:
    explicit Panels(const Source& source) : Panels(source, Packing(source)) {}

    const uint8_t* panel(size_t index) const { return _data.get() + index * panel_bytes; }

    // The groups of a span: those with the same factors. Without factors, spans are about equally long.
    size_t span_groups() const {
        if (form == Form::FACTORS) return SPAN / group;
        const size_t groups = columns / group, spans = (columns + LONGEST_SPAN - 1) / LONGEST_SPAN;
        return (groups + spans - 1) / spans;
    }

    const size_t outputs, columns, group;
    const unsigned bits;
    const Form form;
    const bool has_offsets;
    const int32_t zero_point;  // of all integers, without offsets
    const size_t count;
    const size_t factors_bytes;  // at the beginning of a span
    const size_t numbers_bytes;  // at the beginning of a group
    const size_t group_bytes, panel_bytes;

private:
    Panels(const Source& source, const Packing& packing) : Panels(source, packing, Numbers(source, packing.lowest)) {}
    Panels(const Source& source, const Packing& packing, const Numbers& numbers)
        : outputs(source.outputs),
          columns(source.columns),
          group(source.group),
          bits(packing.bits),
          form(numbers.form),
          has_offsets(numbers.has_offsets),
          zero_point(numbers.zero_point),
          count((outputs + WIDTH - 1) / WIDTH),
          factors_bytes(form == Form::FACTORS ? WIDTH * kinds() * sizeof(Half) : 0),
          numbers_bytes(WIDTH * kinds() * bytes_of(form)),
          group_bytes(numbers_bytes + WIDTH * group * bits / 8),
          panel_bytes(columns / group * group_bytes + (columns + SPAN - 1) / SPAN * factors_bytes),
          _data(Region::allocate(count * panel_bytes)) {
        tbb::parallel_for(size_t(0), count, [&](size_t index) { fill(source, packing, numbers, index); });
    }

    size_t kinds() const { return has_offsets ? 2 : 1; }

    void fill(const Source& source, const Packing& packing, const Numbers& numbers, size_t index) {
        uint8_t* to = _data.get() + index * panel_bytes;
        const size_t first = index * WIDTH, lanes = std::min(WIDTH, outputs - first);
        if (lanes < WIDTH) std::memset(to, 0, panel_bytes);
        for (size_t begin = 0; begin < columns; begin += SPAN) {
            const size_t groups = std::min(SPAN, columns - begin) / group;
            fill_numbers(numbers, (first * columns + begin) / group, groups, lanes, to);
            to += factors_bytes;
            for (size_t column = begin; column < begin + groups * group; column += group, to += group_bytes)
                fill_integers(source, packing, first * columns + column, lanes, to + numbers_bytes);
        }
    }

    // The scales and offsets of a span, of which the first number is that of the first output's first group.
    void fill_numbers(const Numbers& numbers, size_t number, size_t groups, size_t lanes, uint8_t* to) const {
        for (size_t lane = 0; lane < lanes; lane++, number += columns / group) {
            if (form == Form::FACTORS) {
                fill_factors(numbers.scale_factors(number, groups), groups, lane, to);
                if (has_offsets) fill_factors(numbers.offset_factors(number, groups), groups, WIDTH + lane, to);
            } else if (form == Form::HALVES) {
                fill_each<Half>(numbers, number, groups, lane, to);
            } else {
                fill_each<float>(numbers, number, groups, lane, to);
            }
        }
    }

    void fill_factors(const Factors& factors, size_t groups, size_t at, uint8_t* to) const {
        std::memcpy(to + at * sizeof(Half), &factors.factor, sizeof(Half));
        for (size_t index = 0; index < groups; index++)
            to[factors_bytes + index * group_bytes + at] = static_cast<uint8_t>(factors.integers[index]);
    }

    template <class Number>
    void fill_each(const Numbers& numbers, size_t number, size_t groups, size_t lane, uint8_t* to) const {
        for (size_t index = 0; index < groups; index++, to += group_bytes) {
            Number* first = reinterpret_cast<Number*>(to);
            store(numbers.scale(number + index), first + lane);
            if (has_offsets) store(numbers.offset(number + index), first + WIDTH + lane);
        }
    }

    // The integers of a group from all outputs in turns, from the one of this index in the matrix on.
    void fill_integers(const Source& source, const Packing& packing, size_t first, size_t lanes, uint8_t* to) const {
        const uint8_t* from = source.integers + first * source.bits / 8;
        for (size_t lane = 0; lane < lanes; lane++, from += columns * source.bits / 8) {
            const auto put = [&](size_t unit, uint32_t word) {
                std::memcpy(to + (unit * WIDTH + lane) * sizeof(word), &word, sizeof(word));
            };
            const auto word = [&](size_t unit) { return above_lowest(source, packing, from + 4 * unit); };
            if (bits == 4)
                for (size_t unit = 0; unit < group / 8; unit++) put(unit, nibbles_in_pairs(word(unit)));
            else if (bits == 8)
                for (size_t unit = 0; unit < group / 4; unit++) put(unit, bytes_in_pairs(word(unit)));
            else
                fill_six_bits(word, put);
        }
    }

    template <class Word, class Put>
    void fill_six_bits(const Word& word, const Put& put) const {
        for (size_t unit = 0; unit < group / 16; unit++) {
            uint32_t pairs[8], words[3];
            for (size_t part = 0; part < 4; part++) {
                const uint32_t both = bytes_in_pairs(word(4 * unit + part));
                pairs[2 * part] = both & 0x00ff00ff, pairs[2 * part + 1] = both >> 8 & 0x00ff00ff;
            }
            for (size_t index = 0; index < 3; index++) words[index] = pairs[2 * index] | pairs[2 * index + 1] << 6;
            words[0] |= (pairs[6] & 0x000f000f) << 12;
            words[1] |= (pairs[6] & 0x00300030) << 8 | (pairs[7] & 0x00300030) << 10;
            words[2] |= (pairs[7] & 0x000f000f) << 12;
            for (size_t index = 0; index < 3; index++) put(3 * unit + index, words[index]);
        }
    }

    // Integers as they are stored: how much they are above the lowest one.
    static uint32_t above_lowest(const Source& source, const Packing& packing, const uint8_t* from) {
        uint32_t word;
        std::memcpy(&word, from, sizeof(word));
        if (source.bits == 4) return source.is_signed ? word ^ 0x88888888 : word;
        if (!source.is_signed) return word;
        return (word ^ 0x80808080) - 0x01010101 * static_cast<uint32_t>(128 + packing.lowest);
    }

    // Even columns to the lower half of a word, odd ones to the upper.
    static uint32_t bytes_in_pairs(uint32_t word) {
        return (word & 0xff0000ff) | (word >> 8 & 0xff00) | (word << 8 & 0xff0000);
    }
    static uint32_t nibbles_in_pairs(uint32_t word) {
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
