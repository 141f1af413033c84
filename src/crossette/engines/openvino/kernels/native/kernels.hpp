// Products of rows with a panel. Each result is a sum over the groups in ascending order; a group adds the exact sum of
// its products of integers, times the scales of the row and of the weights: so the numbers of a row are the same
// whichever kernel computes it, with any other rows.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "team.hpp"
#include <tbb/task_arena.h>

#include "panels.hpp"
#include "rows.hpp"

namespace crossette {

#define ALWAYS_INLINE __attribute__((always_inline))

constexpr size_t DEPTH = 256;      // columns that are unpacked at a time: whole groups, in the first-level cache
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

inline void read(Sums& sums, const Target& target, size_t row) {
    alignas(CACHE_LINE) float buffer[WIDTH] = {};
    const float* from = target.data + row * target.stride;
    if (target.count < WIDTH) from = static_cast<float*>(std::memcpy(buffer, from, target.count * sizeof(float)));
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

// A kind of panels: how their groups are read.
template <unsigned BITS, bool OFFSETS, class Number>
struct Kind {
    static const Number* scales(const uint8_t* group) { return reinterpret_cast<const Number*>(group); }

    // The weights of a group, two columns at a time: `use(pair, weights)`.
    template <class Use>
    ALWAYS_INLINE static void each_pair(const Panels& panels, const uint8_t* group, Use use) {
        constexpr size_t PAIRS = 16 / BITS;  // of a word
        const Integers mask = broadcast(BITS == 4 ? 0x000f000f : 0x00ff00ff);
        auto words = reinterpret_cast<const uint32_t*>(group + numbers_bytes<Number>(OFFSETS));
        for (size_t pair = 0; pair < panels.group / 2; pair += PAIRS, words += WIDTH) {
            Integers packed[VECTORS], weights[VECTORS];
            for (size_t v = 0; v < VECTORS; v++) packed[v] = load(words + v * LANES);
            const auto one = [&]<int INDEX>() ALWAYS_INLINE {
                for (size_t v = 0; v < VECTORS; v++) weights[v] = both(shift_right<INDEX * BITS>(packed[v]), mask);
                use(pair + INDEX, weights);
            };
            [&]<int... INDEX>(std::integer_sequence<int, INDEX...>) ALWAYS_INLINE {
                (one.template operator()<INDEX>(), ...);
            }(std::make_integer_sequence<int, PAIRS>());
        }
    }

    // The sums of a group start with what the zero point takes from all products, if there is one for all groups.
    ALWAYS_INLINE static void begin(Parts& parts, const Panels& panels, const Rows& x, size_t row, size_t group) {
        const Integers first = broadcast(OFFSETS ? 0 : -panels.zero_point * x.totals(row)[group]);
        for (auto& part : parts) part = first;
    }

    ALWAYS_INLINE static void add(Sums& sums, const Parts& parts, const Number* scales, const Rows& x, size_t row,
                                  size_t group) {
        const float scale = x.scales(row)[group];
        for (size_t v = 0; v < VECTORS; v++)
            sums[v] = multiply_add(multiply(to_floats(parts[v]), broadcast(scale)), load(scales + v * LANES), sums[v]);
        if constexpr (OFFSETS) {
            const Floats total = broadcast(static_cast<float>(x.totals(row)[group]) * scale);
            for (size_t v = 0; v < VECTORS; v++)
                sums[v] = multiply_add(total, load(scales + WIDTH + v * LANES), sums[v]);
        }
    }
};

ALWAYS_INLINE inline void add_pair(Parts& parts, const Integers* weights, const int16_t* integers, size_t pair) {
    int32_t word;
    std::memcpy(&word, integers + 2 * pair, sizeof(word));
    const Integers values = broadcast(word);
    for (size_t v = 0; v < VECTORS; v++) parts[v] = multiply_add_pairs(weights[v], values, parts[v]);
}

// A few rows, from `first` on, with all of a panel.
template <size_t ROWS, class Kind>
void multiply_few(const Panels& panels, const uint8_t* panel, const Rows& x, size_t first, const Target& target) {
    Sums sums[ROWS];
    const int16_t* integers[ROWS];
    for (size_t row = 0; row < ROWS; row++) {
        clear(sums[row]);
        integers[row] = x.integers(first + row);
    }
    for (size_t group = 0; group < x.groups; group++, panel += panels.group_bytes) {
        fetch(panel + AHEAD, panels.group_bytes);
        Parts parts[ROWS];
        for (size_t row = 0; row < ROWS; row++) Kind::begin(parts[row], panels, x, first + row, group);
        Kind::each_pair(panels, panel, [&](size_t pair, const Integers* weights) ALWAYS_INLINE {
            for (size_t row = 0; row < ROWS; row++) add_pair(parts[row], weights, integers[row], pair);
        });
        for (size_t row = 0; row < ROWS; row++) {
            Kind::add(sums[row], parts[row], Kind::scales(panel), x, first + row, group);
            integers[row] += panels.group;
        }
    }
    for (size_t row = 0; row < ROWS; row++) write(sums[row], target, row);
}

// Some groups of a panel, and a word for each pair of columns of each output.
struct Unpacked {
    const uint8_t* panel;
    uint32_t* words;
    size_t begin, end;
};

template <class Kind>
void unpack(const Panels& panels, const Unpacked& unpacked) {
    auto [panel, words, group, end] = unpacked;
    for (; group < end; group++, panel += panels.group_bytes, words += panels.group / 2 * WIDTH) {
        fetch(panel + AHEAD, panels.group_bytes);
        Kind::each_pair(panels, panel, [&](size_t pair, const Integers* weights) ALWAYS_INLINE {
            for (size_t v = 0; v < VECTORS; v++) store(words + pair * WIDTH + v * LANES, weights[v]);
        });
    }
}

// Add the products of rows with unpacked groups.
template <size_t ROWS, class Kind>
void multiply_unpacked(const Panels& panels, const Unpacked& unpacked, const Rows& x, size_t first,
                       const Target& target) {
    Sums sums[ROWS];
    const int16_t* integers[ROWS];
    for (size_t row = 0; row < ROWS; row++) {
        integers[row] = x.integers(first + row) + unpacked.begin * panels.group;
        if (unpacked.begin == 0) clear(sums[row]);
        else read(sums[row], target, row);
    }
    auto [panel, words, group, end] = unpacked;
    for (; group < end; group++, panel += panels.group_bytes) {
        Parts parts[ROWS];
        for (size_t row = 0; row < ROWS; row++) Kind::begin(parts[row], panels, x, first + row, group);
        for (size_t pair = 0; pair < panels.group / 2; pair++, words += WIDTH) {
            Integers weights[VECTORS];
            for (size_t v = 0; v < VECTORS; v++) weights[v] = load(words + v * LANES);
            for (size_t row = 0; row < ROWS; row++) add_pair(parts[row], weights, integers[row], pair);
        }
        for (size_t row = 0; row < ROWS; row++) {
            Kind::add(sums[row], parts[row], Kind::scales(panel), x, first + row, group);
            integers[row] += panels.group;
        }
    }
    for (size_t row = 0; row < ROWS; row++) write(sums[row], target, row);
}

// Call `run<ROWS>(first row)` for tiles that cover all rows, the largest first.
template <size_t ROWS, class Run>
void in_tiles(size_t row, size_t rows, Run run) {
    for (; row + ROWS <= rows; row += ROWS) run.template operator()<ROWS>(row);
    if constexpr (ROWS == 4)
        if (rows - row == 3) return run.template operator()<3>(row);
    if constexpr (ROWS > 1) in_tiles<ROWS / 2>(row, rows, run);
}

// A matrix, the rows for it, and where their results go.
struct Product {
    const Panels* panels;
    const Rows* x;
    float* results;
};

// The rows from `first` to `last` with a panel. Few rows take the weights as they are read; more share unpacked ones.
template <class Kind>
void multiply_panel(const Product& product, size_t index, size_t first, size_t last) {
    const Panels& panels = *product.panels;
    const Rows& x = *product.x;
    const auto target = [&](size_t row) {
        float* results = product.results + row * panels.outputs + index * WIDTH;
        return Target{results, panels.outputs, std::min(WIDTH, panels.outputs - index * WIDTH)};
    };
    const uint8_t* panel = panels.panel(index);
    if (last - first <= FEW_ROWS) {
        return in_tiles<TILE_ROWS>(first, last, [&]<size_t ROWS>(size_t row) {
            multiply_few<ROWS, Kind>(panels, panel, x, row, target(row));
        });
    }
    alignas(CACHE_LINE) uint32_t words[DEPTH / 2 * WIDTH];
    const size_t depth = DEPTH / panels.group;
    for (size_t begin = 0; begin < x.groups; begin += depth, panel += depth * panels.group_bytes) {
        const Unpacked unpacked{panel, words, begin, std::min(begin + depth, x.groups)};
        unpack<Kind>(panels, unpacked);
        in_tiles<TILE_ROWS>(first, last, [&]<size_t ROWS>(size_t row) {
            multiply_unpacked<ROWS, Kind>(panels, unpacked, x, row, target(row));
        });
    }
}

using MultiplyPanel = void (*)(const Product&, size_t index, size_t first, size_t last);

template <unsigned BITS, bool OFFSETS>
MultiplyPanel kernel_with(bool halves) {
    return halves ? multiply_panel<Kind<BITS, OFFSETS, Half>> : multiply_panel<Kind<BITS, OFFSETS, float>>;
}

inline MultiplyPanel kernel_for(const Panels& panels) {
    const auto kernel = panels.bits == 4 ? (panels.has_offsets ? kernel_with<4, true> : kernel_with<4, false>)
                                         : (panels.has_offsets ? kernel_with<8, true> : kernel_with<8, false>);
    return kernel(panels.has_halves);
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
