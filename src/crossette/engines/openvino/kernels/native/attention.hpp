// Attention of queries to the keys and values of a paged cache in 8 bits.
//
// Queries are rows of 16-bit integers, and so are the weights that a softmax gives to the tokens of a block: products
// are exact sums of integers. The softmax and the sums of floats are computed for PARTITION tokens of a context at a
// time, which begin at fixed positions, and are joined in their order. So the numbers of a query depend on its position
// and on the cache alone, whatever else a step has.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "team.hpp"
#include <tbb/task_arena.h>

#include "activation.hpp"
#include "cache.hpp"
#include "kernels.hpp"
#include "rows.hpp"

namespace crossette {

constexpr size_t PARTITION = 16 * BLOCK;
constexpr size_t FETCHED = 2;               // blocks
constexpr size_t TASK_ROWS = 32;            // most queries of a task, which share unpacked keys and values
constexpr size_t SMALL = size_t(1) << 18;   // products, up to which one thread computes them sooner than several
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

// A cache of several layers: for each block, a CacheBlock of each of their heads. `first` is the first one of keys, or of
// values, of a layer.
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

// Queries of one sequence that attend to the same head of keys, ordered by token: `first` to `last`, of which each token
// has `group`.
struct Task {
    size_t sequence, head, first, last;
};

struct Range {
    size_t begin, end;
    size_t size() const { return end > begin ? end - begin : 0; }
};

// What attention to some tokens gives: the sums of weights `exp(score - highest)`, and of weighted values. The offsets
// of values are the same for all columns.
struct State {
    float highest, weights, offsets;
};

// A query of a task.
struct Query {
    const int16_t* integers;
    float scale, total;  // of the integers, times that of the attention; and the sum of the integers
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
        queries.push_back({rows.integers(row) + head * columns, rows.scales(row)[head] * attention.scale,
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
    for (size_t pair = 0; pair < pairs; pair++, words += width) {
        Integers weights[COUNT];
        for (size_t v = 0; v < COUNT; v++) weights[v] = load(words + v * LANES);
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
        Block exponentials, products, scaled;
        Floats largest = broadcast(0.0f);
        for (size_t v = 0; v < COUNT; v++) {
            exponentials[v] = exponential(add(load(scores(row, number) + v * LANES), broadcast(-top)));
            if (shown) exponentials[v] = multiply(exponentials[v], load(shown + v * LANES));
            products[v] = multiply(exponentials[v], load(block_offsets + v * LANES));
            scaled[v] = multiply(exponentials[v], load(scales + v * LANES));
            largest = larger(largest, scaled[v]);
        }
        weights = _mm256_add_ps(weights, parts_of_sum(exponentials));
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

// Joins partitions, in their order.
class Joined {
public:
    Joined(size_t rows, size_t columns)
        : _columns(columns), _states(rows, State{LOWEST, 0, 0}), _values(rows * columns, 0.0f) {}

    void add(const Partition& part) {
        for (size_t row = part.rows().begin; row < part.rows().end; row++) {
            State& state = _states[row];
            const State& more = part.state(row);
            const float highest = std::max(state.highest, more.highest);
            const float before = factor(state.highest - highest), now = factor(more.highest - highest);
            state = {highest, state.weights * before + more.weights * now, state.offsets * before + more.offsets * now};
            float* values = _values.data() + row * _columns;
            for (size_t column = 0; column < _columns; column++)
                values[column] = values[column] * before + part.values(row)[column] * now;
        }
    }

    void write(const std::vector<Query>& queries) const {
        for (size_t row = 0; row < queries.size(); row++) {
            const State& state = _states[row];
            const float* values = _values.data() + row * _columns;
            float* to = queries[row].results;
            for (size_t column = 0; column < _columns; column++)
                to[column] = (values[column] + state.offsets) / state.weights;
        }
    }

private:
    static float factor(float difference) {
        alignas(CACHE_LINE) float values[LANES];
        store(values, exponential(broadcast(difference)));
        return values[0];
    }

    const size_t _columns;
    std::vector<State> _states;
    std::vector<float> _values;
};

inline void store_tokens(const Attention& attention, const float* keys, const float* values) {
    const Sequences& sequences = attention.sequences;
    const auto store_token = [&](size_t sequence, size_t token) {
        const size_t position = sequences.past[sequence] + token, number = sequences.begins[sequence] + token;
        const size_t block = sequences.block(sequence, position), slot = position % BLOCK;
        for (size_t head = 0; head < attention.heads; head++) {
            const size_t at = number * attention.heads + head;
            const size_t columns = attention.keys.columns;
            attention.keys.block(block, head).store_key(slot, keys + at * columns, columns);
            attention.values.block(block, head).store_value(slot, values + at * columns, columns);
        }
    };
    for (size_t sequence = 0; sequence < sequences.size; sequence++) {
        const size_t count = sequences.count(sequence);
        if (count < 8)
            for (size_t token = 0; token < count; token++) store_token(sequence, token);
        else in_parallel(count, [&](size_t token) { store_token(sequence, token); });
    }
}

// Queries of all sequences, in tasks.
inline std::vector<Task> tasks_of(const Attention& attention) {
    std::vector<Task> tasks;
    for (size_t sequence = 0; sequence < attention.sequences.size; sequence++) {
        const size_t rows = attention.sequences.count(sequence) * attention.group();
        for (size_t head = 0; head < attention.heads; head++)
            for (size_t first = 0; first < rows; first += TASK_ROWS)
                tasks.push_back({sequence, head, first, std::min(first + TASK_ROWS, rows)});
    }
    return tasks;
}

inline size_t products_of(const Attention& attention) {
    const Sequences& sequences = attention.sequences;
    size_t products = 0;
    for (size_t sequence = 0; sequence < sequences.size; sequence++)
        products += sequences.count(sequence) * (sequences.past[sequence] + sequences.count(sequence));
    return products * attention.queries->columns;
}

inline void attend(const Attention& attention, const Task& task) {
    Partition part(attention, task);
    Joined joined(part.queries().size(), attention.values.columns);
    const Range range = partitions_of(part.queries());
    for (size_t partition = range.begin; partition < range.end; partition++) {
        part.compute(partition);
        joined.add(part);
    }
    joined.write(part.queries());
}

// The same with a thread for each partition.
inline void attend_in_parts(const Attention& attention, const std::vector<Task>& tasks) {
    std::vector<std::pair<const Task*, size_t>> pieces;
    for (const Task& task : tasks) {
        const Range range = partitions_of(queries_of(attention, task));
        for (size_t partition = range.begin; partition < range.end; partition++) pieces.push_back({&task, partition});
    }
    std::vector<std::unique_ptr<Partition>> parts(pieces.size());
    in_parallel(pieces.size(), [&](size_t index) {
        parts[index] = std::make_unique<Partition>(attention, *pieces[index].first);
        parts[index]->compute(pieces[index].second);
    });
    for (size_t index = 0; index < pieces.size();) {
        const Task* task = pieces[index].first;
        const std::vector<Query>& queries = parts[index]->queries();
        Joined joined(queries.size(), attention.values.columns);
        for (; index < pieces.size() && pieces[index].first == task; index++) joined.add(*parts[index]);
        joined.write(queries);
    }
}

inline void attend(const Attention& attention) {
    const std::vector<Task> tasks = tasks_of(attention);
    if (products_of(attention) < SMALL) {
        for (const Task& task : tasks) attend(attention, task);
    } else if (tasks.size() < size_t(4 * tbb::this_task_arena::max_concurrency())) {
        attend_in_parts(attention, tasks);
    } else {
        in_parallel(tasks.size(), [&](size_t index) { attend(attention, tasks[index]); });
    }
}

}  // namespace crossette
