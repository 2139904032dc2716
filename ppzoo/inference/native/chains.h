/* Rows of chains into lanes and back. Row row[l] of x, n numbers long, is lane l of y. */

typedef double ROW __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLES
#endif
#endif

/* r[i][j] becomes r[j][i]: bit by bit, a number's row and place change */
#define EXCHANGE(a, b, low, high) { D u = __builtin_shufflevector(a, b, low), v = __builtin_shufflevector(a, b, high); a = u; b = v; }
#define COMMA ,
#if defined(SHUFFLES) && LANES == 8
#define BLOCKS
INLINE void transpose(D *r) {
  _Pragma("GCC unroll 4") for (int i = 0; i < 8; i += 2)
    EXCHANGE(r[i], r[i + 1], 0 COMMA 8 COMMA 2 COMMA 10 COMMA 4 COMMA 12 COMMA 6 COMMA 14,
             1 COMMA 9 COMMA 3 COMMA 11 COMMA 5 COMMA 13 COMMA 7 COMMA 15)
  _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
    EXCHANGE(r[i + (i & 2)], r[i + (i & 2) + 2], 0 COMMA 1 COMMA 8 COMMA 9 COMMA 4 COMMA 5 COMMA 12 COMMA 13,
             2 COMMA 3 COMMA 10 COMMA 11 COMMA 6 COMMA 7 COMMA 14 COMMA 15)
  _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
    EXCHANGE(r[i], r[i + 4], 0 COMMA 1 COMMA 2 COMMA 3 COMMA 8 COMMA 9 COMMA 10 COMMA 11,
             4 COMMA 5 COMMA 6 COMMA 7 COMMA 12 COMMA 13 COMMA 14 COMMA 15)
}
#elif defined(SHUFFLES) && LANES == 4
#define BLOCKS
INLINE void transpose(D *r) {
  EXCHANGE(r[0], r[1], 0 COMMA 4 COMMA 2 COMMA 6, 1 COMMA 5 COMMA 3 COMMA 7)
  EXCHANGE(r[2], r[3], 0 COMMA 4 COMMA 2 COMMA 6, 1 COMMA 5 COMMA 3 COMMA 7)
  EXCHANGE(r[0], r[2], 0 COMMA 1 COMMA 4 COMMA 5, 2 COMMA 3 COMMA 6 COMMA 7)
  EXCHANGE(r[1], r[3], 0 COMMA 1 COMMA 4 COMMA 5, 2 COMMA 3 COMMA 6 COMMA 7)
}
#endif

/* the next chain that has room for a row; as many as there are chains if none is left */
static int64_t another(int64_t *next, int64_t chains, const int64_t *count, const int64_t *room) {
  int64_t k;
  do k = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); while (k < chains && count[k] >= room[k]);
  return k < chains ? k : chains;
}

static void take_rows(D *restrict y, const double *restrict x, const int64_t *row, long n) {
  long i = 0;
#ifdef BLOCKS
  for (; i + LANES <= n; i += LANES) {
    D r[LANES];
    EACH r[l] = (D)*(const ROW *)(x + row[l] * n + i);
    transpose(r);
    EACH y[i + l] = r[l];
  }
#endif
  for (; i < n; i++) EACH y[i][l] = x[row[l] * n + i];
}

static void give_rows(double *restrict x, const D *restrict y, const int64_t *row, long n) {
  long i = 0;
#ifdef BLOCKS
  for (; i + LANES <= n; i += LANES) {
    D r[LANES];
    EACH r[l] = y[i + l];
    transpose(r);
    EACH *(ROW *)(x + row[l] * n + i) = (ROW)r[l];
  }
#endif
  for (; i < n; i++) EACH x[row[l] * n + i] = y[i][l];
}
