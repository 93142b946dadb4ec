// BatchNorm with its activation, forward and backward, in as few passes over memory as they need.
//
// A feature map is `rows` x C floats, channels last; `rows` counts the pixels of all images. Sums run in single
// precision over blocks that stay in the first-level cache, and in double precision over the blocks. Threads take
// equal shares of the rows in a fixed order, so the same number of threads gives the same bits.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using Index = int64_t;
enum Activation { NONE, RELU, SILU };

#define INLINE inline __attribute__((always_inline))

// Cephes' polynomial: plain arithmetic that compilers vectorise; the relative error is below 2e-7.
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float n = std::floor(x * 1.44269504f + 0.5f);
    const float f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * f * f + f + 1.0f;
    const int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

INLINE float sigmoid(float y) { return 1.0f / (1.0f + exponential(-y)); }

template <int kind> INLINE float activate(float y) {
    return kind == SILU ? y * sigmoid(y) : kind == RELU ? (y < 0 ? 0 : y) : y;
}

template <int kind> INLINE float slope(float y) {
    if (kind == NONE) return 1;
    if (kind == RELU) return y > 0 ? 1.0f : 0.0f;
    const float s = sigmoid(y);
    return s * (1 + y * (1 - s));
}

// out[0:C] and out[C:2C]: the sums over rows of two values that `add(row, s, q)` adds to s and q.
template <typename Add> void two_sums(Index rows, Index C, int threads, double *out, Add add) {
    const Index block = std::max<Index>(8, 4096 / C);
    std::vector<double> all(threads * 2 * C, 0.0);
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        double *total = all.data() + thread * 2 * C;
        std::vector<float> block_sums(2 * C);
        const Index end = rows * (thread + 1) / threads;
        for (Index first = rows * thread / threads; first < end; first += block) {
            std::fill(block_sums.begin(), block_sums.end(), 0.0f);
            for (Index row = first; row < std::min(first + block, end); row++)
                add(row, block_sums.data(), block_sums.data() + C);
            for (Index c = 0; c < 2 * C; c++) total[c] += block_sums[c];
        }
    }
    for (Index c = 0; c < 2 * C; c++) {
        out[c] = 0;
        for (int thread = 0; thread < threads; thread++) out[c] += all[thread * 2 * C + c];
    }
}

template <int kind>
void forward(const float *x, float *z, Index rows, Index C, int threads, const float *scale, const float *shift) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (Index row = 0; row < rows; row++) {
        const float *in = x + row * C;
        float *out = z + row * C;
        #pragma omp simd
        for (Index c = 0; c < C; c++) out[c] = activate<kind>(in[c] * scale[c] + shift[c]);
    }
}

template <int kind>
void backward(const float *x, const float *dz, float *dx, Index rows, Index C, int threads, const float *saved,
              float *dweight, float *dbias) {
    const float *scale = saved, *shift = saved + C, *mean = saved + 2 * C, *inverse = saved + 3 * C;
    std::vector<double> sums(2 * C);
    two_sums(rows, C, threads, sums.data(), [=](Index row, float *s, float *q) {
        const float *in = x + row * C, *grad = dz + row * C;
        #pragma omp simd
        for (Index c = 0; c < C; c++) {
            const float dy = grad[c] * slope<kind>(in[c] * scale[c] + shift[c]);
            s[c] += dy;
            q[c] += dy * (in[c] - mean[c]);
        }
    });
    std::vector<float> linear(C), constant(C);
    for (Index c = 0; c < C; c++) {
        const double dw = sums[C + c] * inverse[c], k = -scale[c] * dw * inverse[c] / rows;
        dweight[c] = dw;
        dbias[c] = sums[c];
        linear[c] = k;
        constant[c] = -scale[c] * sums[c] / rows - k * mean[c];
    }
    const float *k1 = linear.data(), *k0 = constant.data();
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (Index row = 0; row < rows; row++) {
        const float *in = x + row * C, *grad = dz + row * C;
        float *out = dx + row * C;
        #pragma omp simd
        for (Index c = 0; c < C; c++)
            out[c] = scale[c] * grad[c] * slope<kind>(in[c] * scale[c] + shift[c]) + k1[c] * in[c] + k0[c];
    }
}

}  // namespace

extern "C" {

// z = activation(BatchNorm(x)) by the statistics of this batch; the running statistics move towards them.
// `saved` is 4 x C: scale, shift, mean, 1 / standard deviation.
void batch_norm_forward(int kind, const float *x, float *z, Index rows, Index C, int threads, const float *weight,
                        const float *bias, float *running_mean, float *running_var, double momentum, double eps,
                        float *saved) {
    std::vector<double> sums(2 * C);
    // Sums of x minus its first row, so that the square of a large mean does not swallow the variance.
    two_sums(rows, C, threads, sums.data(), [=](Index row, float *s, float *q) {
        const float *in = x + row * C;
        #pragma omp simd
        for (Index c = 0; c < C; c++) {
            const float d = in[c] - x[c];
            s[c] += d;
            q[c] += d * d;
        }
    });
    float *scale = saved, *shift = saved + C, *mean = saved + 2 * C, *inverse = saved + 3 * C;
    for (Index c = 0; c < C; c++) {
        const double d = sums[c] / rows, m = x[c] + d, v = sums[C + c] / rows - d * d, variance = v < 0 ? 0 : v;
        mean[c] = m;
        inverse[c] = 1 / std::sqrt(variance + eps);
        scale[c] = weight[c] * inverse[c];
        shift[c] = bias[c] - m * scale[c];
        running_mean[c] += momentum * (m - running_mean[c]);
        running_var[c] += momentum * (variance * rows / std::max<Index>(rows - 1, 1) - running_var[c]);
    }
    if (kind == SILU) forward<SILU>(x, z, rows, C, threads, scale, shift);
    else if (kind == RELU) forward<RELU>(x, z, rows, C, threads, scale, shift);
    else forward<NONE>(x, z, rows, C, threads, scale, shift);
}

void batch_norm_backward(int kind, const float *x, const float *dz, float *dx, Index rows, Index C, int threads,
                         const float *saved, float *dweight, float *dbias) {
    if (kind == SILU) backward<SILU>(x, dz, dx, rows, C, threads, saved, dweight, dbias);
    else if (kind == RELU) backward<RELU>(x, dz, dx, rows, C, threads, saved, dweight, dbias);
    else backward<NONE>(x, dz, dx, rows, C, threads, saved, dweight, dbias);
}

}
