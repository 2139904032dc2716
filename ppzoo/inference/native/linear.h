/* Matrix products C[n][m] = sum_k A[n][k] B[k][m] by strides, with rows and columns in blocks that stay in registers.
   A and B are per chain (D) or shared (double). */

#define PRODUCT(name, TA, TB) \
INLINE void name##_tile(D *restrict c, const TA *restrict a, const TB *restrict b, long K, \
                        long cn, long cm, long an, long ak, long bk, long bm, const int N, const int M) { \
  D s[8][4]; \
  _Pragma("GCC unroll 8") \
  for (int n = 0; n < N; n++) _Pragma("GCC unroll 4") for (int m = 0; m < M; m++) s[n][m] = splat_d(0.0); \
  for (long k = 0; k < K; k++) { \
    _Pragma("GCC unroll 8") \
    for (int n = 0; n < N; n++) _Pragma("GCC unroll 4") for (int m = 0; m < M; m++) \
      s[n][m] += a[n * an + k * ak] * b[k * bk + m * bm]; \
  } \
  _Pragma("GCC unroll 8") \
  for (int n = 0; n < N; n++) _Pragma("GCC unroll 4") for (int m = 0; m < M; m++) c[n * cn + m * cm] = s[n][m]; \
} \
static void name(D *restrict c, const TA *restrict a, const TB *restrict b, long N, long K, long M, \
                 long cn, long cm, long an, long ak, long bk, long bm) { \
  long n, m = 0; \
  for (; m + 4 <= M; m += 4) { \
    for (n = 0; n + 4 <= N; n += 4) \
      name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, K, cn, cm, an, ak, bk, bm, 4, 4); \
    for (; n < N; n++) name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, K, cn, cm, an, ak, bk, bm, 1, 4); \
  } \
  for (; m < M; m++) { \
    for (n = 0; n + 8 <= N; n += 8) \
      name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, K, cn, cm, an, ak, bk, bm, 8, 1); \
    for (; n + 4 <= N; n += 4) \
      name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, K, cn, cm, an, ak, bk, bm, 4, 1); \
    for (; n < N; n++) name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, K, cn, cm, an, ak, bk, bm, 1, 1); \
  } \
}
PRODUCT(product_vv, D, D)
PRODUCT(product_sv, double, D)
PRODUCT(product_vs, D, double)

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
