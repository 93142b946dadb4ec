// An element of a feature map: a float, or a bfloat16 that is computed with as a float.

#pragma once

#include <cstdint>
#include <cstring>

#define INLINE inline __attribute__((always_inline))

using Index = int64_t;

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

INLINE float widen(float x) { return x; }
INLINE float widen(BFloat16 x) { return bits_as<float>(uint32_t(x.bits) << 16); }

template <typename T> T narrow(float x);

template <> INLINE float narrow<float>(float x) { return x; }

// Rounds to the nearest, ties to even; NaN stays NaN.
template <> INLINE BFloat16 narrow<BFloat16>(float x) {
    const uint32_t bits = bits_as<uint32_t>(x);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return {uint16_t(x == x ? rounded : 0x7fc0)};
}

// Calls `call` with a value of the elements' type: 0 is float, 1 is bfloat16.
template <typename Call> void with_element(int type, Call call) {
    if (type == 1) call(BFloat16{});
    else call(float{});
}
