// What the kernels of an op move at MiniMax-M2's sizes, as JSON, a case a line: bytes that the op cannot do without, and per kernel its launches, the bytes
// that it asked for and those of the different 32-byte sectors that it touched.
#ifdef M2_TRACED
#include <cstdio>

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
    for (size_t i = 0; i < moved.size(); i++) {
      const emulator::KernelTraffic& k = moved[i];
      std::printf("%s{\"kernel\": \"%s\", \"launches\": %llu, \"read\": %llu, \"written\": %llu, \"distinctRead\": %llu, \"distinctWritten\": %llu}", i ? ", " : "", k.kernel.c_str(),
                  static_cast<unsigned long long>(k.launches), static_cast<unsigned long long>(k.read), static_cast<unsigned long long>(k.written),
                  static_cast<unsigned long long>(k.distinct_read), static_cast<unsigned long long>(k.distinct_written));
    }
    std::printf("]}\n");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace m2::kernels
#endif
