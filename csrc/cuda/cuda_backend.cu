#include "cuda/cuda_backend.h"

#include <algorithm>
#include <array>

#include "cuda/check.h"
#include "cuda/launchers.h"
#include "cuda/machine.h"
#include "cuda/recordings.h"
#include "cuda/staging.h"

namespace m2::cuda {
namespace {

constexpr int kMarks = 8;  // more than the marks that anybody still asks for

class CudaBackend : public Backend {
 public:
  CudaBackend(int ordinal, const std::string& device) : device_(device == "cuda" ? "cuda:0" : device), m_(ordinal, device), staging_(m_), recordings_(m_) {}
  ~CudaBackend() override { cudaStreamSynchronize(m_.stream()); }  // before anything that the device may still use goes

  std::string device() const override { return device_; }
  std::string description() const override { return m_.name() + ", sm_" + std::to_string(m_.architecture()) + ", " + std::to_string(m_.memory() >> 20) + " MiB"; }
  std::string numerics() const override { return device_.substr(0, device_.find(':')) + " sm_" + std::to_string(m_.architecture()); }
  DType activations() const override { return DType::kBf16; }
  bool takes(WeightFormat) const override { return true; }

  Buffer allocate(size_t bytes) override { return allocate_device(bytes); }
  Buffer allocate_host(size_t bytes) override { return allocate_pinned(bytes); }
  void upload(void* device, const void* host, size_t bytes) override { staging_.upload(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override { staging_.download(host, device, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { transfer(to, from, bytes, cudaMemcpyDeviceToDevice); }
  void upload_later(void* device, const void* host, size_t bytes) override { transfer(device, host, bytes, cudaMemcpyHostToDevice); }
  void download_later(void* host, const void* device, size_t bytes) override { transfer(host, device, bytes, cudaMemcpyDeviceToHost); }

  int64_t set_mark() override {
    check(cudaEventRecord(marks_[next_mark_ % kMarks], m_.stream()), "recording an event");
    return next_mark_++;
  }
  bool passed(int64_t mark) override {
    const cudaError_t status = cudaEventQuery(marks_[mark % kMarks]);
    if (status == cudaErrorNotReady) {
      cudaGetLastError();
      return false;
    }
    check(status, "asking for a step");
    return true;
  }
  void wait(int64_t mark) override { check(cudaEventSynchronize(marks_[mark % kMarks]), "waiting for a step"); }

  void fill_random(void* data, DType dtype, int64_t count, float scale, uint64_t seed) override { cuda::fill_random(m_, data, dtype, count, scale, seed); }
  void fill_random(Weight& weight, uint64_t seed) override { cuda::fill_random(m_, staging_, weight, seed); }
  double time(int repeats, const std::function<void(int)>& body) override {
    return recordings_.time(repeats, [&] {
      for (int i = 0; i < repeats; i++) body(i);
    });
  }

  void replay(uint64_t key, const std::function<void()>& body) override { recordings_.run(key, body); }
  // Few sizes for few recordings; one of its own for each batch that is bound by memory alone.
  int64_t padded_sequences(int64_t sequences) const override {
    const int64_t step = sequences <= 8 ? 1 : sequences <= 32 ? 4 : sequences <= 64 ? 8 : 16;
    return (sequences + step - 1) / step * step;
  }
  void reserve(const Workload& w) override { m_.scratch(std::max({attention_scratch(m_, w), product_scratch(m_, w.rounded), route_scratch(w), sample_scratch(w)})); }

 protected:
  size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightType type) const override { return cuda::weight_bytes(experts, n, k, type); }
  void do_pack(Weight& weight, int64_t expert, int64_t first_row, const MatrixRows& rows) override { cuda::pack(m_, staging_, weight, expert, first_row, rows); }
  void do_embed(const EmbedArgs& a) override { cuda::embed(m_, a); }
  void do_rms_norm(const RmsNormArgs& a) override { cuda::rms_norm(m_, a); }
  void do_linear(const LinearArgs& a) override { cuda::linear(m_, a); }
  void do_qk_norm_rope_store(const QkNormRopeStoreArgs& a) override { cuda::qk_norm_rope_store(m_, a); }
  void do_attention(const AttentionArgs& a) override { cuda::attention(m_, a); }
  void do_route(const RouteArgs& a) override { cuda::route(m_, a); }
  void do_grouped_gate_up(const GroupedGateUpArgs& a) override { cuda::grouped_gate_up(m_, a); }
  void do_grouped_linear(const GroupedLinearArgs& a) override { cuda::grouped_linear(m_, a); }
  void do_experts_down(const ExpertsDownArgs& a) override { cuda::experts_down(m_, a); }
  void do_unpermute(const UnpermuteArgs& a) override { cuda::unpermute(m_, a); }
  void do_set_pages(const SetPagesArgs& a) override { cuda::set_pages(m_, a); }
  void do_start_histories(const StartHistoriesArgs& a) override { cuda::start_histories(m_, a); }
  void do_sample(const SampleArgs& a) override { cuda::sample(m_, a); }

 private:
  void transfer(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, kind, m_.stream()), "copying");
  }

  std::string device_;
  Machine m_;
  Staging staging_;
  Recordings recordings_;
  std::array<Event, kMarks> marks_;
  int64_t next_mark_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(int ordinal, const std::string& device) { return std::make_unique<CudaBackend>(ordinal, device); }

}  // namespace m2::cuda
