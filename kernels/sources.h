/* The kernel texts, put into the library by kernels/embed.sh. Each is complete: the dialect header first, every #include inlined. */
#ifndef KOI_SOURCES_H
#define KOI_SOURCES_H
struct koi_source { const char *name, *text; }; /* name: file in kernels/cl without its ending */
extern const struct koi_source koi_sources[];   /* ends at name NULL */
/* NULL when there is none of this name. */
const char *koi_source_text(const char *name);
#endif
