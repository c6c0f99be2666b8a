// When queued work runs, and how. It runs when a wait needs it, of the streams that the wait needs and no further; with other seeds also at once, or some
// of it at any call, and other streams in between.
#include <algorithm>
#include <cstring>

#include "emulator/device/launch.h"
#include "emulator/host/device.h"
#include "emulator/settings.h"

namespace m2::emulator {
namespace {

Completion completion() { return static_cast<Completion>(settings().seed % 3); }

bool can_run(const Queued& queued) {
  return std::all_of(queued.after.begin(), queued.after.end(), [](const Point& point) { return point.passed(); });
}

bool overlaps_the_one_before(const Queued& queued) {
  const auto* kernel = std::get_if<KernelWork>(&queued.work);
  return kernel && kernel->kernel->overlaps && can_run(queued);
}

}  // namespace

cudaError_t Device::enqueue(const std::shared_ptr<Stream>& s, Work work, std::vector<Point> after) {
  if (s->capture) {
    Capture& capture = *s->capture;
    if (capture.invalid) return cudaErrorStreamCaptureInvalidated;
    capture.graph.nodes.push_back({std::move(work), s->captured});
    s->captured = {capture.graph.nodes.size() - 1};
    return cudaSuccess;
  }
  if (const cudaError_t error = forbid_legacy_in_capture(*s); error != cudaSuccess) return error;
  if (s->legacy) {
    for (const auto& other : all_streams()) {  // of what has run already the trace learns here
      if (other != s && other->blocking) after.push_back(end_of(other));
    }
  } else if (s->blocking) {
    after.push_back(end_of(legacy_));
  }
  Ticket ticket;
#ifdef M2_TRACED
  std::vector<trace::SharedKnown> known;
  for (const Point& point : after) known.push_back(point.known);
  ticket.stream = s->clock.index;
  ticket.number = s->clock.next;
  ticket.known = trace::append(s->clock, known);
#endif
  std::erase_if(after, [](const Point& point) { return point.passed(); });
  s->queue.push_back({std::move(work), ++s->issued, std::move(after), std::move(ticket)});
  if (completion() == Completion::kEarly) return complete({s, s->issued, {}});
  run_by_chance();
  return sticky;
}

void Device::run_by_chance() {
  if (completion() != Completion::kRandom || !random_.one_in(4)) return;
  for (uint64_t steps = random_.below(8); steps > 0 && sticky == cudaSuccess; steps--) {
    const auto all = busy();
    if (all.empty()) return;
    const auto& s = all[random_.below(all.size())];
    run_a_step_towards(end_of(s));
  }
}

void Device::run_a_step_towards(const Point& point) {
  std::shared_ptr<Stream> s = point.stream;
  if (completion() == Completion::kRandom && random_.one_in(3)) {
    const auto all = busy();
    s = all[random_.below(all.size())];
  }
  // What the head waits for runs first. Points only lie in the past, so this ends.
  for (;;) {
    const Queued& head = s->queue.front();
    const auto blocked = std::find_if(head.after.begin(), head.after.end(), [](const Point& p) { return !p.passed(); });
    if (blocked == head.after.end()) break;
    s = blocked->stream;
  }
  run_head(*s);
}

cudaError_t Device::complete(const Point& point) {
  while (sticky == cudaSuccess && !point.passed()) run_a_step_towards(point);
  M2_TRACE(trace::host_waited(point.known))
  return sticky;
}

cudaError_t Device::complete_all() {
  for (auto all = busy(); sticky == cudaSuccess && !all.empty(); all = busy()) {
    const auto& s = all[completion() == Completion::kRandom ? random_.below(all.size()) : 0];
    run_a_step_towards(end_of(s));
  }
  M2_TRACE(trace::host_waited(legacy_->clock.tail))
  M2_TRACE(for (const auto& [address, s] : streams.all()) trace::host_waited(s->clock.tail))
  M2_TRACE(for (const auto& s : retired_) trace::host_waited(s->clock.tail))
  if (sticky == cudaSuccess) retired_.clear();
  return sticky;
}

// Who asks again and again gets an answer at last, but not at once.
bool Device::passed_soon(const Point& point) {
  if (point.passed()) {
    M2_TRACE(trace::host_waited(point.known))
    return true;
  }
  if (completion() == Completion::kLate || random_.one_in(2)) run_a_step_towards(point);
  return false;
}

void Device::run_head(Stream& s) {
  M2_TRACE(trace::forget_if_much())
  if (const auto* first = std::get_if<KernelWork>(&s.queue.front().work)) {
    std::vector<KernelRun> kernels{{first->kernel, s.queue.front().ticket}};
    size_t count = 1;
    for (; count < s.queue.size() && overlaps_the_one_before(s.queue[count]); count++) {
      kernels.push_back({std::get<KernelWork>(s.queue[count].work).kernel, s.queue[count].ticket});
    }
    s.done = s.queue[count - 1].number;
    s.queue.erase(s.queue.begin(), s.queue.begin() + static_cast<ptrdiff_t>(count));
    run_kernels(*this, kernels);
    return;
  }
  const Queued head = std::move(s.queue.front());
  s.queue.pop_front();
  s.done = head.number;
  run_work(*this, head.work, head.ticket);
}

cudaError_t run_kernels(Device& d, const std::vector<KernelRun>& kernels) {
  Launches launches;
  for (const auto& [kernel, ticket] : kernels) {
    for (const void* pointer : kernel->pointers) {
      if (pointer && !allocations().find(pointer, 0)) {
        return d.refuse_for_good(cudaErrorIllegalAddress, kernel->name + ": an argument points to nothing of the device: " + allocations().describe(pointer));
      }
    }
    launches.push_back(make_launch(*kernel));
#ifdef M2_TRACED
    const uint32_t in_front = launches.size() > 1 ? launches[launches.size() - 2]->clocks.operation : 0;
    trace::begin_launch(*launches.back(), trace::add_operation(kernel->name, ticket.stream, ticket.number, ticket.known, in_front));
#endif
  }
  const Launch* failed = run_chain(launches);
  M2_TRACE(for (const auto& launch : launches) trace::end_launch(*launch))
  if (failed) return d.refuse_for_good(cudaErrorLaunchFailure, failed->report);
  if (const Allocation* a = allocations().damaged()) {
    return d.refuse_for_good(cudaErrorIllegalAddress, kernels.back().kernel->name + (kernels.size() > 1 ? " or a kernel that it overlapped" : "") +
                                                          " wrote in front of or behind " + allocations().describe(a->data));
  }
  return cudaSuccess;
}

uint64_t hash_bytes(const void* data, size_t bytes) {
  const char* p = static_cast<const char*>(data);
  uint64_t lanes[4] = {1, 2, 3, 4}, tail = 0;
  for (; bytes >= 32; bytes -= 32, p += 32) {
    uint64_t words[4];
    std::memcpy(words, p, 32);
    for (int i = 0; i < 4; i++) lanes[i] = (lanes[i] ^ words[i]) * 0x9e3779b97f4a7c15ull;
  }
  for (; bytes > 0; bytes--) tail = (tail ^ static_cast<unsigned char>(*p++)) * 0x100000001b3ull;
  return mix(lanes[0] ^ mix(lanes[1] ^ mix(lanes[2] ^ mix(lanes[3] ^ mix(tail)))));
}

namespace {

std::string at(Site site) { return std::string(" (") + site.file + ":" + std::to_string(site.line) + ")"; }

#ifdef M2_TRACED
// A copy or a fill as an operation of its own: what it races with.
std::string trace_work(const char* what, Site site, const Ticket& ticket, const void* from, const void* to, size_t bytes) {
  const uint32_t operation = trace::add_operation(what + at(site), ticket.stream, ticket.number, ticket.known, 0);
  std::string race = allocations().find(from, bytes) ? trace::operation_reads(operation, from, bytes) : "";
  if (race.empty() && allocations().find(to, bytes)) race = trace::operation_writes(operation, to, bytes);
  return race;
}
#endif

cudaError_t run_copy(Device& d, const CopyWork& copy, [[maybe_unused]] const Ticket& ticket) {
  if ((!copy.from_host && !allocations().find(copy.from, copy.bytes)) || (copy.watched && !allocations().find(copy.from, copy.bytes))) {
    return d.refuse_for_good(cudaErrorIllegalAddress, "a copy" + at(copy.site) + " from memory that was freed before it ran: " + allocations().describe(copy.from));
  }
  if (!copy.to_host && !allocations().find(copy.to, copy.bytes)) {
    return d.refuse_for_good(cudaErrorIllegalAddress, "a copy" + at(copy.site) + " to memory that was freed before it ran: " + allocations().describe(copy.to));
  }
  if (copy.watched && hash_bytes(copy.from, copy.bytes) != copy.hash) {
    return d.refuse_for_good(cudaErrorIllegalState, "pinned memory was changed while a copy from it" + at(copy.site) + " had not run: " +
                                                        allocations().describe(copy.from));
  }
#ifdef M2_TRACED
  if (const std::string race = trace_work("a copy", copy.site, ticket, copy.staged ? nullptr : copy.from, copy.to, copy.bytes); !race.empty()) {
    return d.refuse_for_good(cudaErrorIllegalState, race);
  }
#endif
  std::memmove(copy.to, copy.staged ? copy.staged->data() : copy.from, copy.bytes);
  return cudaSuccess;
}

cudaError_t run_fill(Device& d, const FillWork& fill, [[maybe_unused]] const Ticket& ticket) {
  if (!allocations().find(fill.to, fill.bytes)) {
    return d.refuse_for_good(cudaErrorIllegalAddress, "a fill" + at(fill.site) + " of memory that was freed before it ran: " + allocations().describe(fill.to));
  }
#ifdef M2_TRACED
  if (const std::string race = trace_work("a fill", fill.site, ticket, nullptr, fill.to, fill.bytes); !race.empty()) {
    return d.refuse_for_good(cudaErrorIllegalState, race);
  }
#endif
  std::memset(fill.to, fill.value, fill.bytes);
  return cudaSuccess;
}

// A kernel overlaps the node in front of it where that is a kernel and all that it comes after.
cudaError_t run_graph(Device& d, const GraphExec& exec, Ticket ticket) {
  const std::vector<Node>& nodes = exec.nodes;
  const auto next_ticket = [&ticket] {
    M2_TRACE(ticket.number++)
    return ticket;
  };
  for (size_t i = 0; i < nodes.size(); i++) {
    const auto* first = std::get_if<KernelWork>(&nodes[i].work);
    if (!first) {
      if (const cudaError_t error = run_work(d, nodes[i].work, next_ticket()); error != cudaSuccess) return error;
      continue;
    }
    std::vector<KernelRun> kernels{{first->kernel, next_ticket()}};
    for (; i + 1 < nodes.size(); i++) {
      const auto* next = std::get_if<KernelWork>(&nodes[i + 1].work);
      if (!next || !next->kernel->overlaps || nodes[i + 1].after != std::vector<size_t>{i}) break;
      kernels.push_back({next->kernel, next_ticket()});
    }
    if (const cudaError_t error = run_kernels(d, kernels); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t run_work(Device& d, const Work& work, const Ticket& ticket) {
  if (const auto* kernel = std::get_if<KernelWork>(&work)) return run_kernels(d, {{kernel->kernel, ticket}});
  if (const auto* copy = std::get_if<CopyWork>(&work)) return run_copy(d, *copy, ticket);
  if (const auto* fill = std::get_if<FillWork>(&work)) return run_fill(d, *fill, ticket);
  if (const auto* graph = std::get_if<GraphWork>(&work)) return run_graph(d, *graph->exec, ticket);
  if (const auto* record = std::get_if<RecordWork>(&work)) record->event->time = std::chrono::steady_clock::now();
  if (const auto* host = std::get_if<HostWork>(&work)) {
    const HostFunctionScope scope;
    host->function(host->data);
  }
  return cudaSuccess;
}

}  // namespace m2::emulator
