/* exp, GELU and log from arithmetic alone: no libm, so the same bits on every machine with FMA.
 *
 * v_exp: Cody-Waite reduction by ln 2 and the Cephes degree-5 polynomial; relative error below 2e-7 for -87.3 <= x <= 88.3.
 * Below that range the result is 0, above it that of 88.3. NaN stays NaN.
 * GELU is the tanh form, written with a sigmoid: x * s(2u), u = sqrt(2/pi) (x + 0.044715 x^3); error below 5e-7 absolute.
 */
INLINE vf v_exp(vf x) {
    const vf magic = v_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer kept in the low bits */
    vi in_range = (vi)(x > v_set(-87.3f)), not_a_number = (vi)(x != x);
    vf clamped = v_max(v_set(-87.3f), v_min(v_set(88.3f), x));
    vf shifted = v_fma(clamped, v_set(1.44269504088896341f), magic);
    vf n = shifted - magic;
    vf r = v_fma(n, v_set(-0.693359375f), clamped);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vf p = v_set(1.9875691500e-4f);
    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + v_set(1.0f);
    const vi scaled = (vi)((vu)p + ((vu)shifted << 23)); /* unsigned, so that NaN cannot overflow */
    return (vf)((scaled & in_range) | ((vi)x & not_a_number));
}

/* 2^x for -126 <= x <= 127, by a minimax polynomial of degree 5 that is exactly 1 at 0; relative error below 2e-7. */
INLINE vf v_exp2(vf x) {
    const vf magic = v_set(12582912.0f);
    vf shifted = x + magic, r = x - (shifted - magic);
    vf p = v_set(0.0013264724984765053f);
    p = v_fma(p, r, v_set(0.009671512991189957f));
    p = v_fma(p, r, v_set(0.05550733581185341f));
    p = v_fma(p, r, v_set(0.24022242426872253f));
    p = v_fma(p, r, v_set(0.6931470036506653f));
    p = v_fma(p, r, v_set(1.0f));
    return (vf)((vu)p + ((vu)shifted << 23));
}

#define GELU_SCALE 1.5957691216057308f /* 2 sqrt(2/pi) */
#define GELU_CUBIC 0.044715f
#define LOG2_E 1.4426950408889634f

/* gelu(x) = x s, and *derivative = s + x s (1 - s) 2 du/dx. Beyond |x| = 9 the sigmoid is 0 or 1 to the last bit.
 * One exponential gives both, so the forward pass keeps the derivative for the backward pass rather than x. */
INLINE vf v_gelu(vf x, vf *derivative) {
    const vf lowest = v_max(v_set(-9.0f), x), bounded = v_min(v_set(9.0f), lowest), square = bounded * bounded;
    const vf slope = v_fma(square, v_set(3.0f * GELU_SCALE * GELU_CUBIC), v_set(GELU_SCALE));
    const vf exponent = bounded * v_fma(square, v_set(-LOG2_E * GELU_SCALE * GELU_CUBIC), v_set(-LOG2_E * GELU_SCALE));
    const vf s = v_set(1.0f) / (v_set(1.0f) + v_exp2(exponent)), value = lowest * s;
    *derivative = v_fma(value * (v_set(1.0f) - s), slope, s);
    return value;
}

/* Natural logarithm of a positive normal number, in double: atanh series on the mantissa, error below 1e-13. */
INLINE double scalar_log(double x) {
    union { double value; uint64_t bits; } u = {x};
    int64_t exponent = (int64_t)(u.bits >> 52) - 1023;
    u.bits = (u.bits & 0xfffffffffffffull) | 0x3ff0000000000000ull;
    if (u.value > 1.4142135623730951) { u.value *= 0.5; exponent += 1; }
    double s = (u.value - 1.0) / (u.value + 1.0), s2 = s * s, sum = 0.0;
    for (int k = 17; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
    return (double)exponent * 0.6931471805599453 + 2.0 * s * sum;
}
