// What the kernels of an op move, as JSON, a case a line: bytes that the op cannot do without (0: not said), and per kernel its launches, the bytes that it
// asked for, those of the different 32-byte sectors that it touched, and its largest launch.
#ifdef M2_TRACED
#include <cstdio>
#include <initializer_list>
#include <utility>

#include "emulator/control.h"
#include "kernels/runs.h"

namespace m2::kernels {

int print_traffic(Runs& runs, const std::vector<Case>& cases) {
  for (const Case& one : cases) {
    std::vector<emulator::KernelTraffic> moved;
    const std::string wrong = runs.wrong(one, [&](const std::function<void()>& op) {
      Backend& ops = runs.backend();
      ops.wait(ops.set_mark());
      emulator::forget_traffic();
      op();
      ops.wait(ops.set_mark());
      moved = emulator::traffic();
    });
    expect(wrong.empty(), one.name(), ": ", wrong);
    std::printf("{\"op\": \"%s\", \"shape\": \"%s\", \"bytes\": %.0f, \"kernels\": [", one.op.c_str(), one.shape.c_str(), one.bytes);
    for (const emulator::KernelTraffic& k : moved) {
      std::printf("%s{\"kernel\": \"%s\"", &k == &moved[0] ? "" : ", ", k.kernel.c_str());
      for (const auto& [name, value] : std::initializer_list<std::pair<const char*, uint64_t>>{
               {"launches", k.launches}, {"read", k.read}, {"written", k.written}, {"distinctRead", k.distinct_read}, {"distinctWritten", k.distinct_written}, {"blocks", k.blocks},
               {"threads", k.threads}, {"shared", k.shared}}) {
        std::printf(", \"%s\": %llu", name, static_cast<unsigned long long>(value));
      }
      std::printf("}");
    }
    std::printf("]}\n");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace m2::kernels
#endif
