// How kernels overlap (programmatic dependent launch): a kernel may begin when all blocks of the one in front have let it, or have ended; what it does
// before griddepcontrol.wait then runs beside the rest of that one. Here it begins as early as it may: of each kernel the last groups, or all where the
// grid is small, are stopped where they let the next start; then the next one's first groups run until they wait (and if it is that small and lets its
// next one start too, so does that one); and only then the stopped groups go on.
#include "emulator/device/launch.h"

#include <algorithm>
#include <numeric>

#include "emulator/device/scheduler.h"
#include "emulator/device/source_line.h"
#include "emulator/device/workers.h"
#include "emulator/instructions.h"
#include "emulator/settings.h"
#include "emulator/trace/operations.h"

namespace m2::emulator {
namespace {

constexpr unsigned kThreadsAtOnce = 2048;  // of one kernel, stopped or begun early
constexpr size_t kKernelsAtOnce = 4;       // that have begun and not ended

// Which groups run when: in order, or shuffled by the seed.
std::vector<size_t> group_order(const Launch& launch) {
  std::vector<size_t> order(launch.kernel->groups());
  std::iota(order.begin(), order.end(), 0);
  if (launch.order == Order::kForward) return order;
  Random random(mix(launch.seed) + launch.ordinal);
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

class Chain {
 public:
  explicit Chain(const Launches& launches) : links_(launches.size()) {
    for (size_t i = 0; i < launches.size(); i++) {
      links_[i].launch = launches[i].get();
      links_[i].order = group_order(*launches[i]);
    }
  }

  const Launch* run() {
    for (size_t i = 0; i < links_.size(); i++) {
      links_[i].launch->previous_done = true;
      M2_TRACE(if (i > 0) trace::in_front_ended(links_[i].launch->clocks.operation, links_[i - 1].launch->clocks.operation))
      if (!run_link(i)) break;
    }
    for (Link& link : links_) {
      for (Group* g : link.open) close_group(*g);
    }
    for (Link& link : links_) {
      if (!link.launch->failed.load()) continue;
      for (const auto& [what, pc] : link.launch->blamed) link.launch->report += std::string("\n  ") + what + " " + source_line(pc);
      return link.launch;
    }
    return nullptr;
  }

 private:
  struct Link {
    Launch* launch = nullptr;
    std::vector<size_t> order;
    size_t next = 0;            // of the order, to begin
    std::vector<Group*> open;   // begun and stopped, on this thread
  };

  static size_t groups_at_once(const Link& link) {
    const size_t threads = link.launch->kernel->group_blocks() * link.launch->kernel->threads();
    return std::max<size_t>(1, kThreadsAtOnce / threads);
  }
  bool has_next(size_t i) const { return i + 1 < links_.size(); }

  bool run_link(size_t i) {
    Link& link = links_[i];
    const bool stops = has_next(i) && overlaps(i + 1);
    const size_t stopped = stops ? std::min(groups_at_once(link), link.order.size() - link.next) : 0;
    if (!run_rest(link, link.order.size() - stopped)) return false;
    if (stops) {
      while (link.next < link.order.size()) begin_group(link);
      if (!run_open(link, true)) return false;
      if (all_let_next_start(link) && !begin_early(i + 1, i + kKernelsAtOnce)) return false;
    }
    if (!run_open(link, false)) return false;
    for (Group* g : link.open) close_group(*g);
    link.open.clear();
    return true;
  }

  // By chance some kernels begin late after all.
  bool overlaps(size_t i) const {
    const Launch& l = *links_[i].launch;
    return l.completion != Completion::kRandom || !Random(mix(l.seed) ^ l.ordinal).one_in(2);
  }

  // Kernel i, and those behind it up to `end`.
  bool begin_early(size_t i, size_t end) {
    Link& link = links_[i];
    link.launch->previous_done = false;
    const size_t count = std::min(groups_at_once(link), link.order.size());
    while (link.next < count) begin_group(link);
    const bool stops = i + 1 < end && has_next(i) && overlaps(i + 1);
    if (!run_open(link, stops)) return false;
    if (!stops) return true;
    if (all_let_next_start(link) && !begin_early(i + 1, end)) return false;
    return run_open(link, false);  // on to where it waits
  }

  void begin_group(Link& link) { link.open.push_back(&open_group(workers().mine(), *link.launch, link.order[link.next++])); }

  static bool all_let_next_start(const Link& link) {
    return link.next == link.order.size() && std::all_of(link.open.begin(), link.open.end(), [](const Group* g) { return lets_next_start(*g); });
  }

  // The groups that are open go on, each as far as it can: to where it lets the next kernel start (if it is to stop there), waits for the one in front, or
  // ends. False: one failed.
  static bool run_open(Link& link, bool stops) {
    workers().mine();
    for (Group* g : link.open) {
      if (g->state == GroupState::kEnded) continue;
      g->holds = stops && !lets_next_start(*g);
      if (stops && !g->holds && g->state == GroupState::kHeld) continue;
      run_group(*g);
      if (g->state == GroupState::kFailed) return false;
    }
    return true;
  }

  // Groups up to `end` of the order, from beginning to end, on as many of the host's threads as there are.
  static bool run_rest(Link& link, size_t end) {
    Launch& launch = *link.launch;
    if (link.next >= end) return !launch.failed.load();
    std::atomic<size_t> next{link.next};
    workers().run(static_cast<unsigned>(std::min<size_t>(settings().threads, end - link.next)), [&](Worker& worker) {
      for (size_t i; !launch.failed.load() && (i = next.fetch_add(1)) < end;) {
        Group& g = open_group(worker, launch, link.order[i]);
        run_group(g);
        close_group(g);
      }
    });
    link.next = end;
    return !launch.failed.load();
  }

  std::vector<Link> links_;
};

}  // namespace

std::unique_ptr<Launch> make_launch(const Kernel& kernel) {
  static uint64_t launches = 0;
  auto launch = std::make_unique<Launch>();
  launch->kernel = &kernel;
  launch->seed = settings().seed;
  launch->ordinal = launches++;
  launch->order = static_cast<Order>(launch->seed % 4);
  launch->completion = static_cast<Completion>(launch->seed % 3);
  return launch;
}

const Launch* run_chain(const Launches& launches) { return Chain(launches).run(); }

}  // namespace m2::emulator
