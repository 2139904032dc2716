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
