// The two passes over memory of squeeze-and-excitation: sums over an image's pixels, and scaling every pixel.
//
// A feature map is images x pixels x C floats, channels last. Sums run in single precision, block by block, in an
// order that does not depend on the number of threads.

#include <algorithm>
#include <cstdint>
#include <vector>

using Index = int64_t;

extern "C" {

// Writes for each image and channel the sum over its pixels of x, or of x * y if y is given.
void pixel_sums(const float *x, const float *y, float *out, Index images, Index pixels, Index C, int threads) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (Index image = 0; image < images; image++) {
        const Index block = std::max<Index>(8, 4096 / C);
        std::vector<float> block_sums(C);
        float *total = out + image * C;
        std::fill(total, total + C, 0.0f);
        for (Index first = 0; first < pixels; first += block) {
            std::fill(block_sums.begin(), block_sums.end(), 0.0f);
            for (Index pixel = first; pixel < std::min(first + block, pixels); pixel++) {
                const Index at = (image * pixels + pixel) * C;
                float *s = block_sums.data();
                if (y) {
                    #pragma omp simd
                    for (Index c = 0; c < C; c++) s[c] += x[at + c] * y[at + c];
                } else {
                    #pragma omp simd
                    for (Index c = 0; c < C; c++) s[c] += x[at + c];
                }
            }
            for (Index c = 0; c < C; c++) total[c] += block_sums[c];
        }
    }
}

// out = x * gate + offset, with one gate and one offset for each image and channel.
void gate_pixels(const float *x, const float *gate, const float *offset, float *out, Index images, Index pixels,
                 Index C, int threads) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (Index image = 0; image < images; image++) {
        const float *g = gate + image * C, *o = offset + image * C;
        for (Index pixel = 0; pixel < pixels; pixel++) {
            const Index at = (image * pixels + pixel) * C;
            #pragma omp simd
            for (Index c = 0; c < C; c++) out[at + c] = x[at + c] * g[c] + o[c];
        }
    }
}

}
