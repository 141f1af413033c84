// Threads that compute a step together. TBB's threads sleep between two loops, and waking one takes longer than a small
// product: these wait actively until the step ends.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

namespace crossette {

// Of the thread that makes it, and helpers as TBB has threads for them: it needs none of them.
class Team {
public:
    Team() : _before(current()), _size(tbb::this_task_arena::max_concurrency()) {
        current() = this;
        for (size_t helper = 1; helper < _size; helper++) _helpers.run([this] { help(); });
    }
    ~Team() {
        _ends.store(true, std::memory_order_release);
        _helpers.wait();
        current() = _before;
    }
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    // The team that this thread has made; null for none.
    static Team*& current() {
        thread_local Team* team = nullptr;
        return team;
    }

    // Call `task(index)` for all indices below `count`, by all threads. Throws what a task throws, if all are done.
    template <class Task>
    void run(size_t count, const Task& task) {
        _call.store([](const void* context, size_t index) { (*static_cast<const Task*>(context))(index); },
                    std::memory_order_release);
        _context.store(&task, std::memory_order_release);
        _count.store(count, std::memory_order_release);
        _done.store(0, std::memory_order_relaxed);
        _ticket.store(++_number << 32, std::memory_order_release);
        while (claim()) {}
        for (size_t tries = 0; _done.load(std::memory_order_acquire) < count; tries++) wait(tries);
        _ticket.store(_number << 32 | CLOSED, std::memory_order_release);
        if (_error) std::rethrow_exception(std::exchange(_error, nullptr));
    }

private:
    static constexpr uint64_t CLOSED = 0xffffffff;
    static constexpr size_t PATIENCE = 1 << 12;  // tries, after which others may have this core

    static void wait(size_t tries) {
        if (tries < PATIENCE) _mm_pause();
        else std::this_thread::yield();
    }

    void help() {
        for (size_t tries = 0; !_ends.load(std::memory_order_acquire); tries++) {
            if (claim()) tries = 0;
            else wait(tries);
        }
    }

    // Compute the next tasks, if some are left: adjacent ones, which use the same memory, and fewer towards the end, so
    // that all threads end together. A ticket has the number of the loop and the index of the next task. What is read
    // after it belongs to the same loop if the ticket can be exchanged: until then a task of the loop is left.
    bool claim() {
        uint64_t ticket = _ticket.load(std::memory_order_acquire);
        const size_t index = ticket & CLOSED;
        const size_t count = _count.load(std::memory_order_acquire);
        if (index >= count) return false;
        const size_t taken = (count - index - 1) / (2 * _size) + 1;
        const auto call = _call.load(std::memory_order_acquire);
        const void* context = _context.load(std::memory_order_acquire);
        if (!_ticket.compare_exchange_strong(ticket, ticket + taken, std::memory_order_acq_rel)) return true;
        try {
            for (size_t task = index; task < index + taken; task++) call(context, task);
        } catch (...) {
            const std::lock_guard lock(_mutex);
            _error = std::current_exception();
        }
        _done.fetch_add(taken, std::memory_order_acq_rel);
        return true;
    }

    Team* const _before;
    const size_t _size;
    alignas(64) std::atomic<uint64_t> _ticket{CLOSED};
    alignas(64) std::atomic<size_t> _done{0};
    alignas(64) std::atomic<void (*)(const void*, size_t)> _call{nullptr};
    std::atomic<const void*> _context{nullptr};
    std::atomic<size_t> _count{0};
    std::atomic<bool> _ends{false};
    uint64_t _number = 0;
    std::mutex _mutex;
    std::exception_ptr _error;
    tbb::task_group _helpers;
};

// Call `task(index)` for all indices below `count`.
template <class Task>
void in_parallel(size_t count, const Task& task) {
    if (count == 1) task(size_t(0));
    else if (Team* team = Team::current()) team->run(count, task);
    else tbb::parallel_for(size_t(0), count, task);
}

}  // namespace crossette
