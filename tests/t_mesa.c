/* Faults of drivers that tests run into, each shown by a kernel of a few lines, so that nobody looks for them in ours.
 * Mesa 22.3 (rusticl on llvmpipe): all loops of a work-item together end after 65,535 turns, silently; the numbers then are what was
 * reached by chance. Mesa 25 is right. So our kernels unroll, and split long loops over work-items.
 * A device that is wrong in another way than it is known for fails. Exit 77 without any device. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <stdio.h>

static const char *text =
  "__kernel void turns(__global int *out, __global const int *one, int outer, int inner)"
  "{"
  "  int n = 0;"
  "  for (int i = 0; i < outer; i++)"
  "    for (int j = 0; j < inner; j++) n += one[j & 7];"
  "  out[0] = n;"
  "}";

/* The number of turns that the device made; -1 when it could not. */
static int turns(cl_context context, cl_device_id device, int outer, int inner)
{
  int ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, n = -1;
  size_t global = 1;
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, NULL);
  cl_program program = clCreateProgramWithSource(context, 1, &text, NULL, NULL);
  cl_mem out = clCreateBuffer(context, CL_MEM_READ_WRITE, 4, NULL, NULL), one = clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sizeof ones, ones, NULL);
  cl_kernel kernel = clBuildProgram(program, 1, &device, "", NULL, NULL) ? NULL : clCreateKernel(program, "turns", NULL);
  if (kernel) {
    clSetKernelArg(kernel, 0, sizeof out, &out);
    clSetKernelArg(kernel, 1, sizeof one, &one);
    clSetKernelArg(kernel, 2, sizeof outer, &outer);
    clSetKernelArg(kernel, 3, sizeof inner, &inner);
    if (clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, NULL, 0, NULL, NULL) || clEnqueueReadBuffer(queue, out, CL_TRUE, 0, 4, &n, 0, NULL, NULL)) n = -1;
    clReleaseKernel(kernel);
  }
  clReleaseMemObject(one);
  clReleaseMemObject(out);
  clReleaseProgram(program);
  clReleaseCommandQueue(queue);
  return n;
}

static int check(cl_device_id device)
{
  static const int cases[][2] = {{1, 60000}, {60, 1000}, {1, 200000}, {70, 1000}};
  char name[200] = "", version[200] = "";
  int bad = 0, cut = 0;
  cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
  clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof name, name, NULL);
  clGetDeviceInfo(device, CL_DRIVER_VERSION, sizeof version, version, NULL);
  for (size_t i = 0; context && i < sizeof cases / sizeof *cases; i++) {
    int want = cases[i][0] * cases[i][1], got = turns(context, device, cases[i][0], cases[i][1]);
    if (got == want) continue;
    if (want > 65535 && got <= 65535 && got > 0) cut++;
    else printf("%s, driver %s: expected %d turns, found %d\n", name, version, want, got), bad = 1;
  }
  if (cut) printf("%s, driver %s: loops end after 65,535 turns (known of Mesa 22.3)\n", name, version);
  else if (!bad) printf("%s, driver %s: loops are right\n", name, version);
  if (context) clReleaseContext(context);
  return bad;
}

int main(void)
{
  enum { MAX = 16 };
  cl_platform_id platforms[MAX];
  cl_uint n_platforms = 0, n_seen = 0;
  int bad = 0;
  clGetPlatformIDs(MAX, platforms, &n_platforms);
  for (cl_uint p = 0; p < n_platforms && p < MAX; p++) {
    cl_device_id devices[MAX];
    cl_uint n = 0;
    if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MAX, devices, &n)) continue;
    for (cl_uint d = 0; d < n && d < MAX; d++, n_seen++) bad |= check(devices[d]);
  }
  return n_seen ? bad : 77;
}
