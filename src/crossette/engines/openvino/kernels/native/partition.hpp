// Attention of some queries to one partition of a context: PARTITION tokens, which begin at fixed positions.
//
// Queries are rows of 16-bit integers, and so are the weights that a softmax gives to the tokens of a block: products
// are exact sums of integers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "activation.hpp"
#include "cache.hpp"
#include "kernels.hpp"
#include "rows.hpp"

namespace crossette {

constexpr size_t PARTITION = 16 * BLOCK;
constexpr size_t FETCHED = 2;  // blocks, before their use
constexpr float LOG2_E = 1.44269504f;
constexpr float LOWEST = -std::numeric_limits<float>::infinity();

// The sequences of a step. A sequence has `count(s)` new tokens, which attend to each other and to `past[s]` in the
// cache, and blocks for all of these.
struct Sequences {
    const int32_t* past;
    const int32_t* begins;
    const int32_t* blocks;
    const int32_t* blocks_begins;
    size_t size;

    size_t count(size_t s) const { return begins[s + 1] - begins[s]; }
    size_t block(size_t s, size_t position) const { return blocks[blocks_begins[s] + position / BLOCK]; }
};

// A cache of several layers: for each block, a CacheBlock of each of their heads. `first` is the first one of keys, or
// of values, of a layer.
struct Cache {
    uint8_t* data;
    size_t heads, columns;
    size_t first = 0;

    CacheBlock block(size_t number, size_t head) const {
        return {data + (number * heads + first + head) * block_bytes(columns)};
    }
};

struct Attention {
    Sequences sequences;
    Cache keys, values;
    size_t heads;         // of keys, and of values
    const Rows* queries;  // in groups of the columns of a head
    float scale;
    size_t window;  // the number of tokens that a token attends to, itself included; 0 for all
    float* results;

    size_t group() const { return queries->groups / heads; }  // query heads that share one of keys
};

// Queries of one sequence that attend to the same head of keys, ordered by token: `first` to `last`, of which each
// token has `group`.
struct Task {
    size_t sequence, head, first, last;
};

struct Range {
    size_t begin, end;
    size_t size() const { return end > begin ? end - begin : 0; }
};

// What attention to some tokens gives: the sums of weights `2^(score - highest)`, and of weighted values. The offsets
// of values are the same for all columns.
struct State {
    float highest, weights, offsets;
};

// A query of a task.
struct Query {
    const int16_t* integers;
    float scale, total;  // of the integers, for scores of which 2 is the base; and the sum of the integers
    Range visible;       // the tokens that it attends to
    float* results;

    // Those of a partition.
    Range visible_in(size_t partition) const {
        return {std::max(visible.begin, partition * PARTITION), std::min(visible.end, (partition + 1) * PARTITION)};
    }
};

inline std::vector<Query> queries_of(const Attention& attention, const Task& task) {
    const Sequences& sequences = attention.sequences;
    const Rows& rows = *attention.queries;
    const size_t columns = attention.keys.columns, group = attention.group();
    std::vector<Query> queries;
    queries.reserve(task.last - task.first);
    for (size_t each = task.first; each < task.last; each++) {
        const size_t row = sequences.begins[task.sequence] + each / group, head = task.head * group + each % group;
        const size_t end = sequences.past[task.sequence] + each / group + 1;
        const size_t begin = attention.window && end > attention.window ? end - attention.window : 0;
        queries.push_back({rows.integers(row) + head * columns, rows.scales(row)[head] * (attention.scale * LOG2_E),
                           static_cast<float>(rows.totals(row)[head]), {begin, end},
                           attention.results + (row * rows.groups + head) * columns});
    }
    return queries;
}

// The partitions that queries attend to.
inline Range partitions_of(const std::vector<Query>& queries) {
    return {queries.front().visible.begin / PARTITION, (queries.back().visible.end + PARTITION - 1) / PARTITION};
}

// Products of rows with unpacked words: `use(row, column, parts)` gets the sums of 32 or 16 columns.
template <size_t ROWS, size_t COLUMNS, class Use>
ALWAYS_INLINE void multiply_words(const uint32_t* words, size_t pairs, size_t width, const int16_t* const* rows,
                                  Use use) {
    constexpr size_t COUNT = COLUMNS / LANES;
    Integers parts[ROWS][COUNT];
    for (auto& row : parts)
        for (auto& part : row) part = broadcast(int32_t(0));
    _Pragma("GCC unroll 4") for (size_t pair = 0; pair < pairs; pair++, words += width) {
        Integers weights[COUNT];
        for (size_t v = 0; v < COUNT; v++) weights[v] = in_register(load(words + v * LANES));
        for (size_t row = 0; row < ROWS; row++) {
            int32_t word;
            std::memcpy(&word, rows[row] + 2 * pair, sizeof(word));
            const Integers values = broadcast(word);
            for (size_t v = 0; v < COUNT; v++) parts[row][v] = multiply_add_pairs(weights[v], values, parts[row][v]);
        }
    }
    for (size_t row = 0; row < ROWS; row++)
        for (size_t v = 0; v < COUNT; v++) use(row, v * LANES, parts[row][v]);
}

// Attention of the queries of a task to one partition.
class Partition {
public:
    Partition(const Attention& attention, const Task& task)
        : _attention(attention),
          _queries(queries_of(attention, task)),
          _task(task),
          _columns((attention.values.columns + 15) / 16 * 16),
          _scores(_queries.size() * PARTITION),
          _weights(_queries.size() * PARTITION),
          _scales(_queries.size() * (PARTITION / BLOCK)),
          _states(_queries.size()),
          _values(_queries.size() * _columns) {}

    const std::vector<Query>& queries() const { return _queries; }

    void compute(size_t partition) {
        _partition = partition;
        _rows = {0, _queries.size()};
        while (_rows.size() && !_queries[_rows.begin].visible_in(partition).size()) _rows.begin++;
        while (_rows.size() && !_queries[_rows.end - 1].visible_in(partition).size()) _rows.end--;
        if (!_rows.size()) return;
        const size_t start = partition * PARTITION;
        _blocks = {(_queries[_rows.begin].visible_in(partition).begin - start) / BLOCK,
                   (_queries[_rows.end - 1].visible_in(partition).end - start + BLOCK - 1) / BLOCK};
        fetch_first(_attention.keys);
        for (size_t block = _blocks.begin; block < _blocks.end; block++) score(block);
        fetch_first(_attention.values);
        for (size_t row = _rows.begin; row < _rows.end; row++) weigh(row);
        std::fill(_values.begin(), _values.end(), 0.0f);
        for (size_t block = _blocks.begin; block < _blocks.end; block++) add_values(block);
    }

    Range rows() const { return _rows; }
    const State& state(size_t row) const { return _states[row]; }
    const float* values(size_t row) const { return _values.data() + row * _columns; }

private:
    // A block of the partition, of which the next ones are fetched meanwhile.
    CacheBlock block_of(const Cache& cache, size_t block) const {
        if (block + FETCHED < _blocks.end) fetch(at(cache, block + FETCHED).data, block_bytes(cache.columns));
        return at(cache, block);
    }
    void fetch_first(const Cache& cache) const {
        for (size_t block = _blocks.begin; block < std::min(_blocks.end, _blocks.begin + FETCHED); block++)
            fetch(at(cache, block).data, block_bytes(cache.columns));
    }
    CacheBlock at(const Cache& cache, size_t block) const {
        const size_t position = _partition * PARTITION + block * BLOCK;
        return cache.block(_attention.sequences.block(_task.sequence, position), _task.head);
    }

    float* scores(size_t row, size_t block) { return _scores.data() + row * PARTITION + block * BLOCK; }
    int16_t* weights(size_t row, size_t block) { return _weights.data() + row * PARTITION + block * BLOCK; }
    float& scale(size_t row, size_t block) { return _scales[row * (PARTITION / BLOCK) + block]; }

    // Scores of all queries with the keys of a block; tokens that a query does not attend to get any.
    void score(size_t number) {
        const CacheBlock block = block_of(_attention.keys, number);
        const size_t columns = _attention.keys.columns;
        alignas(CACHE_LINE) uint32_t words[LARGEST_HEAD / 2 * BLOCK];
        unpack(block.words(), columns / 4, BLOCK, BLOCK, words);
        in_tiles<ATTENTION_ROWS>(_rows.begin, _rows.end, [&]<size_t ROWS>(size_t first) {
            const int16_t* integers[ROWS];
            for (size_t row = 0; row < ROWS; row++) integers[row] = _queries[first + row].integers;
            multiply_words<ROWS, BLOCK>(words, columns / 2, BLOCK, integers,
                                        [&](size_t row, size_t token, Integers part) ALWAYS_INLINE {
                const Query& query = _queries[first + row];
                const Floats offsets = multiply(load(block.offsets() + token), broadcast(query.total));
                const Floats product = multiply_add(to_floats(part), load(block.scales() + token), offsets);
                store(scores(first + row, number) + token, multiply(product, broadcast(query.scale)));
            });
        });
    }

    // The softmax of a query's scores, as weights that include the scales of values.
    void weigh(size_t row) {
        const size_t start = _partition * PARTITION;
        const auto [begin, end] = _queries[row].visible_in(_partition);
        float* all = scores(row, 0);
        std::fill(all + _blocks.begin * BLOCK, all + (begin - start), LOWEST);
        std::fill(all + (end - start), all + _blocks.end * BLOCK, LOWEST);
        Floats highest = broadcast(LOWEST);
        for (size_t at = _blocks.begin * BLOCK; at < _blocks.end * BLOCK; at += LANES)
            highest = larger(highest, load(all + at));
        const float top = largest_of(highest);
        __m256 weights = _mm256_setzero_ps(), offsets = _mm256_setzero_ps();
        for (size_t block = _blocks.begin; block < _blocks.end; block++) {
            const size_t first = start + block * BLOCK;
            weigh(row, block, top, {std::max(begin, first), std::min(end, first + BLOCK)}, weights, offsets);
        }
        _states[row] = {top, sum_of(weights), sum_of(offsets)};
    }

    // Those of a block, of which `visible` are the tokens that the query attends to.
    void weigh(size_t row, size_t number, float top, Range visible, __m256& weights, __m256& offsets) {
        const size_t first = _partition * PARTITION + number * BLOCK;
        int16_t* to = this->weights(row, number);
        scale(row, number) = 0;
        if (!visible.size()) {
            std::fill(to, to + BLOCK, int16_t(0));
            return;
        }
        const CacheBlock block = at(_attention.values, number);
        const float *scales = block.scales(), *block_offsets = block.offsets();
        alignas(CACHE_LINE) float masked[3 * BLOCK];
        const float* shown = nullptr;
        if (visible.size() < BLOCK) {  // what belongs to other tokens may be anything
            std::fill(masked, masked + 3 * BLOCK, 0.0f);
            for (size_t token = visible.begin - first; token < visible.end - first; token++) {
                masked[token] = scales[token];
                masked[BLOCK + token] = block_offsets[token];
                masked[2 * BLOCK + token] = 1;
            }
            scales = masked, block_offsets = masked + BLOCK, shown = masked + 2 * BLOCK;
        }
        constexpr size_t COUNT = BLOCK / LANES;
        Block powers, products, scaled;
        Floats largest = broadcast(0.0f);
        for (size_t v = 0; v < COUNT; v++) {
            powers[v] = power_of_two(subtract(load(scores(row, number) + v * LANES), broadcast(top)));
            if (shown) powers[v] = multiply(powers[v], load(shown + v * LANES));
            products[v] = multiply(powers[v], load(block_offsets + v * LANES));
            scaled[v] = multiply(powers[v], load(scales + v * LANES));
            largest = larger(largest, scaled[v]);
        }
        weights = _mm256_add_ps(weights, parts_of_sum(powers));
        offsets = _mm256_add_ps(offsets, parts_of_sum(products));
        const float most = largest_of(largest);
        const float inverse = most >= SMALLEST ? LARGEST / most : 0;
        for (size_t v = 0; v < COUNT; v++) store(to + v * LANES, to_integers(multiply(scaled[v], broadcast(inverse))));
        scale(row, number) = inverse == 0 ? 0 : most / LARGEST;
    }

    void add_values(size_t number) {
        const CacheBlock block = block_of(_attention.values, number);
        alignas(CACHE_LINE) uint32_t words[BLOCK / 2 * LARGEST_HEAD];
        unpack(block.words(), BLOCK / 4, _attention.values.columns, _columns, words);
        in_tiles<ATTENTION_ROWS>(_rows.begin, _rows.end, [&]<size_t ROWS>(size_t first) {
            const int16_t* integers[ROWS];
            for (size_t row = 0; row < ROWS; row++) integers[row] = weights(first + row, number);
            const auto add_columns = [&]<size_t COLUMNS>(size_t column) ALWAYS_INLINE {
                multiply_words<ROWS, COLUMNS>(words + column, BLOCK / 2, _columns, integers,
                                              [&](size_t row, size_t at, Integers part) ALWAYS_INLINE {
                    float* to = _values.data() + (first + row) * _columns + column + at;
                    store(to, multiply_add(to_floats(part), broadcast(scale(first + row, number)), load(to)));
                });
            };
            size_t column = 0;
            for (; column + 32 <= _columns; column += 32) add_columns.template operator()<32>(column);
            if (column < _columns) add_columns.template operator()<16>(column);
        });
    }

    const Attention& _attention;
    const std::vector<Query> _queries;
    const Task _task;
    const size_t _columns;  // of a query's values in memory
    size_t _partition = 0;
    Range _rows{}, _blocks{};
    std::vector<float> _scores;
    std::vector<int16_t> _weights;
    std::vector<float> _scales;
    std::vector<State> _states;
    std::vector<float> _values;
};

}  // namespace crossette
