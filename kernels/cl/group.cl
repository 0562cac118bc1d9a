/* group: entries sorted by unit into panels, stable. The contract is in kernels/ops.h. One work-group does it all.
 * With one work-item: a counting sort. With L: each owns one unit at a time and counts and places its entries in order while ids pass
 * through local memory, so no two ever write to the same panel and the order never depends on timing. */

/* What entries do not fill: the rest of unit u's last panel, and the unit numbers. */
FN void close_unit(GLOBAL int *rows, GLOBAL int *unit, int u, int start, int n, int n_panels)
{
  int end = start + (n + NT - 1) / NT;
  if (end > n_panels) end = n_panels;
  for (int p = start; p < end; p++) unit[p] = u;
  for (int i = start * NT + n; i < end * NT; i++) rows[i] = -1;
}

#if L > 1
#define STEP 8
#define STAGE (STEP * L)
#define NOBODY (-2) /* no unit, and not the -1 of a work-item without one */
/* Counts the entries of unit u (place 0), or puts them into rows from `pos` on. */
FN int scan_ids(GLOBAL const int *ids, LOCAL_PTR int *stage, GLOBAL int *rows, int E, int u, int pos, int limit, int place, int lane)
{
  for (int first = 0; first < E; first += STAGE) {
    int n = E - first < STAGE ? E - first : STAGE;
    for (int i = lane; i < STAGE; i += L) stage[i] = i < n ? ids[first + i] : NOBODY;
    BARRIER();
    for (int i = 0; i < n; i += STEP) {
      UNROLL for (int k = 0; k < STEP; k++) {
        if (stage[i + k] == u) {
          if (place && pos < limit) rows[pos] = first + i + k;
          pos++;
        }
      }
    }
    BARRIER();
  }
  return pos;
}

/* Sum of the values of lower work-items; *all: of all. */
FN int before(int v, LOCAL_PTR int *tmp, int lane, int *all)
{
  int sum = v;
  tmp[lane] = v;
  BARRIER();
  for (int step = 1; step < L; step *= 2) {
    int add = lane >= step ? tmp[lane - step] : 0;
    BARRIER();
    sum += add;
    tmp[lane] = sum;
    BARRIER();
  }
  *all = tmp[L - 1];
  BARRIER();
  return sum - v;
}
#else
#define MAXU 1024
#endif

KERNEL void group(GLOBAL const int *ids, GLOBAL int *rows, GLOBAL int *unit, int E, int n_units, int n_panels)
{
  int lane = LOCAL_ID(0), panel = 0, limit = n_panels * NT;
#if L > 1
  LOCAL int stage[STAGE];
  LOCAL int tmp[L];
  for (int base = 0; base < n_units; base += L) {
    int u = base + lane < n_units ? base + lane : -1, total;
    int n = scan_ids(ids, stage, rows, E, u, 0, limit, 0, lane);
    if (u < 0) n = 0;
    int start = panel + before((n + NT - 1) / NT, tmp, lane, &total);
    scan_ids(ids, stage, rows, E, u, u < 0 ? limit : start * NT, limit, 1, lane);
    close_unit(rows, unit, u, start, n, n_panels);
    panel += total;
  }
#else
  LOCAL int at[MAXU];
  for (int base = 0; base < n_units; base += MAXU) {
    int many = n_units - base < MAXU ? n_units - base : MAXU;
    for (int u = 0; u < many; u++) at[u] = 0;
    for (int e = 0; e < E; e++) {
      uint u = (uint)(ids[e] - base);
      if (u < (uint)many) at[u]++;
    }
    for (int u = 0; u < many; u++) {
      int n = at[u];
      close_unit(rows, unit, base + u, panel, n, n_panels);
      at[u] = panel * NT;
      panel += (n + NT - 1) / NT;
    }
    for (int e = 0; e < E; e++) {
      uint u = (uint)(ids[e] - base);
      if (u < (uint)many && at[u] < limit) rows[at[u]++] = e;
    }
  }
#endif
  for (int p = panel + lane; p < n_panels; p += L) {
    unit[p] = -1;
    for (int i = 0; i < NT; i++) rows[p * NT + i] = -1;
  }
}
