/* Special functions of D, without branches.

   The error functions follow M. M. Shepherd and J. G. Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc x
   in 0 <= x < infinity (1981, https://doi.org/10.1090/S0025-5718-1981-0595058-X), erfinv the choice of variable of
   M. Giles, Approximating the erfinv function (2012), the gamma functions the recurrence and Stirling's series. The
   tables are Chebyshev fits made with 80 digits, highest power first. */

static const double ERFCX_TABLE[] = { /* (1 + 2x) exp(x^2) erfc(x) in t = (x - 4) / (x + 4), 0 <= x */
  -0x1.2feb115e10ff8p-32, 0x1.ff247156a53a2p-31, 0x1.bc41def3d5cc5p-29, -0x1.a7f4a11380e73p-27,
  -0x1.64110b1736fb3p-26, 0x1.c8a212189b424p-24, 0x1.4dcd6b6d85452p-24, -0x1.b8ce493292da5p-21,
  0x1.393f4d359a7fdp-22, 0x1.7ef644c7815aap-18, -0x1.7884d2487d5efp-17, -0x1.99537515467bep-16,
  0x1.3be0432bfa860p-13, -0x1.a1df5e81f57b4p-13, -0x1.8d4a9a6465372p-11, 0x1.49c672e199469p-8,
  -0x1.09623884747dbp-6, 0x1.3079edf5181dfp-5, -0x1.0fb06dfe4c6c0p-4, 0x1.7fee004e1eefep-4,
  -0x1.9ddb23c3e8f13p-4, 0x1.16ecefcfa4d10p-4, 0x1.f7f5df66fd797p-7, -0x1.1df1ad154a286p-3,
  0x1.3ba5916e9fd7fp+0,
};
static const double ERF_TABLE[] = { /* erf(x) / x in x^2, |x| <= 0.65 */
  -0x1.2299dc42a208cp-23, 0x1.b34c5b0844608p-20, -0x1.f46b0efed5333p-17, 0x1.f99f4f9891c32p-14,
  -0x1.c02d9d4a134bbp-11, 0x1.565bccbc7feafp-8, -0x1.b82ce31134daap-6, 0x1.ce2f21a03ff16p-4,
  -0x1.812746b0379c2p-2, 0x1.20dd750429b6dp+0,
};
static const double LGAMMA_TABLE[] = { /* log gamma(2 + u) / u, |u| <= 1/2 */
  0x1.1202b863e338cp-24, -0x1.20127e82f4768p-23, 0x1.b4066c098fb6cp-23, -0x1.ce12af00e4f79p-22,
  0x1.012051494aa26p-20, -0x1.12772d45ac738p-19, 0x1.258f2ca3bcc29p-18, -0x1.3cb3ba5715e12p-17,
  0x1.580e0b1ae0848p-16, -0x1.78de9ad95f7eep-15, 0x1.a127afedacc07p-14, -0x1.d3fd4b66ed372p-13,
  0x1.0b36af877ab9ap-11, -0x1.38ac5c2d491b3p-10, 0x1.7add6eadb5302p-9, -0x1.e404fc218db98p-8,
  0x1.51322ac7d848ap-6, -0x1.13e001a55760ap-4, 0x1.4a34cc4a60fa6p-2, 0x1.b0ee6072093cep-2,
};
static const double ERFINV_CENTRE[] = { /* erfinv(x) / x in w - 3.125, w = -log(1 - x^2) <= 6.25 */
  0x1.e9b8ae7230c25p-69, -0x1.5087a244b0f6cp-70, -0x1.9d290dd3bcb70p-62, 0x1.536d397f9b9b1p-60,
  0x1.1f4ba5de5dc3fp-56, -0x1.2c266176e7096p-53, -0x1.73898c37dc54ap-55, 0x1.db523eb040288p-48,
  -0x1.686642b67610ap-45, -0x1.6d9ec5e3ec6afp-44, 0x1.723527b7cff86p-39, -0x1.c89564c5d1004p-37,
  -0x1.dc3ee8b6c53ccp-35, 0x1.20f4e6bf074cfp-30, -0x1.1a9eb1bc8f0f0p-28, -0x1.f36ce4ae847fdp-26,
  0x1.c6b4f890935ddp-22, -0x1.6e8a53f106129p-20, -0x1.d1d1f7ca4030fp-17, 0x1.879c2a20da432p-13,
  -0x1.84576948353e1p-11, -0x1.8b6c33114eeaep-8, 0x1.ebd80d9b13df9p-3, 0x1.a755e7c99ae86p+0,
};
static const double ERFINV_MIDDLE[] = { /* in sqrt(w) - 3.25, w <= 16 */
  -0x1.03765b5ec5c93p-26, 0x1.7f235c757454ep-31, 0x1.1969ef2a93940p-23, -0x1.235ac6aaf025ep-22,
  -0x1.cfedcff902170p-26, 0x1.924ec74d8058bp-20, -0x1.0b8068913d37bp-18, 0x1.88af4a1d56a98p-19,
  0x1.a242f876789c6p-17, -0x1.8cf0bea0971c6p-15, 0x1.1e6ab36be6c27p-14, 0x1.932d7684a6a52p-16,
  -0x1.7448bc8217f18p-12, 0x1.f3cc552091e2bp-11, -0x1.ba9240d9b7431p-10, 0x1.468eeca71fc73p-9,
  -0x1.ebadabb9fd945p-9, 0x1.5ffcfe5b71831p-8, 0x1.0158a6d641d54p+0, 0x1.8abcc380d5a48p+1,
};
static const double ERFINV_TAIL[] = { /* in sqrt(w) - 5, w <= 37.5 */
  0x1.51db238b0e44dp-38, -0x1.65ec66245bd52p-36, 0x1.5f86060d27f2bp-36, 0x1.3117adae2b06bp-34,
  -0x1.ae7f6f3984502p-32, 0x1.69d6672c05292p-30, -0x1.e4123a199e0ebp-29, 0x1.0cbae28a4a14fp-27,
  -0x1.0581c527ebd37p-26, 0x1.f28a4643c7f25p-26, -0x1.2235714cf6bcap-24, 0x1.ebe31533dc774p-23,
  -0x1.0a903eceb3291p-20, 0x1.2fbcfd90b1bd2p-18, -0x1.4a34902d0f84fp-16, 0x1.3ebf4efb0fc3ep-14,
  -0x1.c2f36aa186842p-13, -0x1.22ea5df1cbcf4p-13, 0x1.02a30d1fba10cp+0, 0x1.3664ddd1ad7fbp+2,
};

INLINE D polynomial(D x, const double *c, int n) {
  D p = splat_d(c[0]);
  for (int k = 1; k < n; k++) p = p * x + c[k];
  return p;
}
#define POLYNOMIAL(x, table) polynomial(x, table, sizeof(table) / sizeof(double))

/* exp(x^2) erfc(x), 0 <= x */
INLINE D erfcx_positive(D x) {
  D t = (x - 4.0) / (x + 4.0);
  return POLYNOMIAL(t, ERFCX_TABLE) / (1.0 + 2.0 * x);
}

/* exp(-x^2): the square of x without its low half is exact */
INLINE D exp_minus_square(D x) {
  D h = value(bits(x) & ~0x7ffffffLL), d = (h - x) * (h + x);
  return exp_d(-h * h) * (1.0 + d * (1.0 + d * (0.5 + d * (1.0 / 6.0))));
}

/* exp(x^2) erfc(x): below zero by reflection, 2 exp(x^2) less the value at -x */
static D erfcx_d(D x) {
  D y = abs_d(x), r = erfcx_positive(min_d(y, splat_d(1e300)));
  I negative = x < 0.0;
  if (any(negative)) {
    D h = value(bits(y) & ~0x7ffffffLL), low = (y - h) * (y + h);
    D square = exp_d(h * h) * (1.0 + low * (1.0 + low * (0.5 + low * (1.0 / 6.0))));
    r = pick_d(negative, pick_d(y > 30.0, splat_d(INFINITY), 2.0 * square - r), r);
  }
  return pick_d(x != x, x, r);
}
NARROW(erfcx)

static D erfc_d(D x) {
  D y = abs_d(x), clipped = min_d(y, splat_d(30.0));
  D tail = exp_minus_square(clipped) * erfcx_positive(clipped);
  D small = 1.0 - x * POLYNOMIAL(x * x, ERF_TABLE);
  return pick_d(y < 0.5, small, pick_d(x < 0.0, 2.0 - tail, tail));
}
NARROW(erfc)

static D erf_d(D x) {
  D y = abs_d(x), clipped = min_d(y, splat_d(30.0));
  D tail = 1.0 - exp_minus_square(clipped) * erfcx_positive(clipped);
  return pick_d(y < 0.65, x * POLYNOMIAL(x * x, ERF_TABLE), copysign_d(tail, x));
}
NARROW(erf)

static D erfinv_d(D x) {
  D w = -log_d((1.0 - x) * (1.0 + x)), s = sqrt_d(w);
  D p = POLYNOMIAL(w - 3.125, ERFINV_CENTRE);
  p = pick_d(w > 6.25, POLYNOMIAL(s - 3.25, ERFINV_MIDDLE), p);
  p = pick_d(w > 16.0, POLYNOMIAL(s - 5.0, ERFINV_TAIL), p);
  p = pick_d(abs_d(x) == 1.0, splat_d(INFINITY), p);
  return p * x;
}
NARROW(erfinv)

#define PI 0x1.921fb54442d18p1

/* Stirling's series: log gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2, x >= 12 */
INLINE D stirling(D x) {
  D r = 1.0 / x, z = r * r;
  D p = z * -0x1.e4286cb0f5398p-6 + 0x1.a41a41a41a41ap-8;
  p = p * z + -0x1.f6ab0d9993c7dp-10;
  p = p * z + 0x1.b951e2b18ff23p-11;
  p = p * z + -0x1.3813813813814p-11;
  p = p * z + 0x1.a01a01a01a01ap-11;
  p = p * z + -0x1.6c16c16c16c17p-9;
  return r * (p * z + 0x1.5555555555555p-4);
}

/* log gamma(x), 0 < x: a fit around 2, where recurrence brings what is below 12; Stirling's series beyond */
INLINE D lgamma_positive(D x) {
  D t = x, p = splat_d(1.0);
  for (int k = 0; k < 10; k++) { /* x = t (t + 1) ... */
    I m = (t >= 2.5) & (x < 12.0);
    t = pick_d(m, t - 1.0, t);
    p = pick_d(m, p * t, p);
  }
  for (int k = 0; k < 2; k++) {
    I m = t < 1.5;
    p = pick_d(m, p * t, p);
    t = pick_d(m, t + 1.0, t);
  }
  I large = x >= 12.0, small = x < 1.5;
  D u = t - 2.0, l = log_d(pick_d(large, x, p));
  D fit = u * POLYNOMIAL(u, LGAMMA_TABLE);
  D series = (x - 0.5) * l - x + (0x1.d67f1c864beb5p-1 + stirling(x));
  D r = pick_d(large, series, pick_d(small, fit - l, fit + l));
  return pick_d(x == INFINITY, x, r);
}

/* below zero by reflection: gamma(x) gamma(-x) = -pi / (x sin(pi x)) */
static D lgamma_d(D x) {
  D r = lgamma_positive(abs_d(x));
  if (any(x < 0.0)) {
    D f = abs_d(x - rint_d(x));
    D reflected = log_d(PI / (abs_d(x) * sin_d(PI * f))) - r;
    reflected = pick_d(abs_d(x) == INFINITY, splat_d(INFINITY), reflected);
    r = pick_d(x < 0.0, reflected, r);
  }
  return pick_d(x == 0.0, splat_d(INFINITY), r);
}
NARROW(lgamma)

/* x below 10 is raised by recurrence; what that takes off is a sum of fractions, kept over one denominator */
INLINE D digamma_positive(D x) {
  D n = splat_d(0.0), d = splat_d(1.0), t = x;
  for (int k = 0; k < 10; k++) {
    I m = t < 10.0;
    n = pick_d(m, n * t + d, n);
    d = pick_d(m, d * t, d);
    t = pick_d(m, t + 1.0, t);
  }
  D r = 1.0 / t, z = r * r;
  D p = z * -0x1.c5e5e5e5e5e5ep-2 + 0x1.5555555555555p-4;
  p = p * z + -0x1.5995995995996p-6;
  p = p * z + 0x1.f07c1f07c1f08p-8;
  p = p * z + -0x1.1111111111111p-8;
  p = p * z + 0x1.0410410410410p-8;
  p = p * z + -0x1.1111111111111p-7;
  p = p * z + 0x1.5555555555555p-4;
  return log_d(t) - 0.5 * r - z * p - n / d;
}

/* psi(x) = psi(1 - x) - pi / tan(pi x) below zero; at zero and the negative integers as in torch */
static D digamma_d(D x) {
  I below = x < 0.0;
  D y = pick_d(below, 1.0 - x, x), r = digamma_positive(y);
  r = pick_d(y == INFINITY, y, r);
  if (any(below)) {
    D f = x - rint_d(x), reflected = r - PI * cos_d(PI * f) / sin_d(PI * f);
    r = pick_d(below, pick_d((f == 0.0) | (x == -INFINITY), splat_d(NAN), reflected), r);
  }
  return pick_d(x == 0.0, copysign_d(splat_d(INFINITY), -x), r);
}
NARROW(digamma)

static D trigamma_d(D x) {
  I below = x < 0.5;
  D y = pick_d(below, 1.0 - x, x), n = splat_d(0.0), d = splat_d(1.0), t = y;
  for (int k = 0; k < 10; k++) {
    I m = t < 10.0;
    D q = t * t;
    n = pick_d(m, n * q + d, n);
    d = pick_d(m, d * q, d);
    t = pick_d(m, t + 1.0, t);
  }
  D r = 1.0 / t, z = r * r;
  D p = z * -0x1.c5e5e5e5e5e5ep2 + 0x1.2aaaaaaaaaaabp0;
  p = p * z + -0x1.0330330330330p-2;
  p = p * z + 0x1.364d9364d9365p-4;
  p = p * z + -0x1.1111111111111p-5;
  p = p * z + 0x1.8618618618618p-6;
  p = p * z + -0x1.1111111111111p-5;
  p = p * z + 0x1.5555555555555p-3;
  D s = r + z * (0.5 + r * p) + n / d;
  if (any(below)) {
    D f = sin_d(PI * (x - rint_d(x)));
    s = pick_d(below, (PI / f) * (PI / f) - s, s);
  }
  return s;
}
NARROW(trigamma)
