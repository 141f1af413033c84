// The activation between the products of a feed-forward network.
#pragma once

#include <algorithm>

#include "team.hpp"
#include "vector.hpp"

namespace crossette {

constexpr size_t ACTIVATED = 1 << 13;  // numbers of a task

// e^x within two units of the last place, for x from -87 to 88: 2^n times a polynomial in the rest, whose coefficients
// are those of Cephes' expf (S. Moshier, netlib.org/cephes).
inline Floats exponential(Floats x) {
    x = between(broadcast(-87.0f), x, broadcast(88.0f));
    const Integers n = to_integers(multiply(x, broadcast(1.44269504f)));
    Floats rest = multiply_add(to_floats(n), broadcast(-0.693359375f), x);
    rest = multiply_add(to_floats(n), broadcast(2.12194440e-4f), rest);
    Floats result = broadcast(1.9875691500e-4f);
    for (const float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f})
        result = multiply_add(result, rest, broadcast(coefficient));
    result = multiply_add(result, multiply(rest, rest), rest);
    result = add(result, broadcast(1.0f));
    return as_floats(sum(as_integers(result), shift_left<23>(n)));  // the exponent of a normal number
}

// 2^x within three units of the last place, for x up to 127; what is less than -126 counts as that. A polynomial with
// the least relative error for -1/2 to 1/2, and exactly 1 at 0.
inline Floats power_of_two(Floats x) {
    x = larger(broadcast(-126.0f), x);  // NaN stays NaN
    const Integers n = to_integers(x);
    const Floats rest = subtract(x, to_floats(n));
    Floats result = broadcast(1.3264726401e-3f);
    for (const float coefficient : {9.6715126970e-3f, 5.5507337459e-2f, 2.4022242084e-1f, 6.9314697760e-1f, 1.0f})
        result = multiply_add(result, rest, broadcast(coefficient));
    return as_floats(sum(as_integers(result), shift_left<23>(n)));  // the exponent of a normal number
}

// to = silu(gate) * up, or gelu(gate) * up in its tanh form: both are x / (1 + e^-y), of which y is x, or a polynomial
// of it. `count` is a multiple of LANES.
inline void activate(const float* gate, const float* up, float* to, size_t count, bool gelu = false) {
    const Floats one = broadcast(1.0f), cubed = broadcast(1.59576912f * 0.044715f), linear = broadcast(1.59576912f);
    in_parallel((count + ACTIVATED - 1) / ACTIVATED, [&](size_t task) {
        for (size_t at = task * ACTIVATED; at < std::min((task + 1) * ACTIVATED, count); at += LANES) {
            const Floats x = load(gate + at);
            const Floats y = gelu ? multiply(x, multiply_add(multiply(x, x), cubed, linear)) : x;
            const Floats below = multiply_add(exponential(multiply(y, broadcast(-1.0f))), one, one);
            store(to + at, multiply(divide(x, below), load(up + at)));
        }
    });
}

}  // namespace crossette
