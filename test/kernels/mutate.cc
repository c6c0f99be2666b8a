// The mutation run: with each barrier, wait, fence, arrival and commit of the kernels left out in turn, the cases that come by it under some seeds. A site
// is noticed when one of them comes out wrong, hangs or crashes, or the emulator reports it. test/kernels/survivors.md says of each that is not why it is
// harmless or cannot be noticed; one that is not in it fails the run, and so does one in it that is noticed or gone.
// Each site runs in a process of its own, forked from this one, which has no threads: what a mutant breaks or loops in is gone with it.
#ifdef M2_EMULATED
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>

#include "emulator/control.h"
#include "kernels/runs.h"
#include "kernels/survivors.h"

namespace m2::kernels {
namespace {

struct TimedCase {
  const Case* one;
  double seconds;
};

struct Site {
  std::string file, kind, text;
  unsigned line = 0;
  std::vector<std::string> kernels;
  std::vector<TimedCase> cases;  // that come by it, the cheapest first
  std::string how;               // it was noticed; empty: it survived
};

// From "csrc" on, and what stands before.
std::string tail(const std::string& path) { return path.substr(std::min(path.rfind("csrc/"), path.size())); }
std::string head(const std::string& path) { return path.substr(0, path.rfind("csrc/")); }

std::string line_of(const std::string& path, unsigned number) {
  std::ifstream file(path);
  std::string line;
  for (unsigned i = 0; i < number && std::getline(file, line); i++) {}
  const size_t begin = line.find_first_not_of(' ');
  expect(begin != std::string::npos, path, ":", number, ": expected the source of a site, found nothing");
  return line.substr(begin);
}

// Without namespaces and template arguments.
std::string plain_name(std::string kernel) {
  kernel.resize(std::min(kernel.find('<'), kernel.size()));
  return kernel.substr(kernel.rfind(':') + 1);
}

std::vector<Site> find_sites(Runs& runs, const std::vector<Case>& cases, std::string& root) {
  std::map<std::pair<std::string, unsigned>, Site> found;
  for (const Case& one : cases) {
    emulator::watch_sites(true);
    const auto begin = std::chrono::steady_clock::now();
    const std::string wrong = runs.wrong(one);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    expect(wrong.empty(), one.name(), " is wrong before anything is left out: ", wrong);
    for (const emulator::SiteUse& use : emulator::sites()) {
      Site& site = found[{tail(use.file), use.line}];
      if (site.file.empty()) {
        root = head(use.file);
        site.file = tail(use.file);
        site.kind = use.kind;
        site.text = line_of(use.file, use.line);
        site.line = use.line;
      }
      site.cases.push_back({&one, seconds});
      for (const std::string& kernel : use.kernels) {
        const std::string name = plain_name(kernel);
        if (std::find(site.kernels.begin(), site.kernels.end(), name) == site.kernels.end()) site.kernels.push_back(name);
      }
    }
  }
  emulator::watch_sites(false);
  std::vector<Site> sites;
  for (auto& [place, site] : found) {
    std::stable_sort(site.cases.begin(), site.cases.end(), [](const TimedCase& a, const TimedCase& b) { return a.seconds < b.seconds; });
    sites.push_back(std::move(site));
  }
  return sites;
}

// The report's own words: not who passed it on, nor where the repository is.
std::string shortened(std::string wrong, const std::string& root) {
  wrong.resize(std::min(wrong.find('\n'), wrong.size()));
  const size_t launch = wrong.find(">>>, seed ");
  if (launch != std::string::npos) wrong = wrong.substr(wrong.find(": ", launch) + 2);
  for (size_t at; !root.empty() && (at = wrong.find(root)) != std::string::npos;) wrong.erase(at, root.size());
  return wrong;
}

// Runs in the child, which its parent learns two things of: its exit status, 0 if the site survived, and the last note.
class Note {
 public:
  static constexpr size_t kBytes = 4096;
  Note() : text_(static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    expect(text_ != MAP_FAILED, "no memory to share with a child");
  }
  void write(const std::string& text) { std::snprintf(text_, kBytes, "%s", text.c_str()); }
  std::string take() const {
    std::string text = text_;
    munmap(text_, kBytes);
    return text;
  }

 private:
  char* text_;
};

[[noreturn]] void run_mutant(Runs& runs, const Site& site, int seeds, const std::string& root, Note note) {
  emulator::skip_site(site.file, site.line);
  for (int seed = 0; seed < seeds; seed++) {
    use_seed(seed);
    for (const TimedCase& c : site.cases) {
      const std::string where = "seed " + std::to_string(seed) + ", " + c.one->name();
      note.write(where);
      alarm(10 + static_cast<unsigned>(20 * c.seconds));
      const std::string wrong = runs.wrong(*c.one);
      if (wrong.empty()) continue;
      note.write(shortened(wrong, root) + "; " + where);
      _exit(1);
    }
  }
  _exit(0);
}

class Mutants {
 public:
  Mutants(Runs& runs, int seeds, int jobs, std::string root) : runs_(runs), seeds_(seeds), jobs_(jobs), root_(std::move(root)) {}

  void start(Site& site) {
    if (running_.size() >= static_cast<size_t>(jobs_)) wait_for_one();
    const Note note;
    const pid_t child = fork();
    expect(child >= 0, "no process for a mutant: ", std::strerror(errno));
    if (child == 0) run_mutant(runs_, site, seeds_, root_, note);
    running_.emplace(child, std::pair(&site, note));
  }
  void wait_for_all() {
    while (!running_.empty()) wait_for_one();
  }

 private:
  void wait_for_one() {
    int status = 0;
    const pid_t child = waitpid(-1, &status, 0);
    const auto found = running_.find(child);
    expect(found != running_.end(), "lost sight of a mutant");
    Site& site = *found->second.first;
    const std::string note = found->second.second.take();
    running_.erase(found);
    if (WIFSIGNALED(status)) site.how = (WTERMSIG(status) == SIGALRM ? "hangs; " : "signal " + std::to_string(WTERMSIG(status)) + "; ") + note;
    else if (WEXITSTATUS(status) > 0) site.how = note;
    std::fprintf(stderr, "%s:%u: %s\n", site.file.c_str(), site.line, site.how.empty() ? "survived" : site.how.c_str());
  }

  Runs& runs_;
  int seeds_, jobs_;
  std::string root_;
  std::map<pid_t, std::pair<Site*, Note>> running_;
};

std::string cut(const std::string& text, size_t most) { return text.size() <= most ? text : text.substr(0, most - 2) + ".."; }

std::string output_of(const std::string& command) {
  std::string text;
  if (FILE* pipe = popen(command.c_str(), "r")) {
    for (int c; (c = std::fgetc(pipe)) != EOF && c != '\n';) text += static_cast<char>(c);
    pclose(pipe);
  }
  return text;
}

void print(const std::vector<Site>& sites, int seeds, const std::string& root) {
  const auto survived = std::count_if(sites.begin(), sites.end(), [](const Site& site) { return site.how.empty(); });
  std::printf("%s: seeds 0..%d, %zu sites, %zd noticed, %zd survived (survivors.md)\n", output_of("git -C " + root + ". log -1 --format='commit %h, %cs'").c_str(), seeds - 1,
              sites.size(), static_cast<ssize_t>(sites.size()) - survived, survived);
  for (const Site& site : sites) {
    std::string kernels;
    for (const std::string& kernel : site.kernels) kernels += (kernels.empty() ? "" : ", ") + kernel;
    const std::string line = site.file.substr(5) + " | " + cut(site.text, 40) + " | " + site.kind + " | " + cut(kernels, 32) + " | " + (site.how.empty() ? "survived" : site.how);
    std::printf("%s\n", cut(line, 160).c_str());
  }
}

}  // namespace

int mutate(Runs& runs, const std::vector<Case>& cases, const MutationOptions& o) {
  expect(emulator::settings().architecture >= 90, "--mutate: below sm_90 kernels do not overlap, and what orders them would go unnoticed");
  emulator::settings().threads = 1;
  const int seeds = std::max(o.seeds, 1);
  use_seed(0);
  std::string root;
  std::vector<Site> sites = find_sites(runs, cases, root);
  std::erase_if(sites, [&](const Site& site) { return (site.file + ":" + std::to_string(site.line)).find(o.site) == std::string::npos; });
  Mutants mutants(runs, seeds, o.jobs, root);
  for (Site& site : sites) mutants.start(site);
  mutants.wait_for_all();
  print(sites, seeds, root);

  std::vector<Survivor> survivors;
  for (const Site& site : sites) {
    if (site.how.empty()) survivors.push_back({site.file, site.kind, site.text});
  }
  const std::vector<std::string> mistakes = against_list(survivors, root + "test/kernels/survivors.md", o.complete && o.site.empty());
  for (const std::string& mistake : mistakes) std::fprintf(stderr, "%s\n", mistake.c_str());
  return !mistakes.empty();
}

}  // namespace m2::kernels
#endif
