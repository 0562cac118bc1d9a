/* Code objects for AMD's chips, as clang makes them, under the emulation of HIP: which chip they are for and which kernels they have, by LLVM's "User Guide for
 * AMDGPU Backend". Owns nothing. Invariant: what is for another chip than the device's is refused. */
#include "hip_emu.h"
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MACHINE_AMDGPU = 224, CHIP_MASK = 0xff, CODE_V4 = 2 };
static const struct { const char *chip; unsigned number; } chips[] = {{"gfx906", 0x2f}, {"gfx90a", 0x3f}, {"gfx942", 0x4c}, {"gfx1030", 0x36}, {"gfx1100", 0x41}, {"gfx1201", 0x4e}};
static const char *const own[EMU_DEVICES] = {"emulated32", "emulated64", "emulated32_12", "emulated8", "emulated16", "emulated64_fp8"};

const char *emu_arch(int device, char out[HIP_ARCH_BYTES])
{
  const char *at = getenv("HIP_EMU_CHIPS");
  for (int i = 0; at && i < device; i++) at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL;
  int n = at ? (int)strcspn(at, ",") : 0;
  snprintf(out, HIP_ARCH_BYTES, "%.*s", n ? n : HIP_ARCH_BYTES - 1, n ? at : own[device]);
  return out;
}

bool emu_is_chip_code(const void *image) { return !memcmp(image, ELFMAG, SELFMAG) && ((const Elf64_Ehdr *)image)->e_machine == MACHINE_AMDGPU; }

hipError_t emu_check_chip_code(const void *image, int device)
{
  const Elf64_Ehdr *e = image;
  char arch[HIP_ARCH_BYTES];
  emu_arch(device, arch);
  arch[strcspn(arch, ":")] = 0;
  if (e->e_type != ET_DYN || e->e_ident[EI_ABIVERSION] != CODE_V4) return hipErrorInvalidImage;
  for (size_t i = 0; i < sizeof chips / sizeof *chips; i++)
    if (!strcmp(chips[i].chip, arch)) return chips[i].number == (e->e_flags & CHIP_MASK) ? hipSuccess : hipErrorNoBinaryForGpu;
  return hipErrorNoBinaryForGpu;
}

/* A kernel NAME is told to the driver by a descriptor NAME.kd. */
bool emu_has_chip_kernel(const void *image, const char *name)
{
  const char *base = image;
  const Elf64_Ehdr *e = image;
  const Elf64_Shdr *section = (const Elf64_Shdr *)(base + e->e_shoff);
  char wanted[256];
  snprintf(wanted, sizeof wanted, "%s.kd", name);
  for (int i = 0; i < e->e_shnum; i++) {
    const Elf64_Sym *symbol = (const Elf64_Sym *)(base + section[i].sh_offset);
    for (size_t k = 0; section[i].sh_type == SHT_DYNSYM && k < section[i].sh_size / sizeof *symbol; k++)
      if (!strcmp(base + section[section[i].sh_link].sh_offset + symbol[k].st_name, wanted)) return true;
  }
  return false;
}
