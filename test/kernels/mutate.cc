// The mutation run: with each barrier, wait, fence, arrival and commit of the kernels left out in turn, the cases that come by it under some seeds. A site
// is noticed when one of them comes out wrong or the emulator reports it. What survives is listed; test/kernels/survivors.md says why each is harmless
// or cannot be noticed here, and a survivor that is not in it fails the run.
#ifdef M2_EMULATED
#include <algorithm>
#include <cstdio>
#include <map>

#include "emulator/control.h"
#include "kernels/runs.h"

namespace m2::kernels {
namespace {

struct Site {
  std::string kind;
  std::vector<std::string> kernels;
  std::vector<const Case*> cases;
};
using Place = std::pair<std::string, unsigned>;  // file, line

std::string tail(const std::string& path) {
  const size_t at = path.rfind("csrc/");
  return at == std::string::npos ? path : path.substr(at);
}

std::map<Place, Site> find_sites(Runs& runs, const std::vector<Case>& cases) {
  std::map<Place, Site> found;
  for (const Case& one : cases) {
    emulator::watch_sites(true);
    const std::string wrong = runs.wrong(one);
    expect(wrong.empty(), one.name(), " is wrong before anything is left out: ", wrong);
    for (const emulator::SiteUse& use : emulator::sites()) {
      Site& site = found[{tail(use.file), use.line}];
      site.kind = use.kind;
      site.cases.push_back(&one);
      for (const std::string& kernel : use.kernels) {
        if (std::find(site.kernels.begin(), site.kernels.end(), kernel) == site.kernels.end()) site.kernels.push_back(kernel);
      }
    }
  }
  emulator::watch_sites(false);
  return found;
}

// Who noticed, or nothing.
std::string notice(Runs& runs, const Site& site, int seeds) {
  for (int seed = 0; seed < seeds; seed++) {
    use_seed(seed);
    for (const Case* one : site.cases) {
      const std::string wrong = runs.wrong(*one);
      if (!wrong.empty()) return "seed " + std::to_string(seed) + ", " + one->name() + ": " + wrong.substr(0, wrong.find('\n'));
    }
  }
  return "";
}

}  // namespace

int mutate(Runs& runs, const std::vector<Case>& cases, int seeds) {
  seeds = std::max(seeds, 1);
  use_seed(0);
  int noticed = 0, survived = 0;
  for (const auto& [place, site] : find_sites(runs, cases)) {
    emulator::skip_site(place.first, place.second);
    const std::string how = notice(runs, site, seeds);
    emulator::skip_no_sites();
    use_seed(0);
    (how.empty() ? survived : noticed)++;
    std::string kernels;
    for (const std::string& kernel : site.kernels) kernels += (kernels.empty() ? "" : ", ") + kernel;
    std::printf("%s:%u\t%s\t%s\t%s\n", place.first.c_str(), place.second, site.kind.c_str(), kernels.c_str(), how.empty() ? "SURVIVED" : how.c_str());
    std::fflush(stdout);
  }
  std::printf("%d noticed, %d survived\n", noticed, survived);
  return 0;
}

}  // namespace m2::kernels
#endif
