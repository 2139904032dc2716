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
PRODUCT(product_ss, double, double)
