// The gradients of a depthwise convolution, of its input and of its weight in one pass.
//
// Feature maps are images x rows x columns x C elements, channels last; the weight and its gradient are K x K x C
// floats. A row of a few channels is computed in the first-level cache. Sums over an image run in single precision, row
// by row, sums over images in double precision. Threads take equal shares of the rows in a fixed order, so the same
// number of threads gives the same bits.

#include <algorithm>
#include <vector>

#include "element.h"

namespace {

struct Shape {
    Index images, rows, columns, out_rows, out_columns, C, padding;
};

// Columns of a row with its padding, and as many as the last outputs need.
template <int K, int S> INLINE Index padded_columns(const Shape &shape) {
    return std::max(shape.padding + shape.columns, (shape.out_columns + (K - 1) / S) * S + K);
}

// Computes dx of one row of an image and adds to dweight: `count` channels, whose first are at the pointers. The
// padding of `values` is zero.
template <typename T, int K, int S, typename Count>
INLINE void add_row(const Shape &shape, Index row, Count count, const T *x, const T *grad, const float *weight, T *dx,
                    float *dweight, float *values, float *sums) {
    const Index C = shape.C, padding = shape.padding, width = padded_columns<K, S>(shape);
    std::fill(sums, sums + width * LANES, 0.0f);
    for (Index column = 0; column < shape.columns; column++)
        store(values + (padding + column) * LANES, load(x + column * C, count));
    for (int i = 0; i < K; i++) {
        const Index from_top = row + padding - i;
        if (from_top < 0 || from_top % S || from_top / S >= shape.out_rows) continue;
        const T *grad_row = grad + from_top / S * shape.out_columns * C;
        Floats w[K], dw[K], pending[K] = {};  // sums of the columns that the next output reaches too
        for (int j = 0; j < K; j++) {
            w[j] = load(weight + (i * K + j) * C, count);
            dw[j] = Floats{};
        }
        for (Index out = 0; out <= shape.out_columns + (K - 1) / S; out++) {
            const Floats g = out < shape.out_columns ? load(grad_row + out * C, count) : Floats{};
            const float *value = values + out * S * LANES;
            float *sum = sums + out * S * LANES;
            #pragma GCC unroll 8
            for (int j = 0; j < K; j++) {
                dw[j] += g * load(value + j * LANES);
                pending[j] += g * w[j];
            }
            #pragma GCC unroll 8
            for (int j = 0; j < S; j++) store(sum + j * LANES, load(sum + j * LANES) + pending[j]);
            #pragma GCC unroll 8
            for (int j = 0; j < K; j++) pending[j] = j + S < K ? pending[j + S] : Floats{};
        }
        for (int j = 0; j < K; j++) {
            float *sum = dweight + (i * K + j) * C;
            store(sum, load(sum, count) + dw[j], count);
        }
    }
    for (Index column = 0; column < shape.columns; column++)
        store(dx + column * C, load(sums + (padding + column) * LANES), count);
}

template <typename T, int K, int S>
void backward(const Shape &shape, const T *x, const T *grad, const float *weight, T *dx, float *dweight, int threads) {
    const Index C = shape.C, rows = shape.images * shape.rows, taps = K * K * C;
    std::vector<double> all(threads * taps, 0.0);
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        const Index width = padded_columns<K, S>(shape), end = rows * (thread + 1) / threads;
        std::vector<float> values(width * LANES), sums(width * LANES), image_dweight(taps);
        for (Index index = rows * thread / threads; index < end; index++) {
            const Index image = index / shape.rows, row = index % shape.rows, start = index * shape.columns * C;
            const T *grad_image = grad + image * shape.out_rows * shape.out_columns * C;
            const auto add = [&](Index channel, auto count) __attribute__((always_inline)) {
                add_row<T, K, S>(shape, row, count, x + start + channel, grad_image + channel, weight + channel,
                                 dx + start + channel, image_dweight.data() + channel, values.data(), sums.data());
            };
            Index channel = 0;
            for (; channel + LANES <= C; channel += LANES) add(channel, ALL);
            if (channel < C) add(channel, C - channel);
            if (row + 1 == shape.rows || index + 1 == end) {
                for (Index tap = 0; tap < taps; tap++) all[thread * taps + tap] += image_dweight[tap];
                std::fill(image_dweight.begin(), image_dweight.end(), 0.0f);
            }
        }
    }
    for (Index tap = 0; tap < taps; tap++) {
        double total = 0;
        for (int thread = 0; thread < threads; thread++) total += all[thread * taps + tap];
        dweight[tap] = total;
    }
}

}  // namespace

extern "C" {

// Writes dx and dweight for kernels of 3 or 5 and strides of 1 or 2.
void depthwise_backward(int element, int kernel, int stride, const void *x, const void *grad, const float *weight,
                        void *dx, float *dweight, Index images, Index rows, Index columns, Index out_rows,
                        Index out_columns, Index C, Index padding, int threads) {
    const Shape shape{images, rows, columns, out_rows, out_columns, C, padding};
    with_element(element, [&](auto zero) {
        using T = decltype(zero);
        const auto run = kernel == 3 ? (stride == 1 ? backward<T, 3, 1> : backward<T, 3, 2>)
                                     : (stride == 1 ? backward<T, 5, 1> : backward<T, 5, 2>);
        run(shape, static_cast<const T *>(x), static_cast<const T *>(grad), weight, static_cast<T *>(dx), dweight,
            threads);
    });
}

}
