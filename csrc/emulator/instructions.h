// What the device does, one function per instruction: the built-in functions of language/ and the wrappers of cuda/ptx/ call these. Everything here runs
// in the fiber of a CUDA thread. Shared memory is named by the 32-bit addresses that PTX uses; shared_address() makes them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "emulator/site.h"

namespace m2::emulator {

// Ends the running launch with this text; does not return, and runs no destructors of the frames below.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Shared memory
void* dynamic_shared();
void* static_shared(const void* key, const char* name, size_t bytes, size_t alignment);
uint32_t shared_address(const void* pointer);

// Barriers of a block. threads: how many threads meet there, 0: all that have not ended.
void barrier_sync(int id, int threads, Site);
void barrier_arrive(int id, int threads, Site);
enum class BarrierReduction { kCount, kAnd, kOr };
int barrier_reduce(BarrierReduction, bool predicate, Site);

// A warp's collectives: all lanes of the mask come, the last one computes for all.
void sync_warp(uint32_t mask, Site);
enum class Shuffle { kIndex, kUp, kDown, kXor };
uint64_t shuffle(uint32_t mask, uint64_t value, Shuffle, int argument, int width);
uint32_t ballot(uint32_t mask, bool predicate);
uint32_t match_any(uint32_t mask, uint64_t value);
enum class Reduction { kAddU32, kMinU32, kMaxU32, kMinS32, kMaxS32, kAnd, kOr, kXor };
uint32_t reduce(uint32_t mask, uint32_t value, Reduction);

// Memory order and time
enum class Scope { kBlock, kCluster, kDevice, kSystem };
void fence(Scope, Site);
// Before an atomic operation on memory: other threads may run first.
void before_atomic(const volatile void* address, size_t bytes);
// At the scope of the device. Releases and acquires come from the same place as the operation.
uint32_t load_acquire(const uint32_t* address, Site);
void store_release(uint32_t* address, uint32_t value, Site);
uint32_t add_acquire_release(uint32_t* address, uint32_t value, Site);
void add_release(uint32_t* address, uint32_t value, Site);
// A poll found nothing: everybody else may run first.
void poll();
void sleep();
int64_t device_clock();

// cp.async. A copy of `bytes` (4, 8, 16), of which the first source_bytes come from global memory and the others are zero.
void cp_async(uint32_t destination, const void* source, int bytes, int source_bytes);
void cp_async_commit(Site);
void cp_async_wait(int groups, Site);  // until at most so many groups are in flight
void cp_async_wait_all(Site);

// Counts as one arrival when all cp.async of this thread up to here are complete. noinc: the mbarrier's count has room for it.
void cp_async_mbarrier_arrive(uint32_t mbarrier, bool noinc, Site);

// Matrix units
void ldmatrix(uint32_t* registers, int matrices, bool transpose, uint32_t address);
void stmatrix(uint32_t address, int matrices, bool transpose, const uint32_t* registers);
enum class Element { kBf16, kF16, kE4m3, kS8 };
// d += a b: 16 x 8, k 16 for 16-bit elements and 32 for 8-bit ones. d: 4 float, or 4 int for kS8.
void mma_16x8(Element, void* d, const uint32_t* a, const uint32_t* b);

// wgmma: d (+)= a b of 64 x columns, k as above; a in registers, or nullptr and in shared memory.
struct WgmmaForm {
  Element element;
  int columns;
  bool accumulate, transpose_a, transpose_b;
};
void wgmma(const WgmmaForm&, float* d, const uint32_t* a, uint64_t a_descriptor, uint64_t b_descriptor);
void wgmma_fence(Site);
void wgmma_commit(Site);
void wgmma_wait(int groups, Site);
void set_registers(int count, bool more, Site);
bool elect(uint32_t mask);

// mbarriers, of this block or at an address of another one
void mbarrier_init(uint32_t address, uint32_t count);
void mbarrier_invalidate(uint32_t address);
void mbarrier_arrive(uint32_t address, uint32_t count, Site);
void mbarrier_expect_bytes(uint32_t address, uint32_t bytes, Site);
void mbarrier_arrive_expect_bytes(uint32_t address, uint32_t bytes, Site);
bool mbarrier_test(uint32_t address, unsigned parity, Site);
void mbarrier_wait(uint32_t address, unsigned parity, Site);
void fence_mbarrier_init(Site);
void fence_proxy_async(Site);

// Clusters
unsigned cluster_rank();
unsigned cluster_blocks();
void cluster_arrive(Site);
void cluster_wait(Site);
uint32_t map_shared(uint32_t address, unsigned rank);
void load_cluster(void* registers, uint32_t address, unsigned bytes);
void store_cluster(uint32_t address, const void* registers, unsigned bytes);

// Bulk copies. map: a CUtensorMap. multicast: a bit for each block of the cluster, 0: the destination's own.
void tensor_load(uint32_t destination, const void* map, uint32_t mbarrier, int rank, const int* coordinates, uint16_t multicast);
void tensor_store(const void* map, uint32_t source, int rank, const int* coordinates);
void tensor_add(const void* map, uint32_t source, int rank, const int* coordinates);
void bulk_load(uint32_t destination, const void* source, uint32_t bytes, uint32_t mbarrier);
void bulk_copy_to_block(uint32_t destination, uint32_t source, uint32_t bytes, uint32_t mbarrier);
void bulk_store(void* destination, uint32_t source, uint32_t bytes);
void bulk_add_f32(void* destination, uint32_t source, uint32_t bytes);
void bulk_commit(Site);
void bulk_wait(int groups, Site);
void bulk_wait_read(int groups, Site);

// ex2.approx.ftz
float exp2_flushed(float x);

// Memory
void load_streaming_16(void* registers, const void* source);
void prefetch_l2(const void* address);

// Programmatic dependent launch
void wait_for_previous_kernel(Site);
void let_next_kernel_start(Site);

}  // namespace m2::emulator
