// BatchNorm with its activation, forward and backward, in as few passes over memory as they need.
//
// A feature map is `rows` x C elements, channels last; `rows` counts the pixels of all images. Sums run in single
// precision over blocks of rows, and in double precision over the blocks. Threads take equal shares of the rows in a
// fixed order, so the same number of threads gives the same bits.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "element.h"

namespace {

enum Activation { NONE, RELU, SILU, HARDSWISH, GELU };

// x between low and high; NaN stays NaN.
INLINE Floats clamp(Floats x, float low, float high) {
    const Floats lows = low - Floats{}, highs = high - Floats{};
    x = x < lows ? lows : x;
    return x > highs ? highs : x;
}

// 1 / x within 2e-7 for x from 1 to 2^127.
INLINE Floats reciprocal(Floats x) {
#ifdef __AVX512F__
    const Floats r = bits_as<Floats>(_mm512_rcp14_ps(bits_as<__m512>(x)));  // within 2^-14; a division takes 10 cycles
    return r * (2 - x * r);
#else
    return 1 / x;
#endif
}

// e^x within 6e-7 for x from -87 to 87: 2^(whole part) goes into the exponent, a polynomial gives 2^(the rest).
INLINE Floats exponential(Floats x) {
    constexpr float round = 0x1.8p23f;  // a float of this size has no fraction: its last bits hold the whole part
    const Floats t = clamp(x * 1.44269504f, -126.0f, 126.0f), whole = t + round, f = t - (whole - round);
    Floats p = 1.3264727214e-3f - Floats{};
    p = p * f + 9.6715128125e-3f;
    p = p * f + 5.5507337448e-2f;
    p = p * f + 2.4022242083e-1f;
    p = p * f + 6.9314697760e-1f;
    p = p * f + 1.0f;
    return bits_as<Floats>(bits_as<Ints>(p) + (bits_as<Ints>(whole) << 23));
}

// The cumulative normal distribution and its density at x: Abramowitz and Stegun 7.1.26, within 1.5e-7.
INLINE Floats normal_cdf(Floats x, Floats *density) {
    const Floats z = (x < 0 ? -x : x) * 0.70710678f, t = reciprocal(1 + 0.3275911f * z), e = exponential(-z * z);
    Floats p = 1.061405429f - Floats{};
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    *density = e * 0.39894228f;
    const Floats tail = 0.5f * p * t * e;
    return x < 0 ? tail : 1 - tail;
}

// 1 / (1 + e^-y); for maps of bfloat16 within 2e-4 of its value, by half as many instructions: they round to 2e-3.
template <typename T> INLINE Floats sigmoid(Floats y) {
#ifdef __AVX512F__
    if (std::is_same<T, BFloat16>::value) {
        const Floats t = y * -1.44269504f, whole = bits_as<Floats>(_mm512_roundscale_ps(bits_as<__m512>(t), 0));
        const Floats f = t - whole, p = ((5.517166e-2f * f + 2.4261112e-1f) * f + 6.9326099e-1f) * f + 9.9992807e-1f;
        const Floats d = 1 + bits_as<Floats>(_mm512_scalef_ps(bits_as<__m512>(p), bits_as<__m512>(whole)));
        return bits_as<Floats>(_mm512_rcp14_ps(bits_as<__m512>(d)));
    }
#endif
    return reciprocal(1 + exponential(-y));
}

template <typename T, int kind> INLINE Floats activate(Floats y) {
    Floats density;
    switch (kind) {
        case RELU: return y < 0 ? Floats{} : y;
        case SILU: return y * sigmoid<T>(y);
        case HARDSWISH: return y * clamp(y + 3, 0, 6) * (1 / 6.0f);
        case GELU: return y * normal_cdf(y, &density);
        default: return y;
    }
}

template <typename T, int kind> INLINE Floats slope(Floats y) {
    Floats density, s;
    switch (kind) {
        case RELU: return y > 0 ? 1 - Floats{} : Floats{};
        case SILU: s = sigmoid<T>(y); return s + y * s * (1 - s);
        case HARDSWISH: return y < -3 ? Floats{} : y < 3 ? y * (1 / 3.0f) + 0.5f : 1 - Floats{};
        case GELU: s = normal_cdf(y, &density); return s + y * density;
        default: return 1 - Floats{};
    }
}

// Calls `call` with the activation as a constant of its type.
template <typename Call> void with_activation(int kind, Call call) {
    switch (kind) {
        case RELU: return call(std::integral_constant<int, RELU>{});
        case SILU: return call(std::integral_constant<int, SILU>{});
        case HARDSWISH: return call(std::integral_constant<int, HARDSWISH>{});
        case GELU: return call(std::integral_constant<int, GELU>{});
        default: return call(std::integral_constant<int, NONE>{});
    }
}

// A feature map as `lines` of `width` elements: as many rows in each as fill whole vectors. `rest` elements remain.
struct Lines {
    Index lines, width, rest;

    Lines(Index rows, Index C) : width(std::lcm(C, LANES)) {
        lines = rows * C / width;
        rest = rows * C % width;
    }
};

// The values of C channels, repeated along a line.
std::vector<float> repeat(const float *values, Index C, const Lines &map) {
    std::vector<float> out(map.width);
    for (Index i = 0; i < map.width; i++) out[i] = values[i % C];
    return out;
}

// Calls `call(at, i, count)` for every vector of a feature map: its first element, the same in its line, its length.
template <typename Call> void for_each_vector(const Lines &map, int threads, Call call) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (Index line = 0; line < map.lines; line++)
        for (Index i = 0; i < map.width; i += LANES) call(line * map.width + i, i, ALL);
    for (Index i = 0; i < map.rest; i += LANES) call(map.lines * map.width + i, i, std::min(map.rest - i, LANES));
}

// out[0:C] and out[C:2C]: the sums over rows of two values that `add(at, i, count, s, q)` adds to s and q.
template <typename Add> void two_sums(const Lines &map, Index C, int threads, double *out, Add add) {
    constexpr Index BLOCK = 64, UNROLLED = 4;  // lines; sums stay in registers for some of them
    const Index width = map.width;
    std::vector<double> all(threads * 2 * width, 0.0);
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        double *total = all.data() + thread * 2 * width;
        std::vector<float> block_sums(2 * width);
        float *sums = block_sums.data(), *squares = sums + width;
        const auto add_vectors = [&](Index at, Index i, Index lines, auto count) __attribute__((always_inline)) {
            Floats s = load(sums + i), q = load(squares + i);
            for (Index line = 0; line < lines; line++) add(at + line * width, i, count, s, q);
            store(sums + i, s);
            store(squares + i, q);
        };
        const auto end_block = [&] {
            for (Index i = 0; i < 2 * width; i++) total[i] += sums[i];
            std::fill(block_sums.begin(), block_sums.end(), 0.0f);
        };
        const Index end = map.lines * (thread + 1) / threads;
        for (Index line = map.lines * thread / threads; line < end;) {
            const Index stop = std::min(line + BLOCK, end);
            for (; line + UNROLLED <= stop; line += UNROLLED)
                for (Index i = 0; i < width; i += LANES) add_vectors(line * width + i, i, UNROLLED, ALL);
            for (; line < stop; line++)
                for (Index i = 0; i < width; i += LANES) add_vectors(line * width + i, i, 1, ALL);
            end_block();
        }
        if (thread + 1 == threads) {
            for (Index i = 0; i < map.rest; i += LANES)
                add_vectors(map.lines * width + i, i, 1, std::min(map.rest - i, LANES));
            end_block();
        }
    }
    std::fill(out, out + 2 * C, 0.0);
    for (int thread = 0; thread < threads; thread++)
        for (Index i = 0; i < 2 * width; i++) out[i < width ? i % C : C + i % C] += all[thread * 2 * width + i];
}

template <typename T, int kind>
void forward(const T *x, T *z, const Lines &map, Index C, int threads, const float *saved) {
    const std::vector<float> scales = repeat(saved, C, map), shifts = repeat(saved + C, C, map);
    const float *scale = scales.data(), *shift = shifts.data();
    for_each_vector(map, threads, [=](Index at, Index i, auto count) __attribute__((always_inline)) {
        store(z + at, activate<T, kind>(load(x + at, count) * load(scale + i) + load(shift + i)), count);
    });
}

template <typename T, int kind>
void backward(const T *x, const T *dz, T *dx, Index rows, Index C, int threads, const float *saved, float *dweight,
              float *dbias) {
    // The gradient before the activation waits in dx where reading it is cheaper than computing it again: in bfloat16.
    constexpr bool keep = std::is_same<T, BFloat16>::value && (kind == SILU || kind == GELU);
    const Lines map(rows, C);
    const std::vector<float> scales = repeat(saved, C, map), shifts = repeat(saved + C, C, map),
                             means = repeat(saved + 2 * C, C, map);
    const float *scale = scales.data(), *shift = shifts.data(), *mean = means.data(), *inverse = saved + 3 * C;
    std::vector<double> sums(2 * C);
    two_sums(map, C, threads, sums.data(),
             [=](Index at, Index i, auto count, Floats &s, Floats &q) __attribute__((always_inline)) {
        const Floats value = load(x + at, count);
        Floats dy = load(dz + at, count) * slope<T, kind>(value * load(scale + i) + load(shift + i));
        if (keep) {
            dy = widen(narrow(dy));  // as it will be read
            store(dx + at, dy, count);
        }
        s += dy;
        q += dy * (value - load(mean + i));
    });
    std::vector<float> linear(C), constant(C);
    for (Index c = 0; c < C; c++) {
        const double dw = sums[C + c] * inverse[c], k = -scale[c] * dw * inverse[c] / rows;
        dweight[c] = dw;
        dbias[c] = sums[c];
        linear[c] = k;
        constant[c] = -scale[c] * sums[c] / rows - k * mean[c];
    }
    const std::vector<float> linears = repeat(linear.data(), C, map), constants = repeat(constant.data(), C, map);
    const float *k1 = linears.data(), *k0 = constants.data();
    for_each_vector(map, threads, [=](Index at, Index i, auto count) __attribute__((always_inline)) {
        const Floats value = load(x + at, count), a = load(scale + i);
        const Floats dy = keep ? load(dx + at, count)
                               : load(dz + at, count) * slope<T, kind>(value * a + load(shift + i));
        store(dx + at, a * dy + load(k1 + i) * value + load(k0 + i), count);
    });
}

// Writes scale, shift, mean and 1 / standard deviation of the channels to `saved`, and moves the running statistics.
template <typename T>
void statistics(const T *x, Index rows, Index C, int threads, const float *weight, const float *bias,
                float *running_mean, float *running_var, double momentum, double eps, float *saved) {
    // Sums of x minus its first row, so that the square of a large mean does not swallow the variance.
    std::vector<float> first(C);
    for (Index c = 0; c < C; c++) first[c] = load(x + c, 1)[0];
    const Lines map(rows, C);
    const std::vector<float> origins = repeat(first.data(), C, map);
    const float *origin = origins.data();
    std::vector<double> sums(2 * C);
    two_sums(map, C, threads, sums.data(),
             [=](Index at, Index i, auto count, Floats &s, Floats &q) __attribute__((always_inline)) {
        const Floats d = load(x + at, count) - load(origin + i, count);
        s += d;
        q += d * d;
    });
    float *scale = saved, *shift = saved + C, *mean = saved + 2 * C, *inverse = saved + 3 * C;
    for (Index c = 0; c < C; c++) {
        const double d = sums[c] / rows, m = first[c] + d, v = sums[C + c] / rows - d * d, variance = v < 0 ? 0 : v;
        mean[c] = m;
        inverse[c] = 1 / std::sqrt(variance + eps);
        scale[c] = weight[c] * inverse[c];
        shift[c] = bias[c] - m * scale[c];
        running_mean[c] += momentum * (m - running_mean[c]);
        running_var[c] += momentum * (variance * rows / std::max<Index>(rows - 1, 1) - running_var[c]);
    }
}

}  // namespace

extern "C" {

// z = activation(BatchNorm(x)) by the statistics of this batch; the running statistics move towards them.
// `saved` is 4 x C: scale, shift, mean, 1 / standard deviation.
void batch_norm_forward(int element, int kind, const void *x, void *z, Index rows, Index C, int threads,
                        const float *weight, const float *bias, float *running_mean, float *running_var,
                        double momentum, double eps, float *saved) {
    with_element(element, [&](auto zero) {
        using T = decltype(zero);
        const T *in = static_cast<const T *>(x);
        statistics(in, rows, C, threads, weight, bias, running_mean, running_var, momentum, eps, saved);
        with_activation(kind, [&](auto activation) {
            forward<T, activation>(in, static_cast<T *>(z), Lines(rows, C), C, threads, saved);
        });
    });
}

void batch_norm_backward(int element, int kind, const void *x, const void *dz, void *dx, Index rows, Index C,
                         int threads, const float *saved, float *dweight, float *dbias) {
    with_element(element, [&](auto zero) {
        using T = decltype(zero);
        with_activation(kind, [&](auto activation) {
            backward<T, activation>(static_cast<const T *>(x), static_cast<const T *>(dz), static_cast<T *>(dx), rows,
                                    C, threads, saved, dweight, dbias);
        });
    });
}

}
