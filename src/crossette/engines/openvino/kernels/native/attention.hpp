// Attention of queries to the keys and values of a paged cache in 8 bits.
//
// The softmax and the sums of floats are computed for a partition of a context at a time, and these are joined in their
// order. So the numbers of a query depend on its position and on the cache alone, whatever else a step has.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <tbb/task_arena.h>

#include "partition.hpp"
#include "team.hpp"

namespace crossette {

constexpr size_t TASK_ROWS = 32;           // most queries of a task, which share unpacked keys and values
constexpr size_t SMALL = size_t(1) << 18;  // products, up to which one thread computes them sooner than several
constexpr size_t FEW_TOKENS = 8;           // the same of tokens that are stored
constexpr size_t PIECES = 16;              // partitions for each thread, whose scores are in memory, if tasks are whole

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
        store(values, power_of_two(broadcast(difference)));
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
        if (count < FEW_TOKENS)
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

// The same with a thread for each partition: some at a time, as each has memory for all scores of its queries.
inline void attend_in_parts(const Attention& attention, const std::vector<Task>& tasks) {
    std::vector<Joined> joined;
    std::vector<std::pair<size_t, size_t>> pieces;  // a task, and a partition
    size_t rows = 1;                                // of the largest task
    for (size_t task = 0; task < tasks.size(); task++) {
        const std::vector<Query> queries = queries_of(attention, tasks[task]);
        joined.emplace_back(queries.size(), attention.values.columns);
        rows = std::max(rows, queries.size());
        const Range range = partitions_of(queries);
        for (size_t partition = range.begin; partition < range.end; partition++) pieces.push_back({task, partition});
    }
    const size_t most = PIECES * tbb::this_task_arena::max_concurrency() * TASK_ROWS / rows;
    for (size_t begin = 0; begin < pieces.size(); begin += most) {
        std::vector<std::unique_ptr<Partition>> parts(std::min(most, pieces.size() - begin));
        in_parallel(parts.size(), [&](size_t index) {
            const auto [task, partition] = pieces[begin + index];
            parts[index] = std::make_unique<Partition>(attention, tasks[task]);
            parts[index]->compute(partition);
        });
        for (size_t index = 0; index < parts.size(); index++) joined[pieces[begin + index].first].add(*parts[index]);
    }
    for (size_t task = 0; task < tasks.size(); task++) joined[task].write(queries_of(attention, tasks[task]));
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
