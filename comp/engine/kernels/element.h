// An element of a feature map: a float, or a bfloat16 that is computed with as a float. And vectors of them.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#define INLINE inline __attribute__((always_inline))

using Index = int64_t;

#ifdef __AVX512F__
#include <immintrin.h>
constexpr Index LANES = 16;
#else
constexpr Index LANES = 8;
#endif

// LANES elements, and their bits. `count` below is that of the first elements that are in memory: the others are zero.
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Ints __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint32_t Words __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef uint16_t Halves __attribute__((vector_size(LANES * sizeof(uint16_t))));

// A count that the compiler knows.
constexpr std::integral_constant<Index, LANES> ALL{};

// The upper half of a float's bits.
struct BFloat16 {
    uint16_t bits;
};

template <typename To, typename From> INLINE To bits_as(From from) {
    To to;
    static_assert(sizeof to == sizeof from);
    std::memcpy(&to, &from, sizeof to);
    return to;
}

// Rounds to the nearest, ties to even; NaN stays NaN.
INLINE Halves narrow(Floats x) {
#if defined(__AVX512BF16__)
    return bits_as<Halves>(_mm512_cvtneps_pbh(bits_as<__m512>(x)));
#else
    const Words bits = bits_as<Words>(x), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return __builtin_convertvector(x == x ? rounded : 0x7fc0u - Words{}, Halves);
#endif
}

INLINE Floats widen(Halves x) { return bits_as<Floats>(__builtin_convertvector(x, Words) << 16); }

INLINE Floats load(const float *from, Index count = ALL) {
    Floats value{};
    std::memcpy(&value, from, count * sizeof *from);
    return value;
}

INLINE Floats load(const BFloat16 *from, Index count = ALL) {
    Halves halves{};
    std::memcpy(&halves, from, count * sizeof *from);
    return widen(halves);
}

INLINE void store(float *to, Floats value, Index count = ALL) { std::memcpy(to, &value, count * sizeof *to); }

INLINE void store(BFloat16 *to, Floats value, Index count = ALL) {
    const Halves halves = narrow(value);
    std::memcpy(to, &halves, count * sizeof *to);
}

// Calls `call` with a value of the elements' type: 0 is float, 1 is bfloat16.
template <typename Call> void with_element(int type, Call call) {
    if (type == 1) call(BFloat16{});
    else call(float{});
}
