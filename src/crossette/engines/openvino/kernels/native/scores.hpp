// What the logprob of a token needs of the logits of a row. Rows of which nothing else is needed are never in memory as
// a whole: a part of the vocabulary is computed for some rows, and read while it is in a cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "activation.hpp"
#include "kernels.hpp"
#include "vector.hpp"

namespace crossette {

constexpr size_t PART_OUTPUTS = 768;  // of whole panels and of whole blocks, with any instructions
constexpr size_t PART_ROWS = 128;
static_assert(PART_OUTPUTS % WIDTH == 0);

// Of a row: the logit of its token, the largest, where that is, and the logarithm of the sum of all `e^(logit - best)`.
struct Score {
    float token, best, id, log_sum;
};

// Of some adjacent logits of a row; `id` is the first place of the largest.
struct PartOfScore {
    float token, best, powers;
    int32_t id;
};

inline PartOfScore part_of_score(const float* logits, int32_t first, int32_t token) {
    Floats highest = broadcast(-std::numeric_limits<float>::infinity());
    for (size_t at = 0; at < PART_OUTPUTS; at += LANES) highest = larger(highest, load(logits + at));
    const float best = largest_of(highest);
    constexpr int32_t COUNT = PART_OUTPUTS;
    int32_t id = COUNT - 1;  // also if all are NaN
    for (int32_t at = 0; at < COUNT; at++) id = logits[at] == best ? std::min(id, at) : id;
    Block sums;
    for (auto& sum : sums) sum = broadcast(0.0f);
    for (size_t at = 0; at < PART_OUTPUTS; at += 32)
        for (size_t v = 0; v < 32 / LANES; v++)
            sums[v] = add(sums[v], exponential(subtract(load(logits + at + v * LANES), broadcast(best))));
    const int32_t place = token - first;
    const bool has_token = place >= 0 && place < COUNT;
    return {has_token ? logits[place] : 0, best, sum_of(parts_of_sum(sums)), first + id};
}

inline Score score_of(const PartOfScore* parts, size_t count, size_t stride) {
    float token = 0, best = parts->best;
    int32_t id = parts->id;
    for (size_t part = 0; part < count; part++) {
        const PartOfScore& next = parts[part * stride];
        token += next.token;
        if (next.best > best) best = next.best, id = next.id;
    }
    double powers = 0;
    for (size_t part = 0; part < count; part++) {
        const PartOfScore& next = parts[part * stride];
        powers += next.powers * std::exp(static_cast<double>(next.best) - best);
    }
    return {token, best, static_cast<float>(id), static_cast<float>(std::log(powers))};
}

// Score a token of each row by a head.
inline void score(const Panels& head, const Rows& x, size_t rows, const int32_t* tokens, Score* to) {
    constexpr size_t PANELS = PART_OUTPUTS / WIDTH;
    const size_t parts = (head.count + PANELS - 1) / PANELS, chunks = (rows + PART_ROWS - 1) / PART_ROWS;
    std::vector<PartOfScore> found(parts * rows);
    const auto kernel = kernel_for(head);
    in_parallel(parts * chunks, [&](size_t task) {
        thread_local std::vector<float> logits(PART_ROWS * PART_OUTPUTS);
        const size_t part = task / chunks, first = task % chunks * PART_ROWS, last = std::min(first + PART_ROWS, rows);
        const size_t panel = part * PANELS, end = std::min(panel + PANELS, head.count);
        if (end * WIDTH > head.outputs || end < panel + PANELS)  // what is after the last output counts as least
            std::fill(logits.begin(), logits.end(), -std::numeric_limits<float>::infinity());
        const Product product(&head, &x, {logits.data(), PART_OUTPUTS, first, panel});
        for (size_t index = panel; index < end; index++) kernel(product, index, first, last);
        for (size_t row = first; row < last; row++)
            found[part * rows + row] = part_of_score(logits.data() + (row - first) * PART_OUTPUTS,
                                                     static_cast<int32_t>(part * PART_OUTPUTS), tokens[row]);
    });
    in_parallel(rows, [&](size_t row) { to[row] = score_of(&found[row], parts, rows); });
}

}  // namespace crossette
