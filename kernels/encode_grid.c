/* Encoders of the formats whose codes are points of a grid: eight values of IQ2, four of IQ3, with their signs beside them. Owns nothing.
 * For a scale c, a point's error is c * c * A - 2 * c * B + what no choice changes, where the sums A and B over its values do not depend on c:
 * so they are made once for all points, and any number of scales is tried on them. */
#include "encode_impl.h"
#include <math.h>
#include <string.h>

#define CONSTANT static const
#define uint uint32_t
#include "kernels/cl/grids.clh"
#undef uint

enum { COLUMNS = 256, MAX_POINTS = 1024, MAX_GROUPS = 8 /* of a part */, MAX_PARTS = 16, LANES = 16, STEPS = 5 };

typedef struct lattice {
  const uint32_t *grid; /* [points] a nibble for each value */
  int points, group, columns; /* values of a point; columns that share a scale */
  bool even;                  /* the signs of eight values have an even number of minus */
  const uint8_t *values;      /* of a nibble, rising */
  int n_values;
  float unit; /* a part's scale is d * unit * (2 * s + 1), s from 0 to 15 */
} lattice;

static const uint8_t two_bits[] = {8, 25, 43}, three_even[] = {4, 12, 20, 28, 36, 44, 52, 62}, three_odd[] = {1, 3, 5, 7, 9, 11, 13, 15};
static const lattice xxs2 = {iq2_xxs_grid, 256, 8, 32, true, two_bits, 3, 0.125f}, xs2 = {iq2_xs_grid, 512, 8, 16, true, two_bits, 3, 0.125f},
                     s2 = {iq2_s_grid, 1024, 8, 16, false, two_bits, 3, 0.125f}, xxs3 = {iq3_xxs_grid, 256, 4, 32, true, three_even, 8, 0.25f},
                     s3 = {iq3_s_grid, 512, 4, 32, false, three_odd, 8, 1};

/* What a block comes to. */
typedef struct choice {
  float d; /* as stored */
  int scale[MAX_PARTS];
  uint16_t point[COLUMNS / 4];
  uint8_t signs[COLUMNS / 8];
} choice;

/* The sums of a part's groups. */
typedef struct sums { float a[MAX_GROUPS][MAX_POINTS], b[MAX_GROUPS][MAX_POINTS]; } sums;

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

/* Values of all points, the first of each together: [group][points]. */
typedef struct table { float v[8][MAX_POINTS]; } table;

static void fill(const lattice *l, table *t)
{
  for (int p = 0; p < l->points; p++)
    for (int i = 0; i < l->group; i++) t->v[i][p] = l->values[l->grid[p] >> 4 * i & 7];
}

static void add_up(const lattice *l, const table *t, const float *size, const float *w, float *a, float *b)
{
  for (int p = 0; p < l->points; p += LANES) {
    float sum_a[LANES] = {0}, sum_b[LANES] = {0};
    for (int i = 0; i < l->group; i++) {
      const float *v = t->v[i] + p;
      float wa = w[i], wb = w[i] * size[i];
      for (int j = 0; j < LANES; j++) sum_a[j] += wa * v[j] * v[j];
      for (int j = 0; j < LANES; j++) sum_b[j] += wb * v[j];
    }
    memcpy(a + p, sum_a, sizeof sum_a);
    memcpy(b + p, sum_b, sizeof sum_b);
  }
}

/* The point with the least error for a scale: four at a time, each place keeps its best. */
typedef float floats __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));
static int nearest_point(const float *a, const float *b, int n, float scale)
{
  enum { PLACES = 4 };
  floats least = {INFINITY, INFINITY, INFINITY, INFINITY}, aa, bb;
  ints at = {0, 0, 0, 0};
  int best = 0;
  for (int p = 0; p < n; p += PLACES) {
    memcpy(&aa, a + p, sizeof aa);
    memcpy(&bb, b + p, sizeof bb);
    floats e = aa * (scale * scale) - bb * (2 * scale);
    ints less = e < least;
    least = (floats)((less & (ints)e) | (~less & (ints)least));
    at = (less & p) | (~less & at);
  }
  for (int j = 1; j < PLACES; j++)
    if (least[j] < least[best]) best = j;
  return at[best] + best;
}

/* What a part's nearest points for a scale sum up to; points may be NULL. */
typedef struct fit { float a, b; } fit;
static fit fit_points(const lattice *l, const sums *s, float scale, uint16_t *points)
{
  fit f = {0, 0};
  for (int g = 0; g < l->columns / l->group; g++) {
    int p = nearest_point(s->a[g], s->b[g], l->points, scale);
    f.a += s->a[g][p], f.b += s->b[g][p];
    if (points) points[g] = (uint16_t)p;
  }
  return f;
}

static float best_scale(const lattice *l, const sums *s, float most)
{
  float best = 0, gained = 0, start = most / l->values[l->n_values - 1];
  for (int i = -STEPS; i <= STEPS + 2; i++) {
    float scale = i <= STEPS ? start * (1.05f + 0.07f * (float)i) : best; /* the last two begin with what is best so far */
    fit f = fit_points(l, s, scale, NULL);
    if (f.a > 0 && f.b > 0 && f.b * f.b / f.a > gained) gained = f.b * f.b / f.a, best = f.b / f.a;
  }
  return best;
}

static float part_sums(const lattice *l, const table *t, const float *x, const float *w, sums *s, uint8_t *signs)
{
  float size[COLUMNS], most = 0;
  for (int i = 0; i < l->columns; i += 8) signs[i / 8] = take_signs(l, x + i, w + i, size + i);
  for (int i = 0; i < l->columns; i++) most = size[i] > most ? size[i] : most;
  for (int i = 0; i < l->columns; i += l->group) add_up(l, t, size + i, w + i, s->a[i / l->group], s->b[i / l->group]);
  return most;
}

static int nearest_step(const lattice *l, float d, float scale)
{
  float s = d > 0 ? rintf((scale / (d * l->unit) - 1) / 2) : 0;
  return (int)(s < 0 ? 0 : s > 15 ? 15 : s);
}

/* Points and scale of a part, of the integers near the one it has. */
static fit settle(const lattice *l, const sums *s, int p, choice *c)
{
  float least = INFINITY;
  int from = c->scale[p];
  fit best = {0, 0};
  for (int i = from - 1; i <= from + 1; i++) {
    if (i < 0 || i > 15) continue;
    float k = l->unit * (float)(2 * i + 1), scale = c->d * k;
    fit f = fit_points(l, s, scale, NULL);
    float e = scale * scale * f.a - 2 * scale * f.b;
    if (e < least) least = e, c->scale[p] = i, best = (fit){f.a * k * k, f.b * k};
  }
  fit_points(l, s, c->d * l->unit * (float)(2 * c->scale[p] + 1), c->point + p * (l->columns / l->group));
  return best;
}

static void choose(const lattice *l, const float *x, const float *w, choice *c)
{
  sums s;
  table t;
  float scale[MAX_PARTS], most = 0;
  int n = COLUMNS / l->columns;
  fit all = {0, 0};
  memset(c, 0, sizeof *c);
  fill(l, &t);
  for (int p = 0; p < n; p++) {
    scale[p] = best_scale(l, &s, part_sums(l, &t, x + p * l->columns, w + p * l->columns, &s, c->signs + p * l->columns / 8));
    most = scale[p] > most ? scale[p] : most;
  }
  c->d = koi_encode_stored(most / (31 * l->unit));
  for (int p = 0; p < n && c->d > 0; p++) {
    part_sums(l, &t, x + p * l->columns, w + p * l->columns, &s, c->signs + p * l->columns / 8);
    c->scale[p] = nearest_step(l, c->d, scale[p]);
    fit f = settle(l, &s, p, c);
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
  choose(&xxs2, x, w, &c);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int p = 0; p < 8; p++) {
    for (int g = 0; g < 4; g++) out[2 + 8 * p + g] = (uint8_t)c.point[4 * p + g];
    koi_encode_put(out + 6 + 8 * p, signs_and_scale(&c, p), 4);
  }
}

void koi_encode_iq2_xs(const float *x, const float *w, uint8_t *out)
{
  choice c;
  choose(&xs2, x, w, &c);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int g = 0; g < 32; g++) koi_encode_put(out + 2 + 2 * g, (uint64_t)(c.point[g] | (c.signs[g] & 127) << 9), 2);
  put_scales(&c, 16, out + 66);
}

void koi_encode_iq2_s(const float *x, const float *w, uint8_t *out)
{
  choice c;
  choose(&s2, x, w, &c);
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
  choose(&xxs3, x, w, &c);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int g = 0; g < 64; g++) out[2 + g] = (uint8_t)c.point[g];
  for (int p = 0; p < 8; p++) koi_encode_put(out + 66 + 4 * p, signs_and_scale(&c, p), 4);
}

void koi_encode_iq3_s(const float *x, const float *w, uint8_t *out)
{
  choice c;
  choose(&s3, x, w, &c);
  memset(out, 0, 110);
  koi_encode_put(out, koi_encode_half(c.d), 2);
  for (int g = 0; g < 64; g++) {
    out[2 + g] = (uint8_t)c.point[g];
    out[66 + g / 8] |= (uint8_t)(c.point[g] >> 8 << g % 8);
  }
  memcpy(out + 74, c.signs, 32);
  put_scales(&c, 8, out + 106);
}
