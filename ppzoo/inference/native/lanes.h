/* LANES chains side by side: the types, and what every operation is made of.

   D, F and I hold one double, float or 64-bit integer for each lane. A truth is an I of 0 or -1, as comparisons give.
   The arithmetic is the compiler's own (vector extensions of GCC and Clang), so that no loop waits to be vectorised
   and a lane's result does not depend on how many lanes there are. */

#include <math.h>
#include <stdint.h>
#include <stddef.h>

typedef double D __attribute__((vector_size(8 * LANES), may_alias));
typedef float F __attribute__((vector_size(4 * LANES), may_alias));
typedef int64_t I __attribute__((vector_size(8 * LANES), may_alias));
typedef int32_t J __attribute__((vector_size(4 * LANES), may_alias));

#define EACH for (int l = 0; l < LANES; l++)
#define INLINE static inline __attribute__((always_inline))

INLINE D splat_d(double x) { D r; EACH r[l] = x; return r; }
INLINE F splat_f(float x) { F r; EACH r[l] = x; return r; }
INLINE I splat_i(int64_t x) { I r; EACH r[l] = x; return r; }

/* the bits of one as the other */
INLINE I bits(D x) { return (I)x; }
INLINE D value(I x) { return (D)x; }

INLINE D pick_d(I m, D a, D b) { return (D)((m & (I)a) | (~m & (I)b)); }
INLINE I pick_i(I m, I a, I b) { return (m & a) | (~m & b); }
INLINE F pick_f(I m, F a, F b) { J n = __builtin_convertvector(m, J); return (F)((n & (J)a) | (~n & (J)b)); }
#define MASK(comparison) __builtin_convertvector((comparison), I) /* of doubles, floats or integers */

INLINE D f_to_d(F x) { return __builtin_convertvector(x, D); }
INLINE F d_to_f(D x) { return __builtin_convertvector(x, F); }
INLINE D i_to_d(I x) { return __builtin_convertvector(x, D); }
INLINE F i_to_f(I x) { return __builtin_convertvector(x, F); }
INLINE I d_to_i(D x) { return __builtin_convertvector(x, I); }
INLINE I f_to_i(F x) { return __builtin_convertvector(x, I); }
INLINE D truth_d(I m) { return (D)(m & (I)splat_d(1.0)); }
INLINE F truth_f(I m) { return d_to_f(truth_d(m)); }

/* whether a truth holds in any lane: one instruction where there are mask registers */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
typedef long long MASK_LANES __attribute__((vector_size(8 * LANES)));
#if LANES == 8
INLINE int any(I m) { return __builtin_ia32_cvtq2mask512((MASK_LANES)m) != 0; }
#elif LANES == 4
INLINE int any(I m) { return __builtin_ia32_cvtq2mask256((MASK_LANES)m) != 0; }
#else
INLINE int any(I m) { return __builtin_ia32_cvtq2mask128((MASK_LANES)m) != 0; }
#endif
#else
INLINE int any(I m) { int64_t r = 0; EACH r |= m[l]; return r != 0; }
#endif
/* code that hardly ever runs, out of the way of the rest */
#define RARE static __attribute__((noinline, cold))

INLINE D abs_d(D x) { return (D)((I)x & INT64_MAX); }
INLINE F abs_f(F x) { return (F)((J)x & INT32_MAX); }
INLINE I abs_i(I x) { I s = x >> 63; return (x ^ s) - s; }
INLINE D copysign_d(D x, D s) { return (D)(((I)x & INT64_MAX) | ((I)s & INT64_MIN)); }
INLINE D sqrt_d(D x) { D r; EACH r[l] = __builtin_sqrt(x[l]); return r; }
INLINE F sqrt_f(F x) { F r; EACH r[l] = __builtin_sqrtf(x[l]); return r; }
INLINE D floor_d(D x) { D r; EACH r[l] = __builtin_floor(x[l]); return r; }
INLINE D ceil_d(D x) { D r; EACH r[l] = __builtin_ceil(x[l]); return r; }
INLINE D trunc_d(D x) { D r; EACH r[l] = __builtin_trunc(x[l]); return r; }
INLINE D rint_d(D x) { D r; EACH r[l] = __builtin_rint(x[l]); return r; }

/* NaN in either argument is the result, as in torch */
INLINE D max_d(D a, D b) { return pick_d((a > b) | (a != a), a, b); }
INLINE D min_d(D a, D b) { return pick_d((a < b) | (a != a), a, b); }
INLINE I max_i(I a, I b) { return pick_i(a > b, a, b); }
INLINE I min_i(I a, I b) { return pick_i(a < b, a, b); }

/* 1, 0, -1, and 0 for NaN, as in torch */
INLINE D sign_d(D x) { return truth_d(x > 0.0) - truth_d(x < 0.0); }
INLINE I sign_i(I x) { return (x < 0) - (x > 0); }

/* by what exceeds a word, all bits go */
INLINE I shift_left(I x, I n) { return pick_i((n >= 0) & (n < 64), x << (n & 63), splat_i(0)); }
INLINE I shift_right(I x, I n) { return x >> pick_i((n >= 0) & (n < 64), n, splat_i(63)); }

/* a function of doubles for floats, and lane by lane from libm */
#define NARROW(name) INLINE F name##_f(F x) { return d_to_f(name##_d(f_to_d(x))); }
#define NARROW2(name) INLINE F name##_f(F x, F y) { return d_to_f(name##_d(f_to_d(x), f_to_d(y))); }
#define SCALAR(name) \
  static D name##_d(D x) { D r; EACH r[l] = name(x[l]); return r; } \
  NARROW(name)
#define SCALAR2(name) \
  static D name##_d(D x, D y) { D r; EACH r[l] = name(x[l], y[l]); return r; } \
  NARROW2(name)
NARROW(floor) NARROW(ceil) NARROW(trunc) NARROW(rint) NARROW(sign)
NARROW2(max) NARROW2(min)

#define LOWEST_d() (-INFINITY)
#define LOWEST_f() (-INFINITY)
#define LOWEST_i() INT64_MIN
#define HIGHEST_d() INFINITY
#define HIGHEST_f() INFINITY
#define HIGHEST_i() INT64_MAX

/* along the middle of three dimensions */
#define RUNNING(name, T, operation) \
  static void name(T *restrict y, const T *restrict x, long outer, long n, long inner) { \
    for (long o = 0; o < outer; o++) for (long j = 0; j < inner; j++) { \
      const T *u = x + o * n * inner + j; \
      T *v = y + o * n * inner + j; \
      if (n == 0) continue; \
      T r = v[0] = u[0]; \
      for (long k = 1; k < n; k++) v[k * inner] = r = r operation u[k * inner]; \
    } \
  }
RUNNING(running_sum_d, D, +) RUNNING(running_sum_f, F, +) RUNNING(running_sum_i, I, +)
RUNNING(running_product_d, D, *) RUNNING(running_product_f, F, *) RUNNING(running_product_i, I, *)

/* a position in 0 .. n - 1, counted from the end if negative; the lanes where it is none are noted in *bad */
INLINE I position(I i, int64_t n, I *bad) {
  i = i + (n & (i < 0));
  I wrong = (i < 0) | (i >= n);
  *bad |= wrong;
  return i & ~wrong;
}
#define LOOKUP(k, T, S) \
  INLINE T lookup_##k(const T *x, I i) { T r; EACH r[l] = x[i[l]][l]; return r; } \
  INLINE T lookup_shared_##k(const S *x, I i) { T r; EACH r[l] = x[i[l]]; return r; } \
  INLINE void replace_##k(T *x, I i, T y) { EACH x[i[l]][l] = y[l]; } \
  INLINE void increase_##k(T *x, I i, T y) { EACH x[i[l]][l] += y[l]; }
LOOKUP(d, D, double) LOOKUP(f, F, float) LOOKUP(i, I, int64_t)
