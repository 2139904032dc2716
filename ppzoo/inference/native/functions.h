/* Elementary functions of D within about one unit in the last place.

   Arguments are reduced as in W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980); the
   polynomials are Chebyshev fits of the remainders, made with 60 digits. What is rare (infinities, NaN, numbers near the
   ends of the range) is mended lane by lane, out of line: a lane's result never depends on its neighbours. */

#define SHIFTER 0x1.8p52 /* adding it leaves the nearest integer in the low bits */
#define LN2_HIGH 0x1.62e42fefa3800p-1 /* its last eleven bits are zero: multiples are exact */
#define LN2_LOW 0x1.ef35793c76730p-45

/* 2^n for the n that lies in the low bits of k, -1022 <= n <= 1023 */
INLINE D power_of_two(I k) { return (D)((k + 1023) << 52); }
/* a small integer as a double */
INLINE D small_i_to_d(I k) { return value(k + bits(splat_d(SHIFTER))) - SHIFTER; }

/* exp(r) - 1 - r - r^2 / 2 over r^3, |r| <= log(2) / 2 */
INLINE D exp_tail(D r) {
  D p = r * 0x1.1f66df7fca49fp-29 + 0x1.af38a9b0ec855p-26;
  p = p * r + 0x1.27e4e1f48534fp-22;
  p = p * r + 0x1.71de0dae63bb3p-19;
  p = p * r + 0x1.a01a01a47b054p-16;
  p = p * r + 0x1.a01a01a7c41d5p-13;
  p = p * r + 0x1.6c16c16c167e1p-10;
  p = p * r + 0x1.11111111109b3p-7;
  p = p * r + 0x1.5555555555555p-5;
  return p * r + 0x1.5555555555556p-3;
}

/* x = n log 2 + r; the shifted n and r */
INLINE D exp_reduce(D x, D *r) {
  D shifted = x * 0x1.71547652b82fep0 + SHIFTER;
  D n = shifted - SHIFTER;
  *r = (x - n * LN2_HIGH) - n * LN2_LOW;
  return shifted;
}

/* exp(r), |r| <= log(2) / 2 */
INLINE D exp_reduced(D r) { return 1.0 + (r + r * r * (0.5 + r * exp_tail(r))); }

RARE D exp_rare(D x) {
  D r;
  x = pick_d(x > 710.0, splat_d(710.0), x);
  x = pick_d(x < -746.0, splat_d(-746.0), x);
  I n = bits(exp_reduce(x, &r)) - bits(splat_d(SHIFTER)), half = n >> 1;
  return exp_reduced(r) * power_of_two(half) * power_of_two(n - half); /* 2^n alone may leave the range */
}

INLINE D exp_d(D x) {
  D r, n = exp_reduce(x, &r);
  D y = value(bits(exp_reduced(r)) + (bits(n) << 52));
  I rare = ~(abs_d(x) < 700.0);
  if (any(rare)) y = pick_d(rare, exp_rare(x), y);
  return y;
}
NARROW(exp)

INLINE D expm1_d(D x) {
  D r;
  D c = pick_d(x > 710.0, splat_d(710.0), x);
  c = pick_d(c < -40.0, splat_d(-40.0), c);
  I n = bits(exp_reduce(c, &r)) - bits(splat_d(SHIFTER));
  D p = r + r * r * (0.5 + r * exp_tail(r));
  I half = n >> 1;
  D s = power_of_two(half), t = power_of_two(n - half);
  return pick_d(x == 0.0, x, (s * p + (s - power_of_two(half - n))) * t);
}
NARROW(expm1)

/* log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)], less f */
INLINE D log1p_rest(D f) {
  D s = f / (2.0 + f), z = s * s;
  D p = z * 0x1.0c0aff044a970p-3 + 0x1.0fbde0f4ad17bp-3;
  p = p * z + 0x1.3b1c3c1c81c8fp-3;
  p = p * z + 0x1.745cf8e4bba1bp-3;
  p = p * z + 0x1.c71c7201a55d7p-3;
  p = p * z + 0x1.2492492476a1ap-2;
  p = p * z + 0x1.9999999999a39p-2;
  p = p * z + 0x1.5555555555555p-1;
  D half = 0.5 * f * f;
  return s * (half + p * z) - half;
}

/* x = 2^n (1 + f), x positive and normal */
INLINE D log_reduce(D x, I *n) {
  I k = (bits(x) - bits(splat_d(0x1.6a09e667f3bcdp-1))) >> 52;
  *n = k;
  return (D)(bits(x) - (k << 52)) - 1.0;
}

/* n log 2 + log(1 + f) */
INLINE D log_sum(D n, D f) { return n * LN2_HIGH + (f + (log1p_rest(f) + n * LN2_LOW)); }

RARE D log_rare(D x) {
  I k;
  D f = log_reduce(x * 0x1p54, &k);
  D r = log_sum(small_i_to_d(k - 54), f);
  r = pick_d(x == INFINITY, x, r);
  r = pick_d(x == 0.0, splat_d(-INFINITY), r);
  return pick_d((x < 0.0) | (x != x), splat_d(NAN), r);
}

INLINE D log_d(D x) {
  I k, rare = ~((x >= 0x1p-1022) & (x < INFINITY));
  D f = log_reduce(x, &k);
  D r = log_sum(small_i_to_d(k), f);
  if (any(rare)) r = pick_d(rare, log_rare(x), r);
  return r;
}
NARROW(log)

RARE D log1p_rare(D x) { return pick_d(x == -1.0, splat_d(-INFINITY), pick_d(x == INFINITY, x, splat_d(NAN))); }

/* 1 + f is 1 + x over 2^n, with what rounding took from 1 + x */
INLINE D log1p_d(D x) {
  D u = 1.0 + x;
  I k, rare = ~((x > -1.0) & (x < INFINITY));
  D f = log_reduce(u, &k) + (x - (u - 1.0)) * power_of_two(-k);
  D r = log_sum(small_i_to_d(k), f);
  if (any(rare)) r = pick_d(rare, log1p_rare(x), r);
  return r;
}
NARROW(log1p)

/* log of a product, factor by factor: the product's fraction, its power of two, and the logs of what is rare */
typedef struct { D fraction, rest; I power; } LOG;
INLINE LOG log_of_one(void) { return (LOG){splat_d(1.0), splat_d(0.0), splat_i(0)}; }
INLINE LOG log_times(LOG s, D x) {
  I rare = ~((x >= 0x1p-1000) & (x <= 0x1p1000));
  if (any(rare)) {
    s.rest += pick_d(rare, log_d(x), splat_d(0.0));
    x = pick_d(rare, splat_d(1.0), x);
  }
  D p = s.fraction * x;
  I n = (bits(p) - bits(splat_d(1.0))) >> 52;
  s.power += n;
  s.fraction = (D)(bits(p) - (n << 52));
  return s;
}
INLINE D log_of(LOG s) {
  D n = small_i_to_d(s.power);
  return s.rest + (n * LN2_HIGH + (log_d(s.fraction) + n * LN2_LOW));
}

INLINE D log2_d(D x) { return log_d(x) * 0x1.71547652b82fep0; }
NARROW(log2)
INLINE D log10_d(D x) { return log_d(x) * 0x1.bcb7b1526e50ep-2; }
NARROW(log10)
INLINE D exp2_d(D x) {
  x = pick_d(x > 1100.0, splat_d(1100.0), x);
  x = pick_d(x < -1100.0, splat_d(-1100.0), x);
  D n = rint_d(x), r = (x - n) * 0x1.62e42fefa39efp-1;
  I k = bits(n + SHIFTER) - bits(splat_d(SHIFTER)), half = k >> 1;
  D p = 1.0 + (r + r * r * (0.5 + r * exp_tail(r)));
  return p * power_of_two(half) * power_of_two(k - half);
}
NARROW(exp2)

INLINE D sigmoid_d(D x) { return 1.0 / (1.0 + exp_d(-x)); }
NARROW(sigmoid)

INLINE D tanh_d(D x) {
  D t = expm1_d(-2.0 * abs_d(x));
  return copysign_d(-t / (2.0 + t), x);
}
NARROW(tanh)

/* x = n pi / 2 + r; what is too large for that, and infinities, go to libm */
#define TRIGONOMETRIC(name, shift) \
  static D name##_d(D x) { \
    D n = rint_d(x * 0x1.45f306dc9c883p-1); \
    D r = ((x - n * 0x1.921fb54400000p0) - n * 0x1.0b4611a600000p-34) - n * 0x1.3198a2e037073p-69; \
    I q = bits(n + SHIFTER) + shift; \
    D z = r * r; \
    D s = z * -0x1.ab16f5caa192ap-41 + 0x1.61217d9252c03p-33; \
    s = s * z - 0x1.ae645410e937bp-26; \
    s = s * z + 0x1.71de3a545f836p-19; \
    s = s * z - 0x1.a01a01a01992fp-13; \
    s = s * z + 0x1.1111111111110p-7; \
    s = s * z - 0x1.5555555555555p-3; \
    s = r + r * z * s; \
    D c = z * 0x1.ab77954ff6a6dp-45 - 0x1.9394b8bd4f084p-37; \
    c = c * z + 0x1.1eed8deac3deap-29; \
    c = c * z - 0x1.27e4fb77125c5p-22; \
    c = c * z + 0x1.a01a01a019d06p-16; \
    c = c * z - 0x1.6c16c16c16c16p-10; \
    c = c * z + 0x1.5555555555555p-5; \
    D half = 0.5 * z, one = 1.0 - half; \
    c = one + (((1.0 - one) - half) + z * z * c); \
    D y = pick_d((q & 1) != 0, c, s); \
    y = (D)(bits(y) ^ ((q & 2) << 62)); \
    I large = ~(abs_d(x) < 0x1p20); \
    if (any(large)) EACH if (large[l]) y[l] = name(x[l]); \
    return y; \
  } \
  NARROW(name)
TRIGONOMETRIC(sin, 0)
TRIGONOMETRIC(cos, 1)
INLINE D tan_d(D x) { return sin_d(x) / cos_d(x); }
NARROW(tan)

/* x^y by the logarithm in two parts; the cases of IEEE 754 */
static D pow_d(D x, D y) {
  D b = abs_d(x);
  I k, tiny = b < 0x1p-1022;
  D f = log_reduce(pick_d(tiny, b * 0x1p54, b), &k);
  D n = small_i_to_d(k - (tiny & 54));
  D a = n * LN2_HIGH, rest = log1p_rest(f) + n * LN2_LOW;
  D u = a + f, lower = (a - (u - (u - a))) + (f - (u - a));
  D high = u + (rest + lower), low = (u - high) + (rest + lower);
  I plain = (b > 0.0) & (b < INFINITY);
  high = pick_d(plain, high, log_d(b));
  D h = value(bits(high) & ~0x7ffffffLL), g = value(bits(y) & ~0x7ffffffLL);
  D t = g * h, e = g * (high - h) + (y - g) * high + y * low; /* y high = t + e, t exact */
  I finite = plain & (abs_d(y * high) < 1e5);
  D r = exp_d(pick_d(finite, t, y * high)) * pick_d(finite, 1.0 + e * (1.0 + e * (0.5 + e * (1.0 / 6.0))), splat_d(1.0));
  I whole = rint_d(y) == y, odd = whole & (abs_d(y) < 0x1p53) & (rint_d(0.5 * y) != 0.5 * y);
  r = pick_d(odd, copysign_d(r, x), r);
  r = pick_d((x < 0.0) & (b < INFINITY) & ~whole, splat_d(NAN), r);
  return pick_d((x == 1.0) | (y == 0.0) | ((x == -1.0) & (abs_d(y) == INFINITY)), splat_d(1.0), r);
}
NARROW2(pow)

static void running_logsumexp_d(D *restrict y, const D *restrict x, long outer, long n, long inner) {
  for (long o = 0; o < outer; o++) for (long j = 0; j < inner; j++) {
    D r = splat_d(-INFINITY);
    for (long k = 0; k < n; k++) {
      D v = x[(o * n + k) * inner + j], m = max_d(r, v);
      r = pick_d(abs_d(m) == INFINITY, m, m + log1p_d(exp_d(-abs_d(r - v))));
      y[(o * n + k) * inner + j] = r;
    }
  }
}

/* the sign of the divisor, as in Python; fmod is exact in libm */
static D fmod_d(D x, D y) { D r; EACH r[l] = fmod(x[l], y[l]); return r; }
INLINE D remainder_d(D x, D y) {
  D r = fmod_d(x, y);
  return pick_d((r != 0.0) & ((r < 0.0) != (y < 0.0)), r + y, r);
}
INLINE D floor_quotient_d(D x, D y) {
  D r = fmod_d(x, y), q = (x - r) / y;
  q = q - truth_d((r != 0.0) & ((r < 0.0) != (y < 0.0)));
  D f = floor_d(q);
  f = f + truth_d(q - f > 0.5);
  return pick_d(y == 0.0, x / y, pick_d(q == 0.0, copysign_d(splat_d(0.0), x / y), f));
}
SCALAR(asin) SCALAR(acos) SCALAR(atan) SCALAR(sinh) SCALAR(cosh) SCALAR(asinh) SCALAR(acosh) SCALAR(atanh)
SCALAR2(atan2) SCALAR2(hypot)
NARROW2(fmod) NARROW2(remainder) NARROW2(floor_quotient)

/* integers: division rounds down or towards zero; by zero it is zero, where torch stops with an error */
INLINE I quotient_i(I x, I y) { I r; EACH r[l] = y[l] == 0 ? 0 : y[l] == -1 ? -(uint64_t)x[l] : x[l] / y[l]; return r; }
INLINE I fmod_i(I x, I y) { return x - quotient_i(x, y) * y; }
INLINE I remainder_i(I x, I y) {
  I r = fmod_i(x, y);
  return r + (y & ((r != 0) & ((r ^ y) < 0)));
}
INLINE I floor_quotient_i(I x, I y) { return quotient_i(x - remainder_i(x, y), y); }
