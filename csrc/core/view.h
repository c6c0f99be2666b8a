// View: a pointer with dtype and sizes, contiguous and row-major, owning nothing. Buffer: bytes of one device, freed with the object.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <utility>

#include "core/dtype.h"
#include "core/error.h"

namespace m2 {

struct View {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, 4> sizes{};

  View() = default;
  View(void* data, DType dtype, std::initializer_list<int64_t> shape) : data(data), dtype(dtype), rank(static_cast<int>(shape.size())) {
    expect(shape.size() <= 4, "a view has at most 4 dimensions");
    int i = 0;
    for (int64_t s : shape) sizes[i++] = s;
  }
  template <class T>
  static View of(T* data, std::initializer_list<int64_t> shape) {
    return View(const_cast<std::remove_const_t<T>*>(data), kDTypeOf<std::remove_const_t<T>>, shape);
  }

  explicit operator bool() const { return data != nullptr; }
  int64_t size(int i) const { return sizes[i]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= sizes[i];
    return n;
  }
  template <class T>
  T* as() const {
    expect(kDTypeOf<std::remove_const_t<T>> == dtype, "a ", dtype_name(dtype), " view was read as ", dtype_name(kDTypeOf<std::remove_const_t<T>>));
    return static_cast<T*>(data);
  }
};

class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, size_t bytes, std::function<void(void*)> free) : data_(data), bytes_(bytes), free_(std::move(free)) {}
  Buffer(Buffer&& o) noexcept { swap(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    Buffer moved(std::move(o));
    swap(moved);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_) free_(data_);
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  View view(DType dtype, std::initializer_list<int64_t> shape, size_t byte_offset = 0) const {
    View v(static_cast<char*>(data_) + byte_offset, dtype, shape);
    expect(byte_offset + static_cast<size_t>(v.numel()) * dtype_bytes(dtype) <= bytes_, "a view reaches past its buffer");
    return v;
  }

 private:
  void swap(Buffer& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    std::swap(free_, o.free_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
  std::function<void(void*)> free_;
};

}  // namespace m2
