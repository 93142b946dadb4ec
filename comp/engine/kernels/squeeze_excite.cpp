// The two passes over memory of squeeze-and-excitation: sums over an image's pixels, and scaling every pixel.
//
// A feature map is images x pixels x C elements, channels last; sums, gates and offsets are floats. Sums run in single
// precision, block by block, in an order that does not depend on the number of threads.

#include <algorithm>
#include <vector>

#include "element.h"

namespace {

template <typename T>
void sum_pixels(const T *x, const T *y, float *out, Index images, Index pixels, Index C, int threads) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (Index image = 0; image < images; image++) {
        const Index block = std::max<Index>(8, 4096 / C);
        std::vector<float> block_sums(C);
        float *total = out + image * C, *s = block_sums.data();
        std::fill(total, total + C, 0.0f);
        for (Index first = 0; first < pixels; first += block) {
            std::fill(block_sums.begin(), block_sums.end(), 0.0f);
            for (Index pixel = first; pixel < std::min(first + block, pixels); pixel++) {
                const T *in = x + (image * pixels + pixel) * C, *factor = y + (image * pixels + pixel) * C;
                if (y) {
                    #pragma omp simd
                    for (Index c = 0; c < C; c++) s[c] += widen(in[c]) * widen(factor[c]);
                } else {
                    #pragma omp simd
                    for (Index c = 0; c < C; c++) s[c] += widen(in[c]);
                }
            }
            for (Index c = 0; c < C; c++) total[c] += s[c];
        }
    }
}

template <typename T>
void scale_pixels(const T *x, const float *gate, const float *offset, T *out, Index images, Index pixels, Index C,
                  int threads) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (Index image = 0; image < images; image++) {
        const float *g = gate + image * C, *o = offset + image * C;
        for (Index pixel = 0; pixel < pixels; pixel++) {
            const Index start = (image * pixels + pixel) * C;
            #pragma omp simd
            for (Index c = 0; c < C; c++) out[start + c] = narrow<T>(widen(x[start + c]) * g[c] + o[c]);
        }
    }
}

}  // namespace

extern "C" {

// Writes for each image and channel the sum over its pixels of x, or of x * y if y is given.
void pixel_sums(int element, const void *x, const void *y, float *out, Index images, Index pixels, Index C,
                int threads) {
    with_element(element, [&](auto zero) {
        using T = decltype(zero);
        sum_pixels(static_cast<const T *>(x), static_cast<const T *>(y), out, images, pixels, C, threads);
    });
}

// out = x * gate + offset, with one gate and one offset for each image and channel.
void gate_pixels(int element, const void *x, const float *gate, const float *offset, void *out, Index images,
                 Index pixels, Index C, int threads) {
    with_element(element, [&](auto zero) {
        using T = decltype(zero);
        scale_pixels(static_cast<const T *>(x), gate, offset, static_cast<T *>(out), images, pixels, C, threads);
    });
}

}
