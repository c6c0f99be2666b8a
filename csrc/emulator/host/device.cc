#include "emulator/host/device.h"

#include <algorithm>
#include <cstdio>

#include "emulator/control.h"
#include "emulator/host/api.h"
#include "emulator/settings.h"

namespace m2::emulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int in_host_function = 0;

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const char *p = static_cast<const char*>(a), *q = static_cast<const char*>(b);
  return p < q + b_bytes && q < p + a_bytes;
}

bool work_uses(const Work& work, const void* data, size_t bytes, bool writes) {
  if (std::holds_alternative<HostWork>(work)) return true;
  if (const auto* copy = std::get_if<CopyWork>(&work)) {
    if (overlap(copy->to, copy->bytes, data, bytes)) return true;
    return !writes && !copy->staged && overlap(copy->from, copy->bytes, data, bytes);
  }
  if (const auto* fill = std::get_if<FillWork>(&work)) return overlap(fill->to, fill->bytes, data, bytes);
  if (const auto* graph = std::get_if<GraphWork>(&work)) {
    return std::any_of(graph->exec->nodes.begin(), graph->exec->nodes.end(), [&](const Node& node) { return work_uses(node.work, data, bytes, writes); });
  }
  return false;
}

}  // namespace

Device& device() {
  static Device* the = new Device;  // never destroyed: calls may come while the process ends
  return *the;
}

Device::Device() {
  forget();
  fail_in = settings().fail;
  fail_with = cudaErrorLaunchFailure;
}

void Device::forget() {
  M2_TRACE(trace::forget_everything())
  while (!captures.empty()) end_capture(captures.back());
  for (const auto& s : busy()) s->queue.clear();  // work and streams hold each other
  legacy_ = std::make_shared<Stream>();
  legacy_->legacy = true;
  streams.clear();
  events.clear();
  graphs.clear();
  execs.clear();
  granted_shared.clear();
  retired_.clear();
  report.clear();
  sticky = reported = cudaSuccess;
  fail_in = 0;
  random_ = Random(settings().seed);
}

bool sticks(cudaError_t error) {
  switch (error) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure: return true;
    default: return false;
  }
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

HostFunctionScope::HostFunctionScope() { in_host_function++; }
HostFunctionScope::~HostFunctionScope() { in_host_function--; }

cudaError_t refused_before(Device& d) {
  if (!settings().mistake.empty()) return d.refuse(cudaErrorDevicesUnavailable, settings().mistake);
  if (in_host_function) return d.refuse(cudaErrorNotPermitted, "a host function of a stream calls the runtime");
  if (d.sticky != cudaSuccess) return d.sticky;
  if (d.fail_in == 0 || --d.fail_in != 0) return cudaSuccess;
  const std::string why = std::string("a failure that was asked for: ") + cudaGetErrorName(d.fail_with);
  return sticks(d.fail_with) ? d.refuse_for_good(d.fail_with, why) : d.refuse(d.fail_with, why);
}

cudaError_t Device::refuse(cudaError_t error, const std::string& why) {
  report = why;
  reported = error;
  std::fprintf(stderr, "emulator: %s\n", why.c_str());
  return error;
}

cudaError_t Device::refuse_for_good(cudaError_t error, const std::string& why) { return sticky = refuse(error, why); }

std::shared_ptr<Stream> Device::stream(cudaStream_t handle) const {
  return handle == nullptr || handle == cudaStreamLegacy ? legacy_ : streams.find(handle);
}

void Device::retire(const std::shared_ptr<Stream>& s) {
  retired_.push_back(s);
}

std::vector<std::shared_ptr<Stream>> Device::all_streams() const {
  std::vector<std::shared_ptr<Stream>> all;
  if (legacy_) all.push_back(legacy_);
  for (const auto& [address, s] : streams.all()) all.push_back(s);
  all.insert(all.end(), retired_.begin(), retired_.end());
  return all;
}

std::vector<std::shared_ptr<Stream>> Device::busy() const {
  std::vector<std::shared_ptr<Stream>> all = all_streams();
  std::erase_if(all, [](const auto& s) { return s->queue.empty(); });
  return all;
}

bool Device::uses_host_memory(const void* data, size_t bytes, bool writes) const {
  for (const auto& s : busy()) {
    for (const Queued& queued : s->queue) {
      if (work_uses(queued.work, data, bytes, writes)) return true;
    }
  }
  return false;
}

std::string last_report() {
  const std::lock_guard lock(device().mutex);
  return device().report;
}

std::vector<std::string> reset_device() {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  std::vector<std::string> left;
  for (const Allocation& a : allocations().all()) left.push_back(allocations().describe(a.data));
  const auto add = [&left](size_t count, const char* what) {
    if (count > 0) left.push_back(std::to_string(count) + " " + what);
  };
  add(d.streams.all().size(), "streams");
  add(d.events.all().size(), "events");
  add(d.graphs.all().size(), "graphs");
  add(d.execs.all().size(), "executable graphs");
  d.forget();
  allocations().clear();
  last_error = cudaSuccess;
  return left;
}

void fail_call(unsigned nth, cudaError_t error) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  d.fail_in = nth;
  d.fail_with = error;
}

}  // namespace m2::emulator

using namespace m2::emulator;

cudaError_t cudaGetLastError() {
  const std::lock_guard lock(device().mutex);
  if (device().sticky != cudaSuccess) return device().sticky;
  return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard lock(device().mutex);
  return device().sticky != cudaSuccess ? device().sticky : last_error;
}
