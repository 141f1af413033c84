// Print the most f32 operations per second, in thousand millions, of as many threads as the argument says: independent
// multiply-adds of vectors in registers, so nothing waits for memory or for an earlier result.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int LANES = 16, SUMS = 24;
#else
constexpr int LANES = 8, SUMS = 12;
#endif
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));

constexpr long REPEATS = 20'000'000;

static float run() {
    Floats sums[SUMS];
    for (int index = 0; index < SUMS; index++) sums[index] = Floats{} + static_cast<float>(index);
    const Floats factor = Floats{} + 0.999f, term = Floats{} + 0.001f;
    for (long repeat = 0; repeat < REPEATS; repeat++)
        _Pragma("GCC unroll 32") for (auto& sum : sums) sum = sum * factor + term;
    float result = 0;
    for (const auto& sum : sums) result += sum[0];
    return result;
}

int main(int, char** arguments) {
    std::vector<std::thread> threads(std::atoi(arguments[1]));
    std::atomic<float> result = 0;
    const auto begun = std::chrono::steady_clock::now();
    for (auto& thread : threads) thread = std::thread([&] { result = run(); });
    for (auto& thread : threads) thread.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
    std::printf("%.1f\n", 2.0 * LANES * SUMS * REPEATS * threads.size() / seconds.count() / 1e9);
    return result == 0;
}
