/* Encoders of the formats whose codes are points of a grid: eight values of IQ2, four of IQ3, with their signs beside them. Owns nothing.
 * For a scale c, a point's error is c * c * A - 2 * c * B + what no choice changes, where the sums A and B over its values do not depend on c:
 * so they are made once for all points, and any number of scales is tried on them. Divided by c * c that error is a line in 1 / c: of hundreds of points
 * only the few on the hull of these lines are ever the nearest within a range of scales, and they alone are kept. */
#include "encode_impl.h"
#include <math.h>
#include <pthread.h>
#include <string.h>

#define CONSTANT static const
#define uint uint32_t
#include "kernels/cl/grids.clh"
#undef uint

enum { COLUMNS = 256, MAX_POINTS = 1024, MAX_GROUPS = 8 /* of a part */, MAX_PARTS = 16, LANES = 16, STEPS = 5, MAX_FEW = 48 };

typedef struct lattice {
  const uint32_t *grid; /* [points] a nibble for each value */
  int points, group, columns; /* values of a point; columns that share a scale */
  bool even;                  /* the signs of eight values have an even number of minus */
  const uint8_t *values;      /* of a nibble, rising */
  int n_values;
  float unit; /* a part's scale is d * unit * (2 * s + 1), s from 0 to 15 */
} lattice;

static const uint8_t two_bits[] = {8, 25, 43}, three_even[] = {4, 12, 20, 28, 36, 44, 52, 62}, three_odd[] = {1, 3, 5, 7, 9, 11, 13, 15};
enum { XXS2, XS2, S2, XXS3, S3, N_LATTICES };
static const lattice lattices[N_LATTICES] = {
  [XXS2] = {iq2_xxs_grid, 256, 8, 32, true, two_bits, 3, 0.125f},  [XS2] = {iq2_xs_grid, 512, 8, 16, true, two_bits, 3, 0.125f},
  [S2] = {iq2_s_grid, 1024, 8, 16, false, two_bits, 3, 0.125f},    [XXS3] = {iq3_xxs_grid, 256, 4, 32, true, three_even, 8, 0.25f},
  [S3] = {iq3_s_grid, 512, 4, 32, false, three_odd, 8, 1}};

/* What a block comes to. */
typedef struct choice {
  float d; /* as stored */
  int scale[MAX_PARTS];
  uint16_t point[COLUMNS / 4];
  uint8_t signs[COLUMNS / 8];
} choice;

/* The sums of a part's groups. */
typedef struct sums { float a[MAX_GROUPS][MAX_POINTS], b[MAX_GROUPS][MAX_POINTS]; } sums;

/* Points of a group, rising, of which one is the nearest for any scale of the part's range; n 0: they are more than there is room for. */
typedef struct few {
  int n;
  uint16_t at[MAX_FEW];
  float a[MAX_FEW], b[MAX_FEW];
} few;

/* Magnitudes of eight values and their signs. Where these must be even, the value that it costs least gets the wrong one. */
static uint8_t take_signs(const lattice *l, const float *x, const float *w, float *size)
{
  uint8_t signs = 0;
  int least = 0, minus = 0;
  for (int i = 0; i < 8; i++) {
    size[i] = fabsf(x[i]);
    if (x[i] < 0) signs |= (uint8_t)(1 << i), minus++;
    if (w[i] * x[i] * x[i] < w[least] * x[least] * x[least]) least = i;
  }
  if (l->even && minus % 2) signs ^= (uint8_t)(1 << least), size[least] = -size[least];
  return signs;
}

/* Values of all points and their squares, in the order in which they are added up. Made once for each lattice. */
enum { PLACES = 4, ABREAST = 8 };
typedef struct table { float of[MAX_POINTS / ABREAST][8][2][ABREAST]; } table; /* [points][group][value, square][points] */
static table tables[N_LATTICES];
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
  for (int n = 0; n < N_LATTICES; n++)
    for (int p = 0; p < lattices[n].points; p++)
      for (int i = 0; i < lattices[n].group; i++) {
        float v = lattices[n].values[lattices[n].grid[p] >> 4 * i & 7];
        tables[n].of[p / ABREAST][i][0][p % ABREAST] = v, tables[n].of[p / ABREAST][i][1][p % ABREAST] = v * v;
      }
}

typedef float floats __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));

static floats fetch(const float *p)
{
  floats v;
  memcpy(&v, p, sizeof v);
  return v;
}

static void add_up(const lattice *l, const table *t, const float *size, const float *w, float *a, float *b)
{
  for (int p = 0; p < l->points; p += ABREAST) { /* the sums stay in registers */
    floats sum_a[2] = {{0}}, sum_b[2] = {{0}};
    for (int i = 0; i < l->group; i++) {
      const float *v = t->of[p / ABREAST][i][0], *square = t->of[p / ABREAST][i][1];
      for (int j = 0; j < 2; j++) {
        sum_a[j] += w[i] * fetch(square + j * PLACES);
        sum_b[j] += w[i] * size[i] * fetch(v + j * PLACES);
      }
    }
    memcpy(a + p, sum_a, sizeof sum_a);
    memcpy(b + p, sum_b, sizeof sum_b);
  }
}

/* The point with the least error for a scale: four at a time, each place keeps its best. */
static int nearest_point(const float *a, const float *b, int n, float scale)
{
  floats least = {INFINITY, INFINITY, INFINITY, INFINITY};
  ints at = {0, 0, 0, 0};
  int best = 0;
  for (int p = 0; p < n; p += PLACES) {
    floats e = fetch(a + p) * (scale * scale) - fetch(b + p) * (2 * scale);
    ints less = e < least;
    least = (floats)((less & (ints)e) | (~less & (ints)least));
    at = (less & p) | (~less & at);
  }
  for (int j = 1; j < PLACES; j++)
    if (least[j] < least[best]) best = j;
  return at[best] + best;
}

/* The points from which the nearest is taken for scales from low to high. The nearest for the two ends are two lines of the hull, and whatever lies on it
 * between them is better than both where these two cross. */
static void keep_few(const float *a, const float *b, int n, float low, float high, few *out)
{
  int first = nearest_point(a, b, n, low), last = nearest_point(a, b, n, high);
  float slope = b[first] == b[last] ? 2 / high : (a[first] - a[last]) / (b[first] - b[last]), level = slope * b[last] - a[last];
  level -= 1e-5f * (fabsf(level) + a[last]); /* what rounding may hide */
  out->n = 0;
  for (int from = 0; from < n && out->n <= MAX_FEW - LANES; from += LANES) {
    uint32_t found = 0;
    for (int j = 0; j < LANES; j++) found += slope * b[from + j] - a[from + j] >= level;
    for (int p = from; p < from + LANES && found; p++)
      if (slope * b[p] - a[p] >= level) out->at[out->n] = (uint16_t)p, out->a[out->n] = a[p], out->b[out->n++] = b[p];
  }
  if (out->n > MAX_FEW - LANES) out->n = 0;
}

/* Columns that share a scale. Invariant: groups and range are of what the last sum_up saw. */
typedef struct part {
  const lattice *l;
  const table *t;
  const float *x, *w;
  uint8_t *signs;
  sums *s;     /* of all parts together */
  bool summed; /* they are this part's */
  float most, low, high;
  few group[MAX_GROUPS];
} part;

static void sum_up(part *p)
{
  const lattice *l = p->l;
  float size[COLUMNS];
  for (int i = 0; i < l->columns; i += 8) p->signs[i / 8] = take_signs(l, p->x + i, p->w + i, size + i);
  for (int i = 0; i < l->columns; i++) p->most = size[i] > p->most ? size[i] : p->most;
  for (int i = 0; i < l->columns; i += l->group) add_up(l, p->t, size + i, p->w + i, p->s->a[i / l->group], p->s->b[i / l->group]);
  p->summed = true;
}

/* What a part's nearest points for a scale sum up to; points may be NULL. */
typedef struct fit { float a, b; } fit;
static fit fit_points(part *p, float scale, uint16_t *points)
{
  bool within = scale >= p->low && scale <= p->high;
  fit f = {0, 0};
  for (int g = 0; g < p->l->columns / p->l->group; g++) {
    const few *c = &p->group[g];
    bool all = !within || !c->n;
    if (all && !p->summed) sum_up(p);
    const float *a = all ? p->s->a[g] : c->a, *b = all ? p->s->b[g] : c->b;
    int at = 0;
    if (all) at = nearest_point(a, b, p->l->points, scale);
    else
      for (int i = 1; i < c->n; i++)
        if (a[i] * (scale * scale) - b[i] * (2 * scale) < a[at] * (scale * scale) - b[at] * (2 * scale)) at = i;
    f.a += a[at], f.b += b[at];
    if (points) points[g] = (uint16_t)(all ? at : c->at[at]);
  }
  return f;
}

static float best_scale(part *p)
{
  sum_up(p);
  float best = 0, gained = 0, start = p->most / p->l->values[p->l->n_values - 1];
  if (!(start > 0)) return 0;
  p->low = 0.6f * start, p->high = 1.5f * start;
  for (int g = 0; g < p->l->columns / p->l->group; g++) keep_few(p->s->a[g], p->s->b[g], p->l->points, p->low, p->high, &p->group[g]);
  for (int i = -STEPS; i <= STEPS + 2; i++) {
    float scale = i <= STEPS ? start * (1.05f + 0.07f * (float)i) : best; /* the last two begin with what is best so far */
    fit f = fit_points(p, scale, NULL);
    if (f.a > 0 && f.b > 0 && f.b * f.b / f.a > gained) gained = f.b * f.b / f.a, best = f.b / f.a;
  }
  return best;
}

static int nearest_step(const lattice *l, float d, float scale)
{
  float s = d > 0 ? rintf((scale / (d * l->unit) - 1) / 2) : 0;
  return (int)(s < 0 ? 0 : s > 15 ? 15 : s);
}

/* Points and scale of part number n, of the integers near the one it has. */
static fit settle(part *p, int n, choice *c)
{
  const lattice *l = p->l;
  float least = INFINITY;
  int from = c->scale[n];
  fit best = {0, 0};
  for (int i = from - 1; i <= from + 1; i++) {
    if (i < 0 || i > 15) continue;
    float k = l->unit * (float)(2 * i + 1), scale = c->d * k;
    fit f = fit_points(p, scale, NULL);
    float e = scale * scale * f.a - 2 * scale * f.b;
    if (e < least) least = e, c->scale[n] = i, best = (fit){f.a * k * k, f.b * k};
  }
  fit_points(p, c->d * l->unit * (float)(2 * c->scale[n] + 1), c->point + n * (l->columns / l->group));
  return best;
}

static void choose(int which, const float *x, const float *w, choice *c)
{
  const lattice *l = &lattices[which];
  sums s;
  part parts[MAX_PARTS];
  float scale[MAX_PARTS], most = 0;
  int n = COLUMNS / l->columns;
  fit all = {0, 0};
  memset(c, 0, sizeof *c);
  pthread_once(&filled, fill_tables);
  for (int p = 0; p < n; p++) {
    part *q = &parts[p];
    q->l = l, q->t = &tables[which], q->x = x + p * l->columns, q->w = w + p * l->columns, q->signs = c->signs + p * l->columns / 8, q->s = &s;
    q->most = 0, q->low = 1, q->high = 0; /* no range */
    scale[p] = best_scale(q);
    most = scale[p] > most ? scale[p] : most;
  }
  c->d = koi_encode_stored(most / (31 * l->unit));
  for (int p = 0; p < n && c->d > 0; p++) {
    parts[p].summed = false;
    c->scale[p] = nearest_step(l, c->d, scale[p]);
    fit f = settle(&parts[p], p, c);
    all.a += f.a, all.b += f.b;
  }
  if (all.a > 0 && all.b > 0) c->d = koi_encode_stored(all.b / all.a);
}

/* ---- blocks ---- */
static void put_scales(const choice *c, int n, uint8_t *out)
{
  for (int p = 0; p < n; p += 2) out[p / 2] = (uint8_t)(c->scale[p] | c->scale[p + 1] << 4);
}

/* Seven signs of each of a part's four groups, and its scale above them. */
static uint32_t signs_and_scale(const choice *c, int part)
{
  uint32_t word = (uint32_t)c->scale[part] << 28;
  for (int g = 0; g < 4; g++) word |= (uint32_t)(c->signs[4 * part + g] & 127) << 7 * g;
  return word;
}

void koi_encode_iq2_xxs(const float *x, const float *w, uint8_t *out)
{
  choice c;
  choose(XXS2, x, w, &c);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int p = 0; p < 8; p++) {
    for (int g = 0; g < 4; g++) out[2 + 8 * p + g] = (uint8_t)c.point[4 * p + g];
    koi_encode_put(out + 6 + 8 * p, signs_and_scale(&c, p), 4);
  }
}

void koi_encode_iq2_xs(const float *x, const float *w, uint8_t *out)
{
  choice c;
  choose(XS2, x, w, &c);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int g = 0; g < 32; g++) koi_encode_put(out + 2 + 2 * g, (uint64_t)(c.point[g] | (c.signs[g] & 127) << 9), 2);
  put_scales(&c, 16, out + 66);
}

void koi_encode_iq2_s(const float *x, const float *w, uint8_t *out)
{
  choice c;
  choose(S2, x, w, &c);
  memset(out, 0, 82);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int g = 0; g < 32; g++) {
    out[2 + g] = (uint8_t)c.point[g];
    out[34 + g] = c.signs[g];
    out[66 + g / 4] |= (uint8_t)(c.point[g] >> 8 << g % 4 * 2);
  }
  put_scales(&c, 16, out + 74);
}

void koi_encode_iq3_xxs(const float *x, const float *w, uint8_t *out)
{
  choice c;
  choose(XXS3, x, w, &c);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int g = 0; g < 64; g++) out[2 + g] = (uint8_t)c.point[g];
  for (int p = 0; p < 8; p++) koi_encode_put(out + 66 + 4 * p, signs_and_scale(&c, p), 4);
}

void koi_encode_iq3_s(const float *x, const float *w, uint8_t *out)
{
  choice c;
  choose(S3, x, w, &c);
  memset(out, 0, 110);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int g = 0; g < 64; g++) {
    out[2 + g] = (uint8_t)c.point[g];
    out[66 + g / 8] |= (uint8_t)(c.point[g] >> 8 << g % 8);
  }
  memcpy(out + 74, c.signs, 32);
  put_scales(&c, 8, out + 106);
}
