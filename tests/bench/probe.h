/* What bench_mat and bench_attn hold a CPU's speed against: reads of memory and multiply-adds by two threads. */
#ifndef KOI_BENCH_PROBE_H
#define KOI_BENCH_PROBE_H
enum { COLD_BYTES = 448 << 20 }; /* more than a cache holds */

double wall(void); /* seconds */
double busy(void); /* of processor time */
void probe_open(void); /* ends the program where there is no memory */
void probe_close(void);
/* Seconds of wall and of processor time for two threads: one that reads about `bytes`, at most COLD_BYTES, and says how many; one that does
 * probe_flops(). */
double probe_read(double bytes, double out[2]);
void probe_multiply(double out[2]);
double probe_flops(void); /* once probe_multiply() ran; 0: not known here */
#endif
