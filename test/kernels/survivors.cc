#include "kernels/survivors.h"

#include <fstream>
#include <map>
#include <tuple>

#include "core/view.h"

namespace m2::kernels {
namespace {

#ifdef M2_TRACED
constexpr bool kTraced = true;
#else
constexpr bool kTraced = false;
#endif

// | file | kind | line | how many | build | why |, file and line in backticks. "*" for file, line and how many: all of that kind. Build: "plain" where a traced
// build notices it, else "any".
struct Entry {
  std::string file, kind, text;
  bool all;
  int count;
};

std::vector<std::string> cells_of(const std::string& row) {
  std::vector<std::string> cells;
  for (size_t begin = 1, end; (end = row.find(" |", begin)) != std::string::npos; begin = end + 2) {
    std::string cell = row.substr(std::min(begin + 1, end), end - std::min(begin + 1, end));
    if (cell.size() > 1 && cell.front() == '`' && cell.back() == '`') cell = cell.substr(1, cell.size() - 2);
    cells.push_back(cell);
  }
  return cells;
}

std::vector<Entry> read_list(const std::string& path) {
  std::ifstream file(path);
  expect(file.good(), "no list of survivors at ", path);
  std::vector<Entry> list;
  bool in_table = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("|--")) {
      in_table = true;
      continue;
    }
    if (!in_table || !line.starts_with("|")) continue;
    const std::vector<std::string> cells = cells_of(line);
    expect(cells.size() == 6, path, ": expected 6 cells, found ", cells.size(), " in ", line);
    expect(cells[4] == "any" || cells[4] == "plain", path, ": expected the build \"any\" or \"plain\", found \"", cells[4], "\"");
    if (kTraced && cells[4] == "plain") continue;
    const bool all = cells[0] == "*";
    list.push_back({cells[0], cells[1], cells[2], all, all ? 0 : std::stoi(cells[3])});
  }
  return list;
}

}  // namespace

std::vector<std::string> against_list(const std::vector<Survivor>& survivors, const std::string& path, bool complete) {
  std::map<std::tuple<std::string, std::string, std::string>, std::pair<int, int>> counts;  // found, listed
  std::map<std::string, int> kinds;                                                          // of which all may survive
  const std::vector<Entry> list = read_list(path);
  for (const Entry& entry : list) {
    if (entry.all) kinds[entry.kind] = 0;
    else counts[{entry.file, entry.kind, entry.text}].second += entry.count;
  }
  for (const Survivor& one : survivors) {
    const auto kind = kinds.find(one.kind);
    if (kind != kinds.end()) kind->second++;
    else counts[{one.file, one.kind, one.text}].first++;
  }
  std::vector<std::string> mistakes;
  for (const auto& [key, count] : counts) {
    const auto& [file, kind, text] = key;
    const auto [found, listed] = count;
    if (found <= listed && (!complete || found == listed)) continue;
    mistakes.push_back(file + ", " + kind + ", " + text + ": " + std::to_string(found) + " survived, " + std::to_string(listed) + " listed");
  }
  for (const auto& [kind, found] : kinds) {
    if (complete && found == 0) mistakes.push_back(kind + ": listed, and none survived");
  }
  return mistakes;
}

}  // namespace m2::kernels
