// Bulk copies, which the copy engine makes: plain ones and boxes of tensors, into shared memory (an mbarrier counts the bytes) and out of it (the thread
// waits for its groups of copies, either until the source is read or until the destination is written).
//
// A destination in shared memory is filled with 0xff when a copy is issued, and so is one in global memory. Late copies are made when nobody can run, in
// any order, and late stores read their source in the wait for it.
#include <cstring>
#include <memory>

#include "emulator/device/mbarrier.h"
#include "emulator/device/memory.h"
#include "emulator/device/scheduler.h"
#include "emulator/device/tensor_map.h"
#include "emulator/instructions.h"
#include "emulator/language/narrow_floats.h"
#include "emulator/sites.h"

namespace m2::emulator {
namespace {

constexpr uint8_t kPoison = 0xff;

struct Coordinates {
  int at[5];
};

TensorMap map_of(const void* map, int rank, const char* what) {
  TensorMap m;
  std::memcpy(&m, map, sizeof m);
  if (m.magic != TensorMap::kMagic) fail("%s: there is no tensor map at %p", what, map);
  if (m.rank != rank) fail("%s: a tensor of %d dimensions, and coordinates of %d", what, m.rank, rank);
  return m;
}

// f(offset in the tile, the row's bytes in global memory or nullptr where it is outside) for each row of a box.
template <class F>
void for_each_row(const TensorMap& m, const Coordinates& c, F f) {
  uint32_t box[5] = {1, 1, 1, 1, 1}, offset = 0;
  for (int i = 0; i < m.rank; i++) box[i] = m.box[i];
  for (uint32_t i4 = 0; i4 < box[4]; i4++)
    for (uint32_t i3 = 0; i3 < box[3]; i3++)
      for (uint32_t i2 = 0; i2 < box[2]; i2++)
        for (uint32_t i1 = 0; i1 < box[1]; i1++, offset += m.row_bytes()) {
          const uint32_t index[5] = {0, i1, i2, i3, i4};
          uint8_t* row = m.base;
          for (int d = 1; d < m.rank && row; d++) {
            const int64_t x = int64_t{c.at[d]} + index[d];
            row = x < 0 || x > int64_t{m.last[d]} ? nullptr : row + static_cast<uint64_t>(x) * m.stride[d - 1];
          }
          f(offset, row);
        }
}

// f(place in the tile, element in global memory or nullptr, bytes): runs of elements that lie together in both.
template <class F>
void for_each_piece(const TensorMap& m, const Coordinates& c, uint32_t start, F f) {
  const unsigned element = m.bytes_per_element(), piece = m.row_bytes() % 16 == 0 ? 16 : element;
  for_each_row(m, c, [&](uint32_t offset, uint8_t* row) {
    for (unsigned x = 0; x < m.row_bytes(); x += piece) {
      const uint32_t place = swizzled(start + offset + x, m.swizzle) - start;
      const int64_t first = int64_t{c.at[0]} + x / element, count = piece / element;
      if (row && first >= 0 && first + count <= static_cast<int64_t>(m.size(0))) {
        f(place, row + static_cast<uint64_t>(first) * element, piece);
        continue;
      }
      for (unsigned e = 0; e < piece; e += element) {
        const int64_t i = first + e / element;
        f(place + e, row && i >= 0 && i < static_cast<int64_t>(m.size(0)) ? row + static_cast<uint64_t>(i) * element : nullptr, element);
      }
    }
  });
}

void check_tile(const TensorMap& m, uint32_t shared, const char* what) {
  const unsigned pattern = m.swizzle ? 128u << m.swizzle : 128;
  if (shared % pattern) fail("%s: shared address %08x is not aligned to %u bytes, which the swizzle repeats after", what, shared, pattern);
  shared_bytes(shared, m.box_bytes(), 128, what);
}

Block& block_at(unsigned rank) { return *group().blocks[self->block->first_of_cluster + rank]; }

}  // namespace

void tensor_load(uint32_t destination, const void* map, uint32_t mbarrier, int rank, const int* coordinates, uint16_t multicast) {
  constexpr const char* kWhat = "a tensor load (cp.async.bulk.tensor)";
  needs_hopper(kWhat);
  const TensorMap m = map_of(map, rank, kWhat);
  Coordinates c{};
  std::memcpy(c.at, coordinates, static_cast<size_t>(rank) * sizeof(int));
  check_tile(m, destination, kWhat);
  for (unsigned r = 0; r < group().launch->kernel->cluster_blocks(); r++) {
    if (multicast ? !(multicast >> r & 1) : r != destination / kSharedRank) continue;
    const uint32_t to = r * kSharedRank + destination % kSharedRank;
    uint8_t* tile = shared_bytes(to, m.box_bytes(), 128, kWhat);
    const MBarrierAt at = announced_mbarrier_at(multicast ? r * kSharedRank + mbarrier % kSharedRank : mbarrier, kWhat);
    std::memset(tile, kPoison, m.box_bytes());
    Block& target = block_at(r);
    target.bulk_copies++;
    start_async([m, c, tile, to, &target, &barrier_block = *at.block, offset = at.barrier->offset] {
      for_each_piece(m, c, to % kSharedRank, [tile](uint32_t place, const uint8_t* element, unsigned bytes) {
        if (!element) {
          std::memset(tile + place, 0, bytes);
          return;
        }
        check_global(element, bytes, 1, kWhat);
        std::memcpy(tile + place, element, bytes);
      });
      target.bulk_copies--;
      mbarrier_bytes_arrived(barrier_block, offset, m.box_bytes());
    });
  }
}

void bulk_load(uint32_t destination, const void* source, uint32_t bytes, uint32_t mbarrier) {
  constexpr const char* kWhat = "a bulk load (cp.async.bulk)";
  needs_hopper(kWhat);
  if (bytes % 16) fail("%s of %u bytes, which are no multiple of 16", kWhat, bytes);
  check_global(source, bytes, 16, kWhat);
  uint8_t* to = shared_bytes(destination, bytes, 16, kWhat);
  const MBarrierAt at = announced_mbarrier_at(mbarrier, kWhat);
  std::memset(to, kPoison, bytes);
  Block& target = block_at(destination / kSharedRank);
  target.bulk_copies++;
  start_async([to, source, bytes, &target, &barrier_block = *at.block, offset = at.barrier->offset] {
    std::memcpy(to, source, bytes);
    target.bulk_copies--;
    mbarrier_bytes_arrived(barrier_block, offset, bytes);
  });
}

void bulk_copy_to_block(uint32_t destination, uint32_t source, uint32_t bytes, uint32_t mbarrier) {
  constexpr const char* kWhat = "a bulk copy to a block of the cluster (cp.async.bulk)";
  needs_hopper(kWhat);
  if (bytes % 16) fail("%s of %u bytes, which are no multiple of 16", kWhat, bytes);
  const uint8_t* from = shared_bytes(source, bytes, 16, kWhat);
  uint8_t* to = shared_bytes(destination, bytes, 16, kWhat);
  const MBarrierAt at = announced_mbarrier_at(mbarrier, kWhat);
  std::memset(to, kPoison, bytes);
  Block &target = block_at(destination / kSharedRank), &origin = *self->block;
  target.bulk_copies++;
  origin.bulk_copies++;
  start_async([to, from, bytes, &target, &origin, &barrier_block = *at.block, offset = at.barrier->offset] {
    std::memcpy(to, from, bytes);
    target.bulk_copies--;
    origin.bulk_copies--;
    mbarrier_bytes_arrived(barrier_block, offset, bytes);
  });
}

namespace {

void write_now(BulkStore& store) {
  if (!store.is_read) store.read();
  store.is_read = true;
  store.write();
}

void issue_store(std::shared_ptr<BulkStore> store) {
  Group& g = group();
  const bool early = g.completion() == Completion::kEarly || (g.completion() == Completion::kRandom && g.random.one_in(3));
  if (early) {
    write_now(*store);
    store->read = store->write = [] {};
  } else if (g.completion() == Completion::kRandom && g.random.one_in(2)) {
    store->read();
    store->is_read = true;
  }
  self->bulk_stores.push_back(std::move(store));
}

enum class Change { kStore, kAdd };

template <class T, class To, class From>
void add(uint8_t* to, const uint8_t* from, unsigned bytes, To widen, From narrow) {
  for (unsigned i = 0; i < bytes; i += sizeof(T)) {
    T a, b;
    std::memcpy(&a, to + i, sizeof(T));
    std::memcpy(&b, from + i, sizeof(T));
    a = narrow(widen(a) + widen(b));
    std::memcpy(to + i, &a, sizeof(T));
  }
}

void add_elements(TensorElement element, uint8_t* to, const uint8_t* from, unsigned bytes) {
  const auto same = [](auto x) { return x; };
  switch (element) {
    case TensorElement::kF32: return add<float>(to, from, bytes, same, same);
    case TensorElement::kF16: return add<uint16_t>(to, from, bytes, f16_to_f32, f32_to_f16);
    case TensorElement::kBf16: return add<uint16_t>(to, from, bytes, bf16_to_f32, f32_to_bf16);
    case TensorElement::kU32:
    case TensorElement::kS32: return add<uint32_t>(to, from, bytes, same, same);
    case TensorElement::kU64: return add<uint64_t>(to, from, bytes, same, same);
    default: fail("a bulk reduction does not add this type of element");
  }
}

void change(Change kind, TensorElement element, uint8_t* to, const uint8_t* from, unsigned bytes) {
  if (kind == Change::kStore) std::memcpy(to, from, bytes);
  else add_elements(element, to, from, bytes);
}

void store_box(const void* map, uint32_t source, int rank, const int* coordinates, Change kind, const char* what) {
  needs_hopper(what);
  const TensorMap m = map_of(map, rank, what);
  Coordinates c{};
  std::memcpy(c.at, coordinates, static_cast<size_t>(rank) * sizeof(int));
  check_tile(m, source, what);
  const uint8_t* tile = shared_bytes(source, m.box_bytes(), 128, what);
  const uint32_t start = source % kSharedRank;
  for_each_piece(m, c, start, [&](uint32_t, uint8_t* element, unsigned bytes) {
    if (!element) return;
    check_global(element, bytes, 1, what);
    if (kind == Change::kStore) std::memset(element, kPoison, bytes);
  });
  auto taken = std::make_shared<std::vector<uint8_t>>();
  auto store = std::make_shared<BulkStore>();
  store->read = [taken, tile, bytes = m.box_bytes()] { taken->assign(tile, tile + bytes); };
  store->write = [taken, m, c, start, kind] {
    for_each_piece(m, c, start, [&](uint32_t place, uint8_t* element, unsigned bytes) {
      if (element) change(kind, m.element, element, taken->data() + place, bytes);
    });
  };
  issue_store(std::move(store));
}

void store_bytes(void* destination, uint32_t source, uint32_t bytes, Change kind, TensorElement element, const char* what) {
  needs_hopper(what);
  if (bytes % 16) fail("%s of %u bytes, which are no multiple of 16", what, bytes);
  check_global(destination, bytes, 16, what);
  const uint8_t* from = shared_bytes(source, bytes, 16, what);
  uint8_t* to = static_cast<uint8_t*>(destination);
  if (kind == Change::kStore) std::memset(to, kPoison, bytes);
  auto taken = std::make_shared<std::vector<uint8_t>>();
  auto store = std::make_shared<BulkStore>();
  store->read = [taken, from, bytes] { taken->assign(from, from + bytes); };
  store->write = [taken, to, bytes, kind, element] { change(kind, element, to, taken->data(), bytes); };
  issue_store(std::move(store));
}

}  // namespace

void tensor_store(const void* map, uint32_t source, int rank, const int* coordinates) {
  store_box(map, source, rank, coordinates, Change::kStore, "a tensor store (cp.async.bulk.tensor)");
}
void tensor_add(const void* map, uint32_t source, int rank, const int* coordinates) {
  store_box(map, source, rank, coordinates, Change::kAdd, "a tensor reduction (cp.reduce.async.bulk.tensor)");
}
void bulk_store(void* destination, uint32_t source, uint32_t bytes) {
  store_bytes(destination, source, bytes, Change::kStore, TensorElement::kU8, "a bulk store (cp.async.bulk)");
}
void bulk_add_f32(void* destination, uint32_t source, uint32_t bytes) {
  store_bytes(destination, source, bytes, Change::kAdd, TensorElement::kF32, "a bulk reduction (cp.reduce.async.bulk)");
}

void bulk_commit(Site site) {
  needs_hopper("cp.async.bulk.commit_group");
  if (!skips("cp.async.bulk.commit_group", site)) self->bulk_groups.push_back(self->bulk_stores.size());
}

namespace {

// The stores of all groups but the last `groups`.
size_t stores_of_older_groups(const Thread& t, int groups) {
  const size_t in_flight = t.bulk_groups.size(), may_fly = static_cast<size_t>(groups);
  return in_flight > may_fly ? t.bulk_groups[in_flight - may_fly - 1] : 0;
}

}  // namespace

void bulk_wait_read(int groups, Site site) {
  needs_hopper("cp.async.bulk.wait_group.read");
  if (skips("cp.async.bulk.wait_group.read", site)) return;
  for (size_t i = 0; i < stores_of_older_groups(*self, groups); i++) {
    BulkStore& store = *self->bulk_stores[i];
    if (!store.is_read) store.read();
    store.is_read = true;
  }
}

void bulk_wait(int groups, Site site) {
  needs_hopper("cp.async.bulk.wait_group");
  if (skips("cp.async.bulk.wait_group", site)) return;
  Thread& t = *self;
  const size_t complete = stores_of_older_groups(t, groups);
  if (complete == 0) return;
  for (size_t i = 0; i < complete; i++) write_now(*t.bulk_stores[i]);
  t.bulk_stores.erase(t.bulk_stores.begin(), t.bulk_stores.begin() + static_cast<ptrdiff_t>(complete));
  t.bulk_groups.erase(t.bulk_groups.begin(), t.bulk_groups.end() - groups);
  for (size_t& end : t.bulk_groups) end -= complete;
}

// What is read and not written yet is written before the kernel has ended.
void bulk_stores_after_end(Thread& t) {
  for (const auto& store : t.bulk_stores) {
    if (!store->is_read) fail("a thread ends without having waited until its bulk stores have read shared memory, which may be gone");
    t.block->group->async.push_back(store->write);
  }
  t.bulk_stores.clear();
}

void fence_proxy_async(Site site) {
  needs_hopper("fence.proxy.async");
  if (skips("fence.proxy.async", site)) return;
  announce_mbarriers(*self->block, nullptr);
  preempt();
}

void fence_mbarrier_init(Site site) {
  needs_hopper("fence.mbarrier_init");
  if (skips("fence.mbarrier_init", site)) return;
  announce_mbarriers(*self->block, self);
}

}  // namespace m2::emulator
