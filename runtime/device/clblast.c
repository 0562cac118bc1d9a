/* CLBlast behind the OpenCL backend's gemm hook: the one file that sees its header. Compiled only where configure found CLBlast.
 * Owns nothing: the temporary buffer that CLBlast wants is the caller's, kept from call to call so that queued calls do not each hold one.
 * Invariant: one product is queued, in order, on the caller's queue; whatever CLBlast answers becomes a status with a message. */
#include "dev_cl.h"
#include <clblast_c.h>

#define LAYOUT CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes /* X as it is, W turned */

static koine_status failed(const char *what, CLBlastStatusCode code)
{
  cl_int cl = (cl_int)code; /* CLBlast passes OpenCL's codes through, and has its own beyond them */
  bool memory = cl == CL_MEM_OBJECT_ALLOCATION_FAILURE || cl == CL_OUT_OF_HOST_MEMORY;
  return koi_error(memory ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE, "CLBlast: %s failed: %s; KOINE_GEMM=own does without it", what, koi_dev_cl_code(cl));
}

/* Room for CLBlast's padded copies; it grows and stays. */
static koine_status need_temp(cl_context context, size_t bytes, koi_clblast *own)
{
  if (bytes <= own->bytes) return KOINE_OK;
  cl_int code;
  cl_mem mem = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &code);
  if (!mem) return failed("its temporary buffer", (CLBlastStatusCode)code);
  if (own->temp) clReleaseMemObject(own->temp); /* calls in the queue keep it for as long as they need it */
  own->temp = mem, own->bytes = bytes;
  return KOINE_OK;
}

koine_status koi_clblast_gemm(cl_context context, cl_command_queue queue, koi_clblast *own, const koi_gemm *g, cl_mem x, cl_mem w, cl_mem y)
{
  size_t bytes = 0;
  own->used = true;
  CLBlastStatusCode code = CLBlastSGemmTempBufferSize(LAYOUT, g->n, g->rows, g->k, g->x_offset, g->ldx, g->w_offset, g->k, g->y_offset, g->ldy, &queue, &bytes);
  if (code) return failed("asking for the size of its temporary buffer", code);
  koine_status s = need_temp(context, bytes, own);
  if (s) return s;
  code = CLBlastSgemmWithTempBuffer(LAYOUT, g->n, g->rows, g->k, 1.0f, x, g->x_offset, g->ldx, w, g->w_offset, g->k, 0.0f, y, g->y_offset, g->ldy, &queue,
                                    NULL, own->temp);
  return code ? failed("a product", code) : KOINE_OK;
}

void koi_clblast_close(koi_clblast *own)
{
  if (own->temp) clReleaseMemObject(own->temp);
  if (own->used) CLBlastClearCache(); /* its programs hold the context, and it knows contexts by their address */
  *own = (koi_clblast){0};
}
