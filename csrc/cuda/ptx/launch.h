// Programmatic dependent launch: a kernel begins while the one before it in the stream still runs. Below sm_90 kernels run one after the other anyway.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

// Until the kernel before this one has ended and what it wrote can be read. Before that, touch nothing that it reads or writes.
M2_PTX void wait_for_previous_kernel(M2_SITE) {
  M2_MODEL(emulator::wait_for_previous_kernel(site);)
  M2_ASM_90(asm volatile("griddepcontrol.wait;" ::: "memory");)
}

// When every block has said so or ended, the next kernel may begin.
M2_PTX void let_next_kernel_start(M2_SITE) {
  M2_MODEL(emulator::let_next_kernel_start(site);)
  M2_ASM_90(asm volatile("griddepcontrol.launch_dependents;" ::: "memory");)
}

}  // namespace m2::cuda::ptx
