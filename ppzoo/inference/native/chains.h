/* Chains into lanes and back, and the loops that run a program for all of them. */

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

/* row row[l] of x, n numbers long, becomes lane l of y */
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

/* and back; lanes that stand for one chain write the same */
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

/* One tensor of every chain: io[from] outside, row by row, and the arena from `place` on inside, lane by lane. */
enum kind { WIDE, SINGLE, TRUTH };
typedef struct { int from; enum kind kind; int64_t place, size; } FIELD;
typedef struct { const FIELD *fields; int n; } FIELDS;

/* row c becomes lane l */
static void enter(FIELDS s, void *const *io, D *a, int l, int64_t c) {
  for (const FIELD *f = s.fields; f < s.fields + s.n; f++)
    for (int64_t i = 0, k = c * f->size; i < f->size; i++, k++)
      if (f->kind == WIDE) a[f->place + i][l] = ((const double *)io[f->from])[k];
      else if (f->kind == SINGLE) ((F *)(a + f->place))[i][l] = ((const float *)io[f->from])[k];
      else ((I *)(a + f->place))[i][l] = -((const uint8_t *)io[f->from])[k];
}

/* lane l becomes row c */
static void leave(FIELDS s, void *const *io, const D *a, int l, int64_t c) {
  for (const FIELD *f = s.fields; f < s.fields + s.n; f++)
    for (int64_t i = 0, k = c * f->size; i < f->size; i++, k++)
      if (f->kind == WIDE) ((double *)io[f->from])[k] = a[f->place + i][l];
      else if (f->kind == SINGLE) ((float *)io[f->from])[k] = ((const F *)(a + f->place))[i][l];
      else ((uint8_t *)io[f->from])[k] = ((const I *)(a + f->place))[i][l] & 1;
}

static void enter_all(FIELDS s, void *const *io, D *a, const int64_t *row) {
  for (const FIELD *f = s.fields; f < s.fields + s.n; f++)
    if (f->kind == WIDE) take_rows(a + f->place, io[f->from], row, f->size);
    else EACH enter((FIELDS){f, 1}, io, a, l, row[l]);
}

static void leave_all(FIELDS s, void *const *io, const D *a, const int64_t *row) {
  for (const FIELD *f = s.fields; f < s.fields + s.n; f++)
    if (f->kind == WIDE) give_rows(io[f->from], a + f->place, row, f->size);
    else EACH leave((FIELDS){f, 1}, io, a, l, row[l]);
}

/* A program: what it reads and writes, and what it does. The first word of the arena tells lanes that went wrong. */
typedef void (*CODE)(const void *const *d, D *a);

/* every chain once; whether any went wrong */
static int run_once(CODE code, FIELDS in, FIELDS out, const void *const *d, void *const *io, int64_t chains, int64_t *next, D *a) {
  *(I *)a = splat_i(0);
  for (;;) {
    int64_t g = LANES * __atomic_fetch_add(next, 1, __ATOMIC_RELAXED), c[LANES];
    if (g >= chains) return any(*(I *)a);
    EACH c[l] = g + l < chains ? g + l : chains - 1;
    enter_all(in, io, a, c);
    code(d, a);
    leave_all(out, io, a, c);
  }
}

/* the next chain that has room for a row; as many as there are chains if none is left */
static int64_t another(int64_t *next, int64_t chains, const int64_t *count, const int64_t *room) {
  int64_t k;
  do k = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); while (k < chains && count[k] >= room[k]);
  return k < chains ? k : chains;
}

/* Every chain until it has taken so many steps or has no room for another row: `first` once per group, `step` again and
   again, and a row where it says so at `emit`. A lane whose chain is done takes the next one. */
static int run_loop(CODE first, CODE step, FIELDS state, FIELDS noise, FIELDS row, int64_t emit, const void *const *d,
                    void *const *io, int64_t *count, const int64_t *room, int64_t *executed, int64_t chains,
                    int64_t steps, int64_t ahead, int64_t size, int64_t *next, int64_t *idle, D *a) {
  int64_t vain = 0;
  I wrong = splat_i(0);
  for (;;) {
    int64_t c[LANES], ahead_of[LANES];
    I going = splat_i(0), t = splat_i(0), spare = splat_i(0);
    int left = 0;
    EACH if ((c[l] = another(next, chains, count, room)) < chains) {
      going[l] = -1;
      spare[l] = room[c[l]] - count[c[l]];
      left++;
    }
    if (left == 0) {
      __atomic_fetch_add(idle, vain, __ATOMIC_RELAXED);
      return any(wrong);
    }
    EACH if (!going[l]) c[l] = c[0];
    enter_all(state, io, a, c);
    first(d, a);
    while (left > 0) {
      EACH ahead_of[l] = c[l] * ahead + t[l];
      *(I *)a = splat_i(0);
      enter_all(noise, io, a, ahead_of);
      step(d, a);
      wrong |= *(I *)a & going;
      vain += LANES - left;
      t -= going;
      const I now = *(I *)(a + emit) & going;
      if (any(now)) EACH if (now[l]) leave(row, io, a, l, c[l] * size + count[c[l]]++);
      spare += now;
      const I over = going & ((t >= steps) | (spare == 0));
      if (!any(over)) continue;
      if (left == LANES && !any(~over)) {
        leave_all(state, io, a, c);
        EACH executed[c[l]] = t[l];
        break;
      }
      EACH if (over[l]) {
        leave(state, io, a, l, c[l]);
        executed[c[l]] = t[l];
        t[l] = 0;
        const int64_t k = another(next, chains, count, room);
        if (k < chains) enter(state, io, a, l, c[l] = k), spare[l] = room[k] - count[k];
        else going[l] = 0, left--;
      }
    }
  }
}
