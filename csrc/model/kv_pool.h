// The paged KV cache of a model: one buffer, whole pages of all layers, so a page is copied, saved and shared in one piece.
#pragma once
#include <vector>

#include "core/ops.h"
#include "model/geometry.h"

namespace m2 {

class KvPool {
 public:
  KvPool(Backend& ops, const Geometry& g, const Capacity& c) : ops_(ops) {
    cache_ = {nullptr, c.kv_dtype, c.pages, g.layers, g.kv_heads, c.page_size, g.head_dim};
    buffer_ = ops.allocate(static_cast<size_t>(c.pages) * page_bytes());
    cache_.data = buffer_.data();
  }

  const KvCache& cache() const { return cache_; }
  size_t bytes() const { return buffer_.bytes(); }
  size_t page_bytes() const { return static_cast<size_t>(cache_.page_elements()) * dtype_bytes(cache_.dtype); }

  // Throws DEVICE_ERROR for a page that is not in the pool. The others take its word for it.
  void check(const char* call, const std::vector<int32_t>& pages) const {
    for (int32_t page : pages)
      if (page < 0 || page >= cache_.pages) fail("DEVICE_ERROR", call, ": page is ", page, ", expected 0 to ", cache_.pages - 1);
  }
  void copy_page(int64_t from, int64_t to) { ops_.copy(at(to), at(from), page_bytes()); }
  void read_page(int64_t page, void* to) const { ops_.download(to, at(page), page_bytes()); }
  void write_page(int64_t page, const void* from) { ops_.upload(at(page), from, page_bytes()); }

 private:
  char* at(int64_t page) const { return static_cast<char*>(buffer_.data()) + static_cast<size_t>(page) * page_bytes(); }

  Backend& ops_;
  KvCache cache_;
  Buffer buffer_;
};

}  // namespace m2
