/* The answer that koine_verify knows is what the C reference computes today, on any machine. --print: the table for runtime/api/known_answer.inc. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "device/backend.h"
#include "api/known_answer.h"

int main(int argc, char **argv)
{
  static const float known[40] = {
#include "api/known_answer.inc"
  };
  float logits[40];
  koi_probe p = {0};
  int wrong = 0;
  if (koi_backend_host.probe(&p) || koi_known_answer(&p.endpoints[0], logits)) return printf("FAIL %s\n", koi_error_text()), 1;
  for (int i = 0; i < 40; i++) {
    if (argc > 1 && !strcmp(argv[1], "--print")) printf("%.9gf,%c", logits[i], i % 8 == 7 ? '\n' : ' ');
    else if (!(fabs((double)logits[i] - known[i]) <= 1e-5)) wrong++, printf("FAIL logit %d: %.9g, expected %.9g\n", i, logits[i], known[i]);
  }
  koi_backend_host.unprobe(&p.endpoints[0]);
  koi_probe_free(&p);
  return wrong != 0;
}
