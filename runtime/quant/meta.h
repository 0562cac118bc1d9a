/* The metadata of a GGUF file that is made: sizes and tokenizer of a checkpoint's folder, or the keys of the GGUF file that it is made of. */
#ifndef KOI_META_H
#define KOI_META_H
#include "model/model.h"
#include "out.h"

/* KOINE_ERR_FILE for a tokenizer that cannot be read, KOINE_ERR_UNSUPPORTED for one that GGUF has no name for. */
koine_status koi_meta_put(const koine_model *m, uint32_t file_type, koi_out_header *h);
#endif
