// The scales of a matrix's groups, and the offsets: what belongs to a zero in memory. They take a tenth to a third of
// the bytes of a matrix, so the smallest form that has all of them is used.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "source.hpp"
#include "vector.hpp"

namespace crossette {

constexpr size_t SPAN = 256;  // columns with the same factor
constexpr size_t MOST_GROUPS = SPAN / 16;  // of a span

enum class Form {
    FLOATS,
    HALVES,
    FACTORS,  // integers of 8 bits, and a half for each span that all of its integers are multiplied by
};

// Numbers of the groups of a span as products.
struct Factors {
    Half factor;
    std::array<int8_t, MOST_GROUPS> integers;
};

// Whether a number is that, or some last digits of f32 away, if it is a rounded product: `tolerance` is relative.
inline bool is_close(float value, float number, float tolerance) {
    return std::abs(value - number) <= tolerance * std::abs(number);
}

// `count` numbers as products; none if they have no such form. The largest has one of 128 integers, so all are tried:
// first those that the quantisers of K-quants give it.
inline std::optional<Factors> factors_of(const float* numbers, size_t count, float tolerance) {
    float largest = 0;
    for (size_t at = 0; at < count; at++)
        if (!(std::abs(numbers[at]) <= std::abs(largest))) largest = numbers[at];
    if (largest == 0) return Factors{};
    const auto with = [&](int integer) -> std::optional<Factors> {
        Factors result{to_half(largest / static_cast<float>(integer)), {}};
        const float factor = to_float(result.factor);
        if (!is_close(static_cast<float>(integer) * factor, largest, tolerance)) return {};
        for (size_t at = 0; at < count; at++) {
            const float rounded = std::nearbyint(numbers[at] / factor);
            if (!(rounded >= -128 && rounded <= 127) || !is_close(rounded * factor, numbers[at], tolerance)) return {};
            result.integers[at] = static_cast<int8_t>(rounded);
        }
        return result;
    };
    for (const int integer : {-128, 63})
        if (auto result = with(integer)) return result;
    for (int integer = 127; integer > 0; integer--)
        if (auto result = with(integer)) return result;
    return {};
}

class Numbers {
    const Source& _source;
    const int32_t _lowest;

public:
    Numbers(const Source& source, int32_t lowest)
        : _source(source),
          _lowest(lowest),
          has_offsets(needs_offsets(source, lowest)),
          zero_point(has_offsets ? 0 : static_cast<int32_t>(source.zero_point(0)) - lowest),
          form(are_factors() ? Form::FACTORS : are_halves() ? Form::HALVES : Form::FLOATS) {}

    float scale(size_t number) const { return _source.scales[number]; }
    float offset(size_t number) const {
        return -((_source.zero_point(number) - static_cast<float>(_lowest)) * _source.scales[number]);
    }

    Factors scale_factors(size_t first, size_t count) const {
        return factors_of(_source.scales + first, count, EXACT).value();
    }
    Factors offset_factors(size_t first, size_t count) const {
        return factors_of(offsets(first, count).data(), count, ROUNDED).value();
    }

    const bool has_offsets;    // for groups with zero points of their own, or one that is no small integer
    const int32_t zero_point;  // of all groups, without offsets
    const Form form;

private:
    static constexpr float EXACT = 0, ROUNDED = 0x1p-22f;  // of a file's number: an offset here is a product
    static constexpr size_t PART = 1 << 14;

    static bool needs_offsets(const Source& source, int32_t lowest) {
        if (!source.zero_points || !source.one_zero_point) return source.zero_points;
        const float zero_point = source.zero_point(0) - static_cast<float>(lowest);
        return std::trunc(zero_point) != zero_point || std::abs(zero_point) > 256;
    }

    std::array<float, MOST_GROUPS> offsets(size_t first, size_t count) const {
        std::array<float, MOST_GROUPS> result{};
        for (size_t at = 0; at < count; at++) result[at] = offset(first + at);
        return result;
    }

    bool are_factors() const {
        const size_t groups = _source.columns / _source.group, most = SPAN / _source.group;
        return holds_for_all(_source.outputs, 1, [&](size_t output, size_t) {
            for (size_t group = 0; group < groups; group += most) {
                const size_t first = output * groups + group, count = std::min(most, groups - group);
                if (!factors_of(_source.scales + first, count, EXACT)) return false;
                if (has_offsets && !factors_of(offsets(first, count).data(), count, ROUNDED)) return false;
            }
            return true;
        });
    }

    bool are_halves() const {
        const auto is_half = [](float number, float tolerance) {
            return is_close(to_float(to_half(number)), number, tolerance);
        };
        return holds_for_all(_source.groups(), PART, [&](size_t begin, size_t end) {
            for (size_t number = begin; number < end; number++)
                if (!is_half(scale(number), EXACT) || (has_offsets && !is_half(offset(number), ROUNDED))) return false;
            return true;
        });
    }
};

}  // namespace crossette
