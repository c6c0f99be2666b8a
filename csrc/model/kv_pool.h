// The paged KV cache of a model: one buffer, whole pages of all layers, so a page is copied, saved and shared in one piece.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/ops.h"
#include "model/geometry.h"

namespace m2 {

class KvPool {
 public:
  KvPool(Backend& ops, const Geometry& g, DType dtype, int64_t pages, int64_t page_size) : ops_(ops) {
    cache_ = {nullptr, dtype, pages, g.layers, g.kv_heads, page_size, g.head_dim};
    buffer_ = ops.allocate(static_cast<size_t>(pages) * page_bytes());
    cache_.data = buffer_.data();
    if (dtype == DType::kF8E4m3) scales_ = ops.allocate(static_cast<size_t>(cache_.scale_count()) * sizeof(float));
  }

  const KvCache& cache() const { return cache_; }
  size_t bytes() const { return buffer_.bytes(); }
  size_t page_bytes() const { return static_cast<size_t>(cache_.page_elements()) * dtype_bytes(cache_.dtype); }

  // An f8 pool can hold nothing before it has its scales, and they never change: pages hang on them. Throws DEVICE_ERROR for others than it can take.
  bool lacks_scales() const { return scales_.data() && !cache_.scales; }
  void set_scales(const std::vector<float>& scales) {
    expect(lacks_scales(), "setKvScales is for an fp8 cache, and once");
    expect(static_cast<int64_t>(scales.size()) == cache_.scale_count(), "setKvScales needs ", cache_.scale_count(), " scales, found ", scales.size());
    for (float scale : scales) expect(scale > 0 && std::isfinite(scale), "setKvScales needs scales above 0, found ", scale);
    ops_.upload(scales_.data(), scales.data(), scales.size() * sizeof(float));
    cache_.scales = static_cast<const float*>(scales_.data());
  }

  // [L][K|V][Hk] the largest size of an element in the first `slots` slots of a bf16 pool; NaN counts as the largest.
  std::vector<float> largest(int64_t slots) const {
    std::vector<uint16_t> largest(cache_.scale_count());  // without their signs bf16 are in the order of their bits
    std::vector<bf16> page(cache_.page_elements());
    for (int64_t p = 0, first = 0; first < slots; p++, first += cache_.page_size) {
      read_page(p, page.data());
      const int64_t used = std::min(cache_.page_size, slots - first) * cache_.head_dim;
      for (int64_t tile = 0; tile < cache_.scale_count(); tile++) {
        const bf16* elements = page.data() + tile * cache_.tile_elements();
        for (int64_t i = 0; i < used; i++) largest[tile] = std::max<uint16_t>(largest[tile], elements[i].bits & 0x7fff);
      }
    }
    std::vector<float> sizes(largest.size());
    for (size_t i = 0; i < sizes.size(); i++) sizes[i] = to_f32(bf16{largest[i]});
    return sizes;
  }

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
  Buffer scales_;  // of an f8 pool: [L][K|V][Hk] f32
};

}  // namespace m2
