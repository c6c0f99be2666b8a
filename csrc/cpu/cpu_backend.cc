#include "cpu/cpu_backend.h"

#include <chrono>
#include <cstring>

#include "cpu/launchers.h"
#include "cpu/memory.h"

namespace m2::cpu {
namespace {

#if defined(__x86_64__)
constexpr const char* kArchitecture = "x86-64";
#elif defined(__aarch64__)
constexpr const char* kArchitecture = "aarch64";
#else
constexpr const char* kArchitecture = "other";
#endif

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(int threads) : m_(choose_kernels(), threads) {}

  std::string device() const override { return "cpu"; }
  std::string description() const override { return std::string("CPU, ") + m_.kernels.name + ", " + std::to_string(m_.pool.threads()) + " threads"; }
  std::string numerics() const override { return std::string("cpu ") + kArchitecture + " " + m_.kernels.name; }
  DType activations() const override { return DType::kF32; }
  bool host_memory() const override { return true; }
  bool takes(WeightFormat) const override { return true; }

  Buffer allocate(size_t bytes) override { return cpu::allocate(bytes); }
  Buffer allocate_host(size_t bytes) override { return cpu::allocate(bytes); }
  void upload(void* device, const void* host, size_t bytes) override { if (bytes) std::memcpy(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override { if (bytes) std::memcpy(host, device, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memmove(to, from, bytes); }
  void upload_later(void* device, const void* host, size_t bytes) override { upload(device, host, bytes); }
  void download_later(void* host, const void* device, size_t bytes) override { download(host, device, bytes); }
  int64_t set_mark() override { return 0; }
  bool passed(int64_t) override { return true; }
  void wait(int64_t) override {}
  void fill_random(void* data, DType dtype, int64_t count, float scale, uint64_t seed) override { cpu::fill_random(m_, data, dtype, count, scale, seed); }
  void fill_random(Weight& weight, uint64_t seed) override { cpu::fill_random(m_, weight, seed); }
  double time(int repeats, const std::function<void(int)>& body) override {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; i++) body(i);
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / repeats;
  }

 protected:
  size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightType type) const override { return cpu::weight_bytes(experts, n, k, type); }
  void do_pack(Weight& weight, int64_t expert, int64_t first_row, const MatrixRows& rows) override { cpu::pack(m_, weight, expert, first_row, rows); }
  void do_embed(const EmbedArgs& a) override { cpu::embed(m_, a); }
  void do_rms_norm(const RmsNormArgs& a) override { cpu::rms_norm(m_, a); }
  void do_linear(const LinearArgs& a) override { cpu::linear(m_, a); }
  void do_qk_norm_rope_store(const QkNormRopeStoreArgs& a) override { cpu::qk_norm_rope_store(m_, a); }
  void do_attention(const AttentionArgs& a) override { cpu::attention(m_, a); }
  void do_route(const RouteArgs& a) override { cpu::route(m_, a); }
  void do_grouped_gate_up(const GroupedGateUpArgs& a) override { cpu::grouped_gate_up(m_, a); }
  void do_grouped_linear(const GroupedLinearArgs& a) override { cpu::grouped_linear(m_, a); }
  void do_unpermute(const UnpermuteArgs& a) override { cpu::unpermute(m_, a); }
  void do_set_pages(const SetPagesArgs& a) override { cpu::set_pages(a); }
  void do_start_histories(const StartHistoriesArgs& a) override { cpu::start_histories(m_, a); }
  void do_sample(const SampleArgs& a) override { cpu::sample(m_, a); }

 private:
  Machine m_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads) {
  if (threads < 0 || threads > 1024) fail("BAD_OPTION", "threads must be in 0..1024 (0: physical cores), found ", threads);
  return std::make_unique<CpuBackend>(threads == 0 ? physical_cores() : threads);
}

}  // namespace m2::cpu
