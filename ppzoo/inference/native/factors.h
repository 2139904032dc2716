/* Factors of square matrices and solutions with them; matrices are stored row by row. */

/* X = L L' from the lower triangle of X; from the first pivot on that is not positive, a lane is NaN */
static void cholesky(D *restrict factor, I *restrict info, const D *restrict matrix, long batch, long n) {
  for (long b = 0; b < batch; b++) {
    D *L = factor + b * n * n;
    const D *X = matrix + b * n * n;
    info[b] = splat_i(0);
    for (long j = 0; j < n; j++) {
      for (long i = 0; i < j; i++) L[i * n + j] = splat_d(0.0);
      D s = X[j * n + j];
      for (long k = 0; k < j; k++) s -= L[j * n + k] * L[j * n + k];
      I fails = ~(s > 0.0);
      info[b] = pick_i(fails & (info[b] == 0), splat_i(j + 1), info[b]);
      D pivot = sqrt_d(pick_d(fails, splat_d(NAN), s)), inverse = 1.0 / pivot;
      L[j * n + j] = pivot;
      for (long i = j + 1; i < n; i++) {
        D t = X[i * n + j];
        for (long k = 0; k < j; k++) t -= L[i * n + k] * L[j * n + k];
        L[i * n + j] = t * inverse;
      }
    }
  }
}

/* A x = b for a triangle A by strides; four columns of b at a time stay in registers */
#define SOLVE(name, T, FIRST, NEXT) \
INLINE void name##_columns(D *restrict x, const T *restrict a, const D *restrict b, long n, long m, \
                           long an, long am, int unit, const int M) { \
  for (long s = 0, i = FIRST; s < n; s++, i NEXT) { \
    D r[4]; \
    _Pragma("GCC unroll 4") for (int j = 0; j < M; j++) r[j] = b[i * m + j]; \
    for (long k = FIRST; k != i; k NEXT) \
      _Pragma("GCC unroll 4") for (int j = 0; j < M; j++) r[j] -= a[i * an + k * am] * x[k * m + j]; \
    D inverse = splat_d(1.0); \
    if (!unit) inverse /= a[i * (an + am)]; \
    _Pragma("GCC unroll 4") for (int j = 0; j < M; j++) x[i * m + j] = r[j] * inverse; \
  } \
} \
static void name(D *restrict x, const T *restrict a, const D *restrict b, long n, long m, long an, long am, int unit) { \
  long j = 0; \
  for (; j + 4 <= m; j += 4) name##_columns(x + j, a, b + j, n, m, an, am, unit, 4); \
  for (; j < m; j++) name##_columns(x + j, a, b + j, n, m, an, am, unit, 1); \
}
SOLVE(solve_lower_v, D, 0, ++) SOLVE(solve_lower_s, double, 0, ++)
SOLVE(solve_upper_v, D, n - 1, --) SOLVE(solve_upper_s, double, n - 1, --)

/* rows j and pivots[j] of x (n x m) change places, first to last, or back again */
static void swap_rows(D *restrict x, const I *restrict pivots, long n, long m, int back) {
  for (long s = 0; s < n; s++) {
    long j = back ? n - 1 - s : s;
    if (!any(pivots[j] != j)) continue;
    for (long k = 0; k < m; k++) {
      D here = x[j * m + k];
      I there = pivots[j] * m;
      x[j * m + k] = lookup_d(x + k, there);
      replace_d(x + k, there, here);
    }
  }
}

/* X = P L U by elimination with the largest pivot of each column; L has a diagonal of ones and shares its place with U */
static void lu_factor(D *restrict factor, I *restrict pivots, const D *restrict matrix, long batch, long n) {
  for (long b = 0; b < batch; b++, factor += n * n, matrix += n * n, pivots += n) {
    for (long i = 0; i < n * n; i++) factor[i] = matrix[i];
    for (long j = 0; j < n; j++) {
      D best = abs_d(factor[j * n + j]);
      pivots[j] = splat_i(j);
      for (long i = j + 1; i < n; i++) {
        I larger = abs_d(factor[i * n + j]) > best;
        best = pick_d(larger, abs_d(factor[i * n + j]), best);
        pivots[j] = pick_i(larger, splat_i(i), pivots[j]);
      }
      for (long k = 0; k < n && any(pivots[j] != j); k++) {
        D here = factor[j * n + k];
        factor[j * n + k] = lookup_d(factor + k, pivots[j] * n);
        replace_d(factor + k, pivots[j] * n, here);
      }
      D inverse = 1.0 / factor[j * n + j];
      for (long i = j + 1; i < n; i++) {
        D s = factor[i * n + j] * inverse;
        factor[i * n + j] = s;
        for (long k = j + 1; k < n; k++) factor[i * n + k] -= s * factor[j * n + k];
      }
    }
  }
}

/* X x = b, or its transpose, by the factors */
static void lu_solve(D *restrict x, D *restrict y, const D *restrict factor, const I *restrict pivots,
                     const D *restrict b, long batch, long n, long m, int transposed) {
  for (long k = 0; k < batch; k++, x += n * m, y += n * m, factor += n * n, pivots += n, b += n * m) {
    for (long i = 0; i < n * m; i++) x[i] = b[i];
    if (!transposed) swap_rows(x, pivots, n, m, 0);
    if (transposed) solve_lower_v(y, factor, x, n, m, 1, n, 0);
    else solve_lower_v(y, factor, x, n, m, n, 1, 1);
    if (transposed) solve_upper_v(x, factor, y, n, m, 1, n, 1);
    else solve_upper_v(x, factor, y, n, m, n, 1, 0);
    if (transposed) swap_rows(x, pivots, n, m, 1);
  }
}
