// Memory for matrices.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>

namespace crossette {

constexpr size_t CACHE_LINE = 64;
constexpr size_t LARGE_PAGE = 1 << 21;

// Memory in large pages, where the system has them, for many matrices: a page of the usual size has few rows of one,
// and each next page costs a wait. It is returned when the last of its matrices is freed, so that one that is larger
// than a region for many has one of its own.
class Region {
public:
    static std::shared_ptr<uint8_t> allocate(size_t size) {
        static std::mutex mutex;
        static std::weak_ptr<Region> last;
        const std::lock_guard lock(mutex);
        size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
        auto region = last.lock();
        if (!region || region->_used + size > region->_size) {
            region = std::make_shared<Region>(size);
            if (size <= SIZE) last = region;
        }
        uint8_t* data = region->_data + region->_used;
        region->_used += size;
        return {region, data};
    }

    explicit Region(size_t size) : _size(std::max(SIZE, (size + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE)) {
        _data = static_cast<uint8_t*>(std::aligned_alloc(LARGE_PAGE, _size));
        if (!_data) throw std::bad_alloc();
        madvise(_data, _size, MADV_HUGEPAGE);
    }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;
    ~Region() { std::free(_data); }

private:
    static constexpr size_t SIZE = 32 * LARGE_PAGE;
    const size_t _size;
    uint8_t* _data;
    size_t _used = 0;
};

}  // namespace crossette
