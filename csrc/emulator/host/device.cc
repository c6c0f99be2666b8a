#include "emulator/host/device.h"

#include <cstdio>
#include <cstring>

#include "emulator/control.h"
#include "emulator/device/launch.h"
#include "emulator/host/api.h"
#include "emulator/settings.h"

namespace m2::emulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;

}  // namespace

Device& device() {
  static Device* the = new Device;
  return *the;
}

Device::Device() : legacy(std::make_shared<Stream>()), random(settings().seed) { legacy->legacy = true; }

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

cudaError_t refused_before(Device& d) {
  if (!settings().mistake.empty()) return d.refuse(cudaErrorDevicesUnavailable, settings().mistake);
  if (d.sticky != cudaSuccess) return d.sticky;
  if (d.fail_in == 0 || --d.fail_in != 0) return cudaSuccess;
  d.report = std::string("a failure that was asked for: ") + cudaGetErrorName(d.fail_with);
  d.reported = d.fail_with;
  if (sticks(d.fail_with)) d.sticky = d.fail_with;
  return d.fail_with;
}

cudaError_t Device::refuse(cudaError_t error, const std::string& why) {
  report = why;
  reported = error;
  std::fprintf(stderr, "emulator: %s\n", why.c_str());
  return error;
}

std::shared_ptr<Stream> Device::stream(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return legacy;
  const auto found = streams.find(reinterpret_cast<Stream*>(handle));
  return found == streams.end() ? nullptr : found->second;
}

void Device::enqueue(const std::shared_ptr<Stream>& s, Work work) {
  if (s->capture) {
    s->capture->graph.nodes.push_back({std::move(work), {}});
    return;
  }
  Queued queued{std::move(work), ++s->issued, {}};
  s->queue.push_back(std::move(queued));
  complete(s, s->issued);
}

cudaError_t Device::complete(const std::shared_ptr<Stream>& s, uint64_t number) {
  while (sticky == cudaSuccess && s->done < number) {
    const cudaError_t error = run(*s);
    if (error != cudaSuccess) sticky = error;
  }
  return sticky;
}

cudaError_t Device::complete_all() { return sticky; }

namespace {

cudaError_t run_kernel(Device& d, const Kernel& kernel) {
  Launch launch;
  begin_launch(launch, kernel);
  if (run_launch(launch)) return cudaSuccess;
  return d.refuse(cudaErrorLaunchFailure, launch.report);
}

cudaError_t run_work(Device& d, const Work& work) {
  if (const auto* kernel = std::get_if<KernelWork>(&work)) return run_kernel(d, *kernel->kernel);
  if (const auto* copy = std::get_if<CopyWork>(&work)) std::memmove(copy->to, copy->staged ? copy->staged->data() : copy->from, copy->bytes);
  if (const auto* fill = std::get_if<FillWork>(&work)) std::memset(fill->to, fill->value, fill->bytes);
  if (const auto* host = std::get_if<HostWork>(&work)) host->function(host->data);
  if (const auto* record = std::get_if<RecordWork>(&work)) {
    record->event->ran = record->ticket;
    record->event->time = std::chrono::steady_clock::now();
  }
  if (const auto* graph = std::get_if<GraphWork>(&work)) {
    for (const Node& node : graph->exec->nodes) {
      if (const cudaError_t error = run_work(d, node.work); error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t Device::run(Stream& s) {
  const Queued queued = std::move(s.queue.front());
  s.queue.pop_front();
  s.done = queued.number;
  return run_work(*this, queued.work);
}

void Device::forget() {
  legacy = std::make_shared<Stream>();
  legacy->legacy = true;
  streams.clear();
  events.clear();
  graphs.clear();
  execs.clear();
  granted_shared.clear();
  report.clear();
  sticky = cudaSuccess;
  fail_in = 0;
  captures = 0;
  random = Random(settings().seed);
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
