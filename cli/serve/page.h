/* The page at /, which embed.sh makes of page.html. */
#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H
#include <stddef.h>

extern const char serve_page_text[]; /* [serve_page_bytes] */
extern const size_t serve_page_bytes;
extern const char serve_page_script[], serve_page_style[]; /* SHA-256 of what stands in its script and in its style, in base64 */
#endif
