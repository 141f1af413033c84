// Products of rows with a panel. Each result is the sum over the columns in ascending order, by one multiply-add a
// column, of the same weights: so the numbers of a row are the same whichever kernel computes it, with any other rows.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include "panels.hpp"

namespace crossette {

#define ALWAYS_INLINE __attribute__((always_inline))

constexpr size_t DEPTH = 256;      // columns that are unpacked at a time: whole groups, in the second-level cache
constexpr size_t CHUNK_ROWS = 64;  // fewest rows of a task, where there are more threads than panels

// The results of one panel: `count` columns of a matrix of rows that are `stride` apart.
struct Target {
    float* data;
    size_t stride, count;
};

using Sums = Floats[VECTORS];

inline void clear(Sums& sums) {
    for (auto& sum : sums) sum = zeros();
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

// The weights of a group, column by column: `use(column, weights)`.
template <unsigned BITS, bool OFFSETS, class Use>
ALWAYS_INLINE inline void each_column(const Panels& panels, const uint8_t* from, Use use) {
    const float* numbers = reinterpret_cast<const float*>(from);
    Floats scales[VECTORS], offsets[VECTORS], weights[VECTORS];
    for (size_t v = 0; v < VECTORS; v++) {
        scales[v] = load(numbers + v * LANES);
        offsets[v] = OFFSETS ? load(numbers + WIDTH + v * LANES) : multiply(broadcast(-panels.zero_point), scales[v]);
    }
    const uint8_t* integers = from + WIDTH * sizeof(float) * (OFFSETS ? 2 : 1);
    if constexpr (BITS == 4) {
        for (size_t column = 0; column < panels.group; column += 8, integers += WIDTH * 4) {
            Integers words[VECTORS];
            for (size_t v = 0; v < VECTORS; v++) words[v] = load_words(integers + v * LANES * 4);
            const auto one = [&]<int INDEX>() ALWAYS_INLINE {
                for (size_t v = 0; v < VECTORS; v++)
                    weights[v] = multiply_add(nibbles<INDEX>(words[v]), scales[v], offsets[v]);
                use(column + INDEX, weights);
            };
            [&]<int... INDEX>(std::integer_sequence<int, INDEX...>) ALWAYS_INLINE {
                (one.template operator()<INDEX>(), ...);
            }(std::make_integer_sequence<int, 8>());
        }
    } else {
#pragma GCC unroll 4
        for (size_t column = 0; column < panels.group; column++, integers += WIDTH) {
            for (size_t v = 0; v < VECTORS; v++)
                weights[v] = multiply_add(bytes(integers + v * LANES), scales[v], offsets[v]);
            use(column, weights);
        }
    }
}

// A few rows with all of a panel.
template <size_t ROWS, unsigned BITS, bool OFFSETS>
void multiply_few(const Panels& panels, const uint8_t* panel, const float* x, const Target& target) {
    Sums sums[ROWS];
    for (auto& row : sums) clear(row);
    const size_t columns = panels.columns;
    for (size_t begin = 0; begin < columns; begin += panels.group, panel += panels.group_bytes, x += panels.group)
        each_column<BITS, OFFSETS>(panels, panel, [&](size_t column, const Floats* weights) ALWAYS_INLINE {
            for (size_t row = 0; row < ROWS; row++) {
                const Floats value = broadcast(x[row * columns + column]);
                for (size_t v = 0; v < VECTORS; v++) sums[row][v] = multiply_add(weights[v], value, sums[row][v]);
            }
        });
    for (size_t row = 0; row < ROWS; row++) write(sums[row], target, row);
}

// Unpack `DEPTH` columns at most, from a group on.
template <unsigned BITS, bool OFFSETS>
void unpack(const Panels& panels, const uint8_t* from, size_t depth, float* weights) {
    for (size_t begin = 0; begin < depth; begin += panels.group, from += panels.group_bytes)
        each_column<BITS, OFFSETS>(panels, from, [&](size_t column, const Floats* values) ALWAYS_INLINE {
            for (size_t v = 0; v < VECTORS; v++) store(weights + (begin + column) * WIDTH + v * LANES, values[v]);
        });
}

// Add the products of rows with unpacked weights.
template <size_t ROWS>
void multiply_unpacked(const float* weights, size_t depth, const float* x, size_t stride, const Target& target,
                       bool first) {
    Sums sums[ROWS];
    for (size_t row = 0; row < ROWS; row++) {
        if (first) clear(sums[row]);
        else read(sums[row], target, row);
    }
    for (size_t column = 0; column < depth; column++, weights += WIDTH) {
        Floats values[VECTORS];
        for (size_t v = 0; v < VECTORS; v++) values[v] = load(weights + v * LANES);
        for (size_t row = 0; row < ROWS; row++) {
            const Floats value = broadcast(x[row * stride + column]);
            for (size_t v = 0; v < VECTORS; v++) sums[row][v] = multiply_add(values[v], value, sums[row][v]);
        }
    }
    for (size_t row = 0; row < ROWS; row++) write(sums[row], target, row);
}

// Call `run<ROWS>(first row)` for tiles that cover all rows, the largest first.
template <size_t ROWS, class Run>
void in_tiles(size_t row, size_t rows, Run run) {
    for (; row + ROWS <= rows; row += ROWS) run.template operator()<ROWS>(row);
    if constexpr (ROWS > 1) in_tiles<ROWS / 2>(row, rows, run);
}

// Rows with a panel. Few rows take the weights as they are read; more share unpacked ones.
template <unsigned BITS, bool OFFSETS>
void multiply_panel(const Panels& panels, size_t index, const float* x, size_t rows, float* results) {
    const size_t columns = panels.columns, outputs = panels.outputs, at = index * WIDTH;
    const auto target = [&](size_t row) {
        return Target{results + row * outputs + at, outputs, std::min(WIDTH, outputs - at)};
    };
    const uint8_t* panel = panels.panel(index);
    if (rows <= FEW_ROWS) {
        if (rows == 3) return multiply_few<3, BITS, OFFSETS>(panels, panel, x, target(0));
        return in_tiles<TILE_ROWS>(0, rows, [&]<size_t ROWS>(size_t row) {
            multiply_few<ROWS, BITS, OFFSETS>(panels, panel, x + row * columns, target(row));
        });
    }
    alignas(CACHE_LINE) float weights[DEPTH * WIDTH];
    for (size_t begin = 0; begin < columns; begin += DEPTH) {
        const size_t depth = std::min(DEPTH, columns - begin);
        unpack<BITS, OFFSETS>(panels, panel + begin / panels.group * panels.group_bytes, depth, weights);
        in_tiles<TILE_ROWS>(0, rows, [&]<size_t ROWS>(size_t row) {
            multiply_unpacked<ROWS>(weights, depth, x + row * columns + begin, columns, target(row), begin == 0);
        });
    }
}

// A matrix, and where the results go.
struct Product {
    const Panels* panels;
    float* results;
};

// The rows from `begin` to `end` with one panel.
inline void multiply_panel(const Product& product, size_t index, const float* x, size_t begin, size_t end) {
    const Panels& panels = *product.panels;
    const auto run = panels.bits == 4 ? (panels.has_offsets ? multiply_panel<4, true> : multiply_panel<4, false>)
                                      : (panels.has_offsets ? multiply_panel<8, true> : multiply_panel<8, false>);
    run(panels, index, x + begin * panels.columns, end - begin, product.results + begin * panels.outputs);
}

// `rows` rows of x with whole matrices.
inline void multiply(const std::vector<Product>& products, const float* x, size_t rows) {
    size_t count = 0;
    for (const Product& product : products) count += product.panels->count;
    // Rows are split only as far as threads would have nothing to do otherwise: each part unpacks the weights again.
    const size_t wanted = 4 * tbb::this_task_arena::max_concurrency() / count + 1;
    const size_t chunks = std::clamp(rows / CHUNK_ROWS, size_t(1), wanted);
    tbb::parallel_for(size_t(0), count * chunks, [&](size_t task) {
        size_t index = task / chunks;
        const Product* product = products.data();
        while (index >= product->panels->count) index -= (product++)->panels->count;
        const size_t begin = rows * (task % chunks) / chunks, end = rows * (task % chunks + 1) / chunks;
        multiply_panel(*product, index, x, begin, end);
    });
}

}  // namespace crossette
