#include "cpu/memory.h"

#include <algorithm>
#include <cstdint>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace m2::cpu {

Buffer allocate(size_t bytes) {
  constexpr size_t kLine = 64, kHugePage = size_t{1} << 21;
  const auto alignment = std::align_val_t(bytes >= kHugePage ? kHugePage : kLine);
  void* data = bytes > PTRDIFF_MAX ? nullptr : ::operator new(std::max<size_t>(bytes, 1), alignment, std::nothrow);
  if (!data) fail("OUT_OF_MEMORY", "cpu: ", bytes, " bytes could not be allocated");
#ifdef __linux__
  if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);  // a wish: it may fail
#endif
  return Buffer(data, bytes, [alignment](void* p) { ::operator delete(p, alignment); });
}

}  // namespace m2::cpu
