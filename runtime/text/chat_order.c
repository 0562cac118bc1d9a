/* Owns: putting the results of tools into the order of the calls that asked for them.
 * Does not: move a user's texts between them. */
#include <stdlib.h>
#include <string.h>
#include "chat_impl.h"

/* Where the call with this id stands among those that an assistant made; 0 for an unknown one. */
static size_t rank(const koi_chat_request *q, koi_chat_range made, koi_chat_span id)
{
  size_t found = 0;
  for (size_t i = 0; i < made.n; i++) { /* of equal ids the last one counts */
    koi_chat_span other = q->call[made.at + i].id;
    if (other.n && other.n == id.n && !memcmp(q->pool.s + other.at, q->pool.s + id.at, id.n)) found = i;
  }
  return found;
}

typedef struct ranked {
  koi_chat_block block;
  size_t rank, at;
} ranked;

static int by_rank(const void *a, const void *b)
{
  const ranked *x = a, *y = b;
  return x->rank != y->rank ? (x->rank > y->rank) - (x->rank < y->rank) : (x->at > y->at) - (x->at < y->at);
}

/* The results of one turn; its texts stay where they are. */
static bool sort_turn(const koi_chat_request *q, koi_chat_range made, koi_chat_range blocks)
{
  ranked *v = koi_alloc(blocks.n, sizeof *v);
  size_t n = 0;
  if (!v) return false;
  for (size_t i = 0; i < blocks.n; i++) {
    const koi_chat_block *b = &q->block[blocks.at + i];
    if (b->result) v[n] = (ranked){*b, rank(q, made, b->id), n}, n++;
  }
  if (n > 1) qsort(v, n, sizeof *v, by_rank);
  for (size_t i = 0, k = 0; i < blocks.n; i++)
    if (q->block[blocks.at + i].result) q->block[blocks.at + i] = v[k++].block;
  koi_free(v);
  return true;
}

bool koi_chat_order_results(const koi_chat_request *q)
{
  koi_chat_range made = {0};
  for (size_t i = 0; i < q->n_messages; i++) {
    const koi_chat_message *m = &q->message[i];
    if (m->role == KOI_ROLE_ASSISTANT && m->calls.n) made = m->calls;
    else if (m->role == KOI_ROLE_USER && m->blocks.n > 1 && made.n && !sort_turn(q, made, m->blocks)) return false;
  }
  return true;
}
