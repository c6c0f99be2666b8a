// The list of sites that a mutation run may leave unnoticed, in survivors.md: a table with a row for each, or for all of a kind.
#pragma once
#include <string>
#include <vector>

namespace m2::kernels {

struct Survivor {
  std::string file, kind, text;  // text: of its line
};

// What does not fit: survivors that the list does not have, or has fewer of; with `complete` also what it has and nothing survived of.
std::vector<std::string> against_list(const std::vector<Survivor>&, const std::string& path, bool complete);

}  // namespace m2::kernels
