/* Matrix products C[n][m] = sum_k A[n][k] B[k][m] by strides. Rows and columns of C go in blocks that stay in registers,
   the sum in stretches for which A and B stay in the cache; with `more` it goes on from what is in C. A and B are per chain (D) or shared (double). */

#define STRETCH 256

#define PRODUCT(name, TA, TB) \
INLINE void name##_tile(D *restrict c, const TA *restrict a, const TB *restrict b, long begin, long end, \
                        int more, const long *restrict s, const int N, const int M) { \
  const long cn = s[0], cm = s[1], an = s[2], ak = s[3], bk = s[4], bm = s[5]; \
  D t[8][4]; \
  _Pragma("GCC unroll 8") \
  for (int n = 0; n < N; n++) _Pragma("GCC unroll 4") for (int m = 0; m < M; m++) \
    t[n][m] = more ? c[n * cn + m * cm] : splat_d(0.0); \
  for (long k = begin; k < end; k++) { \
    _Pragma("GCC unroll 8") \
    for (int n = 0; n < N; n++) _Pragma("GCC unroll 4") for (int m = 0; m < M; m++) \
      t[n][m] += a[n * an + k * ak] * b[k * bk + m * bm]; \
  } \
  _Pragma("GCC unroll 8") \
  for (int n = 0; n < N; n++) _Pragma("GCC unroll 4") for (int m = 0; m < M; m++) c[n * cn + m * cm] = t[n][m]; \
} \
static void name(D *restrict c, const TA *restrict a, const TB *restrict b, long N, long K, long M, \
                 long cn, long cm, long an, long ak, long bk, long bm, int more) { \
  const long s[] = {cn, cm, an, ak, bk, bm}; \
  long begin = 0, end, n, m; \
  do { \
    end = begin + STRETCH < K ? begin + STRETCH : K; \
    for (m = 0; m + 4 <= M; m += 4) { \
      for (n = 0; n + 4 <= N; n += 4) name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, begin, end, more, s, 4, 4); \
      for (; n < N; n++) name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, begin, end, more, s, 1, 4); \
    } \
    for (; m < M; m++) { \
      for (n = 0; n + 8 <= N; n += 8) name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, begin, end, more, s, 8, 1); \
      for (; n + 4 <= N; n += 4) name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, begin, end, more, s, 4, 1); \
      for (; n < N; n++) name##_tile(c + n * cn + m * cm, a + n * an, b + m * bm, begin, end, more, s, 1, 1); \
    } \
    begin = end, more = 1; \
  } while (begin < K); \
}
PRODUCT(product_vv, D, D)
PRODUCT(product_sv, double, D)
PRODUCT(product_vs, D, double)
PRODUCT(product_ss, double, double)
