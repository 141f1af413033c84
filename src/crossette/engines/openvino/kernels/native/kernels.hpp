// Products of rows with a panel. Each result is a sum over the groups in ascending order; a group adds the exact sum of
// its products of integers, times the scales of the row and of the weights: so the numbers of a row are the same
// whichever kernel computes it, with any other rows.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "team.hpp"
#include <tbb/task_arena.h>

#include "panels.hpp"
#include "rows.hpp"

namespace crossette {

#define ALWAYS_INLINE __attribute__((always_inline))

constexpr size_t AHEAD = 4096;     // bytes by which weights are fetched to the second-level cache before their use
constexpr size_t CHUNK_ROWS = 64;  // fewest rows of a task, where there are more threads than panels

// The results of one panel: `count` columns of a matrix of rows that are `stride` apart.
struct Target {
    float* data;
    size_t stride, count;
};

using Sums = Floats[VECTORS];     // of a row
using Parts = Integers[VECTORS];  // of a row and one group

inline void clear(Sums& sums) {
    for (auto& sum : sums) sum = broadcast(0.0f);
}

inline const float* padded(const float* from, size_t count, float* to) {
    std::memcpy(to, from, count * sizeof(float));
    std::fill(to + count, to + WIDTH, 0.0f);
    return to;
}

inline void read(Sums& sums, const Target& target, size_t row) {
    alignas(CACHE_LINE) float buffer[WIDTH];
    const float* from = target.data + row * target.stride;
    if (target.count < WIDTH) from = padded(from, target.count, buffer);
    for (size_t v = 0; v < VECTORS; v++) sums[v] = load(from + v * LANES);
}

inline void write(const Sums& sums, const Target& target, size_t row) {
    alignas(CACHE_LINE) float buffer[WIDTH];
    float* to = target.data + row * target.stride;
    float* first = target.count < WIDTH ? buffer : to;
    for (size_t v = 0; v < VECTORS; v++) store(first + v * LANES, sums[v]);
    if (target.count < WIDTH) std::memcpy(to, buffer, target.count * sizeof(float));
}

ALWAYS_INLINE inline void fetch(const uint8_t* from, size_t size) {
    for (size_t line = 0; line < size; line += CACHE_LINE)
        _mm_prefetch(reinterpret_cast<const char*>(from + line), _MM_HINT_T1);
}

// Call `use<INDEX>()` for all indices below COUNT.
template <int COUNT, class Use>
ALWAYS_INLINE void for_each_index(const Use& use) {
    [&]<int... INDEX>(std::integer_sequence<int, INDEX...>) ALWAYS_INLINE {
        (use.template operator()<INDEX>(), ...);
    }(std::make_integer_sequence<int, COUNT>());
}

// The integers of `BITS` bits from bit FIRST on in each half of words.
template <int FIRST, int BITS>
ALWAYS_INLINE inline Integers field(Integers words) {
    constexpr uint32_t MASK = (1 << BITS) - 1;
    if constexpr (FIRST + BITS == 16) return shift_halves_right<FIRST>(words);
    else return both(shift_right<FIRST>(words), broadcast(int32_t(MASK << 16 | MASK)));
}

// The weights of a group, two columns at a time: `use(pair, weights)`.
template <int BITS, class Use>
ALWAYS_INLINE void each_pair(const Panels& panels, const uint32_t* words, const Use& use) {
    constexpr size_t PAIRS = 16 / BITS;  // of a word
    for (size_t pair = 0; pair < panels.group / 2; pair += PAIRS, words += WIDTH) {
        for_each_index<PAIRS>([&]<int INDEX>() ALWAYS_INLINE {
            Integers weights[VECTORS];
            for (size_t v = 0; v < VECTORS; v++) weights[v] = field<INDEX * BITS, BITS>(load(words + v * LANES));
            use(pair + INDEX, weights);
        });
    }
}

// Of 6 bits: two pairs in the lower bits of each of three words, and two more in the upper 4 bits of all.
template <int BITS, class Use>
    requires(BITS == 6)
ALWAYS_INLINE void each_pair(const Panels& panels, const uint32_t* words, const Use& use) {
    const Integers upper = broadcast(0x00300030);
    for (size_t pair = 0; pair < panels.group / 2; pair += 8, words += 3 * WIDTH) {
        const auto word = [&](size_t index, size_t v) ALWAYS_INLINE { return load(words + index * WIDTH + v * LANES); };
        Integers weights[VECTORS];
        for_each_index<6>([&]<int INDEX>() ALWAYS_INLINE {
            for (size_t v = 0; v < VECTORS; v++) weights[v] = field<INDEX % 2 * 6, 6>(word(INDEX / 2, v));
            use(pair + INDEX, weights);
        });
        for_each_index<2>([&]<int INDEX>() ALWAYS_INLINE {
            for (size_t v = 0; v < VECTORS; v++)
                weights[v] = either(field<12, 4>(word(2 * INDEX, v)),
                                    both(shift_right<8 + 2 * INDEX>(word(1, v)), upper));
            use(pair + 6 + INDEX, weights);
        });
    }
}

// A scale of LANES outputs, or an offset: `at` counts both. The factors are those of the span, if the form has them.
template <Form FORM>
ALWAYS_INLINE inline Floats number_of(const uint8_t* group, const Half* factors, size_t at) {
    if constexpr (FORM == Form::FLOATS) return load(reinterpret_cast<const float*>(group) + at);
    else if constexpr (FORM == Form::HALVES) return load(reinterpret_cast<const Half*>(group) + at);
    else return multiply(load(reinterpret_cast<const int8_t*>(group) + at), load(factors + at));
}

// Adjacent groups of a panel with the same factors.
struct Span {
    const Half* factors;
    const uint8_t* groups;
    size_t begin, end;  // their numbers
};

template <class Use>
ALWAYS_INLINE void each_span(const Panels& panels, size_t index, const Use& use) {
    const size_t groups = panels.columns / panels.group, most = panels.span_groups();
    const uint8_t* data = panels.panel(index);
    for (size_t begin = 0; begin < groups; begin += most) {
        const Span span{reinterpret_cast<const Half*>(data), data + panels.factors_bytes, begin,
                        std::min(begin + most, groups)};
        use(span);
        data = span.groups + (span.end - begin) * panels.group_bytes;
    }
}

// ROWS rows, from `first` on.
template <size_t ROWS>
class Tile {
public:
    Tile(const Rows& x, size_t first) {
        for (size_t row = 0; row < ROWS; row++) {
            _integers[row] = x.integers(first + row);
            _scales[row] = x.scales(first + row);
            _totals[row] = x.totals(first + row);
            _sums[row] = x.sums(first + row);
        }
    }

    // The sums of a group start with what a zero point of all weights takes from all products.
    ALWAYS_INLINE void begin(Parts (&parts)[ROWS], int32_t zero_point, size_t group) const {
        for (size_t row = 0; row < ROWS; row++)
            for (auto& part : parts[row]) part = broadcast(-zero_point * _totals[row][group]);
    }

    // Without a zero point, or where weights are without it, they start with the products of the first pair.
    ALWAYS_INLINE void begin_with_pair(Parts (&parts)[ROWS], const Integers* weights, size_t column) const {
        for (size_t row = 0; row < ROWS; row++)
            for (size_t v = 0; v < VECTORS; v++) parts[row][v] = multiply_pairs(weights[v], pair(row, column));
    }

    ALWAYS_INLINE void add_pair(Parts (&parts)[ROWS], const Integers* weights, size_t column) const {
        for (size_t row = 0; row < ROWS; row++) {
            const Integers values = pair(row, column);
            for (size_t v = 0; v < VECTORS; v++) parts[row][v] = multiply_add_pairs(weights[v], values, parts[row][v]);
        }
    }

    // Add the sums of a group to those of all columns.
    template <Form FORM>
    ALWAYS_INLINE void add(Sums (&sums)[ROWS], const Parts (&parts)[ROWS], size_t group, const uint8_t* numbers,
                           const Half* factors, bool has_offsets) const {
        if (has_offsets) add_scaled<FORM, true>(sums, parts, group, numbers, factors);
        else add_scaled<FORM, false>(sums, parts, group, numbers, factors);
    }

private:
    // Two columns of a row.
    ALWAYS_INLINE Integers pair(size_t row, size_t column) const {
        int32_t word;
        std::memcpy(&word, _integers[row] + column, sizeof(word));
        return broadcast(word);
    }

    template <Form FORM, bool HAS_OFFSETS>
    ALWAYS_INLINE void add_scaled(Sums (&sums)[ROWS], const Parts (&parts)[ROWS], size_t group, const uint8_t* numbers,
                                  const Half* factors) const {
        for (size_t v = 0; v < VECTORS; v++) {
            const Floats scales = number_of<FORM>(numbers, factors, v * LANES);
            const Floats offsets = HAS_OFFSETS ? number_of<FORM>(numbers, factors, WIDTH + v * LANES) : Floats{};
            for (size_t row = 0; row < ROWS; row++) {
                const Floats part = multiply(to_floats(parts[row][v]), broadcast(_scales[row][group]));
                const Floats sum = multiply_add(part, scales, sums[row][v]);
                sums[row][v] = HAS_OFFSETS ? multiply_add(broadcast(_sums[row][group]), offsets, sum) : sum;
            }
        }
    }

    const int16_t* _integers[ROWS];
    const float* _scales[ROWS];
    const int32_t* _totals[ROWS];
    const float* _sums[ROWS];
};

inline const uint32_t* words_of(const Panels& panels, const uint8_t* group) {
    return reinterpret_cast<const uint32_t*>(group + panels.numbers_bytes);
}

// A few rows with all of a panel.
template <size_t ROWS, unsigned BITS, Form FORM>
void multiply_few(const Panels& panels, size_t index, const Tile<ROWS>& tile, const Target& target) {
    Sums sums[ROWS];
    for (auto& sum : sums) clear(sum);
    each_span(panels, index, [&](const Span& span) ALWAYS_INLINE {
        const uint8_t* data = span.groups;
        for (size_t group = span.begin; group < span.end; group++, data += panels.group_bytes) {
            fetch(data + AHEAD, panels.group_bytes);
            Parts parts[ROWS];
            tile.begin(parts, panels.zero_point, group);
            each_pair<BITS>(panels, words_of(panels, data), [&](size_t pair, const Integers* weights) ALWAYS_INLINE {
                tile.add_pair(parts, weights, group * panels.group + 2 * pair);
            });
            tile.template add<FORM>(sums, parts, group, data, span.factors, panels.has_offsets);
        }
    });
    for (size_t row = 0; row < ROWS; row++) write(sums[row], target, row);
}

// What belongs to a span in the form that takes the fewest instructions: scales and offsets as floats, and a word for
// each pair of columns, from which a zero point of all weights is taken.
struct Unpacked {
    alignas(CACHE_LINE) uint32_t words[LONGEST_SPAN / 2 * WIDTH];
    alignas(CACHE_LINE) float numbers[LONGEST_SPAN / 16][2 * WIDTH];
};

template <unsigned BITS, Form FORM>
void unpack(const Panels& panels, const Span& span, Unpacked& to) {
    const uint8_t* data = span.groups;
    uint32_t* words = to.words;
    const Integers zero_points = broadcast(panels.zero_point * 0x10000 + (panels.zero_point & 0xffff));
    for (size_t index = 0; index < span.end - span.begin; index++, data += panels.group_bytes) {
        fetch(data + AHEAD, panels.group_bytes);
        each_pair<BITS>(panels, words_of(panels, data), [&](size_t, const Integers* weights) ALWAYS_INLINE {
            for (size_t v = 0; v < VECTORS; v++, words += LANES)
                store(words, subtract_halves(weights[v], zero_points));
        });
        for (size_t at = 0; at < (panels.has_offsets ? 2 : 1) * WIDTH; at += LANES)
            store(to.numbers[index] + at, number_of<FORM>(data, span.factors, at));
    }
}

// Add the products of rows with an unpacked span, of groups of PAIRS pairs.
template <size_t ROWS, size_t PAIRS>
void multiply_unpacked(const Panels& panels, const Span& span, const Unpacked& unpacked, const Tile<ROWS>& tile,
                       const Target& target) {
    Sums sums[ROWS];
    for (size_t row = 0; row < ROWS; row++)
        if (span.begin == 0) clear(sums[row]);
        else read(sums[row], target, row);
    const uint32_t* words = unpacked.words;
    for (size_t group = span.begin; group < span.end; group++, words += PAIRS * WIDTH) {
        Parts parts[ROWS];
        for_each_index<PAIRS>([&]<int PAIR>() ALWAYS_INLINE {
            Integers weights[VECTORS];
            for (size_t v = 0; v < VECTORS; v++)
                weights[v] = in_register(load(words + PAIR * WIDTH + v * LANES));
            const size_t column = group * 2 * PAIRS + 2 * PAIR;
            if constexpr (PAIR == 0) tile.begin_with_pair(parts, weights, column);
            else tile.add_pair(parts, weights, column);
        });
        const auto numbers = reinterpret_cast<const uint8_t*>(unpacked.numbers[group - span.begin]);
        tile.template add<Form::FLOATS>(sums, parts, group, numbers, nullptr, panels.has_offsets);
        // Beside them, registers have the sums of the group, a weight for each, and an activation.
        if constexpr ((2 * ROWS + 1) * VECTORS + 1 > REGISTERS)
            for (auto& sum : sums) keep_in_memory(sum);
    }
    for (size_t row = 0; row < ROWS; row++) write(sums[row], target, row);
}

// Call `run<ROWS>(first row)` for tiles that cover all rows, the largest first.
template <size_t ROWS, class Run>
void in_tiles(size_t row, size_t rows, Run run) {
    for (; row + ROWS <= rows; row += ROWS) run.template operator()<ROWS>(row);
    if constexpr (ROWS > 1) in_tiles<ROWS - 1>(row, rows, run);
}

// Where results go: `stride` apart for adjacent rows, the first ones from this row and panel.
struct Place {
    float* data;
    size_t stride, row = 0, panel = 0;

    float* of(size_t at_row, size_t at_panel) const {
        return data + (at_row - row) * stride + (at_panel - panel) * WIDTH;
    }
};

// A matrix, the rows for it, and where their results go.
struct Product {
    Product(const Panels* panels, const Rows* x, Place results) : panels(panels), x(x), results(results) {}
    // To a matrix of all results.
    Product(const Panels* panels, const Rows* x, float* results) : Product(panels, x, {results, panels->outputs}) {}

    const Panels* panels;
    const Rows* x;
    Place results;
};

// The rows from `first` to `last` with a panel. Few rows take the weights as they are read; more share unpacked ones.
template <unsigned BITS, Form FORM>
void multiply_panel(const Product& product, size_t index, size_t first, size_t last) {
    const Panels& panels = *product.panels;
    const auto target = [&](size_t row) {
        const size_t count = std::min(WIDTH, panels.outputs - index * WIDTH);
        return Target{product.results.of(row, index), product.results.stride, count};
    };
    if (last - first <= FEW_ROWS) {
        return in_tiles<FEW_TILE_ROWS>(first, last, [&]<size_t ROWS>(size_t row) {
            multiply_few<ROWS, BITS, FORM>(panels, index, {*product.x, row}, target(row));
        });
    }
    Unpacked unpacked;
    each_span(panels, index, [&](const Span& span) {
        unpack<BITS, FORM>(panels, span, unpacked);
        in_tiles<TILE_ROWS>(first, last, [&]<size_t ROWS>(size_t row) {
            const auto multiply = panels.group == 32 ? multiply_unpacked<ROWS, 16> : multiply_unpacked<ROWS, 8>;
            multiply(panels, span, unpacked, {*product.x, row}, target(row));
        });
    });
}

using MultiplyPanel = void (*)(const Product&, size_t index, size_t first, size_t last);

template <unsigned BITS>
MultiplyPanel kernel_with(Form form) {
    switch (form) {
        case Form::FLOATS: return multiply_panel<BITS, Form::FLOATS>;
        case Form::HALVES: return multiply_panel<BITS, Form::HALVES>;
        default: return multiply_panel<BITS, Form::FACTORS>;
    }
}

inline MultiplyPanel kernel_for(const Panels& panels) {
    const auto kernel = panels.bits == 4 ? kernel_with<4> : panels.bits == 6 ? kernel_with<6> : kernel_with<8>;
    return kernel(panels.form);
}

// `rows` rows with whole matrices.
inline void multiply(const std::vector<Product>& products, size_t rows) {
    size_t count = 0;
    for (const Product& product : products) count += product.panels->count;
    // Rows are split only as far as threads would have nothing to do otherwise: each part unpacks the weights again.
    const size_t wanted = 4 * tbb::this_task_arena::max_concurrency() / count + 1;
    const size_t chunks = std::clamp(rows / CHUNK_ROWS, size_t(1), wanted);
    in_parallel(count * chunks, [&](size_t task) {
        size_t index = task / chunks;
        const Product* product = products.data();
        while (index >= product->panels->count) index -= (product++)->panels->count;
        const size_t first = rows * (task % chunks) / chunks, last = rows * (task % chunks + 1) / chunks;
        kernel_for(*product->panels)(*product, index, first, last);
    });
}

}  // namespace crossette
