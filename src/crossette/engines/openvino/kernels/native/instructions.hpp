// What the layers of a decoder are computed by: instructions that read and write registers. A register has a row of
// floats for each token of a step.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include <openvino/core/except.hpp>

#include "activation.hpp"
#include "attention.hpp"
#include "kernels.hpp"
#include "team.hpp"

namespace crossette {

constexpr size_t SERIAL = 1 << 14;  // numbers, up to which one thread computes them sooner than several

// A step on its way through the layers.
struct Step {
    size_t rows;
    std::vector<float*> registers;
    std::vector<Sequences> sequences;  // one for each kind of block tables
    std::vector<Cache> caches;         // without what a layer takes of their heads
};

class Instruction {
public:
    virtual ~Instruction() = default;
    virtual void run(const Step& step) const = 0;

protected:
    // Call `use(row)` for all rows of `width` numbers.
    template <class Use>
    static void each_row(const Step& step, size_t width, const Use& use) {
        if (step.rows * width <= SERIAL)
            for (size_t row = 0; row < step.rows; row++) use(row);
        else in_parallel(step.rows, use);
    }
};

using Vector = std::vector<float>;

// The same rows in groups of each size that is asked for.
class RowsInGroups {
public:
    RowsInGroups(const float* x, size_t rows, size_t columns) : _x(x), _rows(rows), _columns(columns) {}

    const Rows* of(size_t group) {
        for (const auto& made : _made)
            if (made->group == group) return made.get();
        _made.push_back(std::make_unique<Rows>(_x, _rows, _columns, group));
        return _made.back().get();
    }

private:
    const float* _x;
    size_t _rows, _columns;
    std::vector<std::unique_ptr<Rows>> _made;
};

// Products of rows with transposed matrices.
struct Multiply : Instruction {
    struct Target {
        std::shared_ptr<const Panels> matrix;
        size_t to;
    };
    size_t from;
    std::vector<Target> targets;

    void run(const Step& step) const override {
        RowsInGroups x(step.registers[from], step.rows, targets.front().matrix->columns);
        std::vector<Product> products;
        for (const auto& [matrix, to] : targets)
            products.push_back({matrix.get(), x.of(matrix->group), step.registers[to]});
        multiply(products, step.rows);
    }
};

// The sum of products of two rows, in one order.
inline float dot(const float* a, const float* b, size_t count) {
    Block sums;
    for (auto& sum : sums) sum = broadcast(0.0f);
    size_t at = 0;
    for (; at + BLOCK <= count; at += BLOCK)
        for (size_t v = 0; v < BLOCK / LANES; v++)
            sums[v] = multiply_add(load(a + at + v * LANES), load(b + at + v * LANES), sums[v]);
    float sum = sum_of(parts_of_sum(sums));
    for (; at < count; at++) sum += a[at] * b[at];
    return sum;
}

// RMS norms of groups of adjacent columns, times weights, which are the same for each group.
struct Normalise : Instruction {
    size_t from, to, width;
    Vector weights;
    float epsilon;

    void run(const Step& step) const override {
        const size_t group = weights.size();
        each_row(step, width, [&](size_t row) {
            for (size_t begin = row * width; begin < (row + 1) * width; begin += group)
                normalise(step.registers[from] + begin, step.registers[to] + begin);
        });
    }

private:
    void normalise(const float* x, float* to) const {
        const size_t group = weights.size();
        const float scale = 1 / std::sqrt(dot(x, x, group) / static_cast<float>(group) + epsilon);
        for (size_t column = 0; column < group; column++) to[column] = x[column] * scale * weights[column];
    }
};

struct Add : Instruction {
    size_t first, second, to, width;

    void run(const Step& step) const override {
        each_row(step, width, [&](size_t row) {
            const float *a = step.registers[first] + row * width, *b = step.registers[second] + row * width;
            float* result = step.registers[to] + row * width;
            for (size_t column = 0; column < width; column++) result[column] = a[column] + b[column];
        });
    }
};

struct AddBias : Instruction {
    size_t from, to;
    Vector bias;

    void run(const Step& step) const override {
        const size_t width = bias.size();
        each_row(step, width, [&](size_t row) {
            const float* x = step.registers[from] + row * width;
            float* result = step.registers[to] + row * width;
            for (size_t column = 0; column < width; column++) result[column] = x[column] + bias[column];
        });
    }
};

// What low-rank adapters add to a product: `((x @ down.T) * scales) @ up`. A token's scales are zero but for the ranks
// of its adapter, and these others are left out.
struct Adapt : Instruction {
    size_t from, product, scales, to, columns, width, ranks;
    Vector down, up;  // [ranks, columns], [ranks, width]

    void run(const Step& step) const override {
        each_row(step, width, [&](size_t row) {
            float* result = step.registers[to] + row * width;
            std::copy_n(step.registers[product] + row * width, width, result);
            for (size_t rank = 0; rank < ranks; rank++) {
                const float scale = step.registers[scales][row * ranks + rank];
                if (scale == 0) continue;
                const float low = dot(step.registers[from] + row * columns, &down[rank * columns], columns) * scale;
                for (size_t column = 0; column < width; column++) result[column] += low * up[rank * width + column];
            }
        });
    }
};

struct Scale : Instruction {
    size_t from, to, width;
    float factor;

    void run(const Step& step) const override {
        each_row(step, width, [&](size_t row) {
            const float* x = step.registers[from] + row * width;
            float* result = step.registers[to] + row * width;
            for (size_t column = 0; column < width; column++) result[column] = x[column] * factor;
        });
    }
};

// Each row with a factor of its own.
struct ScaleRows : Instruction {
    size_t from, to, factors, width;

    void run(const Step& step) const override {
        each_row(step, width, [&](size_t row) {
            const float* x = step.registers[from] + row * width;
            float* result = step.registers[to] + row * width;
            for (size_t column = 0; column < width; column++) result[column] = x[column] * step.registers[factors][row];
        });
    }
};

// Some adjacent columns.
struct Slice : Instruction {
    size_t from, to, begin, width, of;

    void run(const Step& step) const override {
        each_row(step, width, [&](size_t row) {
            std::copy_n(step.registers[from] + row * of + begin, width, step.registers[to] + row * width);
        });
    }
};

// The first columns of each head, in pairs of corresponding ones of two halves, turned by angles.
struct Rotate : Instruction {
    size_t from, to, cosines, sines, width, head, rotated;

    void run(const Step& step) const override {
        each_row(step, width, [&](size_t row) {
            const float *cos = step.registers[cosines] + row * rotated, *sin = step.registers[sines] + row * rotated;
            for (size_t begin = row * width; begin < (row + 1) * width; begin += head)
                rotate(step.registers[from] + begin, cos, sin, step.registers[to] + begin);
        });
    }

private:
    void rotate(const float* x, const float* cos, const float* sin, float* to) const {
        const size_t half = rotated / 2;
        for (size_t i = 0; i < half; i++) {
            const float first = x[i], second = x[half + i];
            to[i] = first * cos[i] - second * sin[i];
            to[half + i] = second * cos[half + i] + first * sin[half + i];
        }
        std::copy(x + rotated, x + head, to + rotated);
    }
};

// The activation of a gated feed-forward network.
struct Gate : Instruction {
    size_t gate, up, to, width;
    bool gelu;

    void run(const Step& step) const override {
        activate(step.registers[gate], step.registers[up], step.registers[to], step.rows * width, gelu);
    }
};

struct Attend : Instruction {
    size_t queries, keys, values, to, width;
    size_t cache, tables;                     // of the step's
    size_t key_head, value_head, heads, columns;  // of the cache: the first ones, and how many
    float scale;
    size_t window;

    void run(const Step& step) const override {
        const Sequences& sequences = step.sequences[tables];
        OPENVINO_ASSERT(sequences.begins[sequences.size] == static_cast<int64_t>(step.rows));
        const Cache& all = step.caches[cache];
        OPENVINO_ASSERT(all.columns == columns && std::max(key_head, value_head) + heads <= all.heads);
        const Rows rounded(step.registers[queries], step.rows, width, columns);
        Cache keys_cache = all, values_cache = all;
        keys_cache.first = key_head, values_cache.first = value_head;
        const Attention attention{sequences, keys_cache, values_cache, heads, &rounded, scale, window,
                                  step.registers[to]};
        store_tokens(attention, step.registers[keys], step.registers[values]);
        attend(attention);
    }
};

}  // namespace crossette
