// The two passes over memory of squeeze-and-excitation: sums over an image's pixels, and scaling every pixel.
//
// A feature map is images x pixels x C elements, channels last; sums, gates and offsets are floats. Sums run in single
// precision, block by block, in an order that does not depend on the number of threads.

#include <algorithm>
#include <vector>

#include "element.h"

namespace {

// Calls `call(c, count)` for the channels of a pixel, LANES at a time.
template <typename Call> INLINE void for_channels(Index C, Call call) {
    Index c = 0;
    for (; c + LANES <= C; c += LANES) call(c, ALL);
    if (c < C) call(c, C - c);
}

template <typename T>
void sum_pixels(const T *x, const T *y, float *out, Index images, Index pixels, Index C, int threads) {
    constexpr Index BLOCK = 64, UNROLLED = 4;  // pixels; sums stay in registers for some of them
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (Index image = 0; image < images; image++) {
        std::vector<float> block_sums(C);
        float *total = out + image * C, *sums = block_sums.data();
        std::fill(total, total + C, 0.0f);
        const auto add = [&](Index pixel, Index unrolled) __attribute__((always_inline)) {
            for_channels(C, [=](Index c, auto count) __attribute__((always_inline)) {
                Floats s = load(sums + c, count);
                for (Index k = 0; k < unrolled; k++) {
                    const Index at = (image * pixels + pixel + k) * C + c;
                    s += y ? load(x + at, count) * load(y + at, count) : load(x + at, count);
                }
                store(sums + c, s, count);
            });
        };
        for (Index pixel = 0; pixel < pixels;) {
            const Index stop = std::min(pixel + BLOCK, pixels);
            for (; pixel + UNROLLED <= stop; pixel += UNROLLED) add(pixel, UNROLLED);
            for (; pixel < stop; pixel++) add(pixel, 1);
            for (Index c = 0; c < C; c++) total[c] += sums[c];
            std::fill(block_sums.begin(), block_sums.end(), 0.0f);
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
            for_channels(C, [=](Index c, auto count) __attribute__((always_inline)) {
                store(out + start + c, load(x + start + c, count) * load(g + c, count) + load(o + c, count), count);
            });
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
