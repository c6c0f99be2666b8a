// The plans that the selectors make.
#pragma once
#include <ostream>

namespace m2::kernels {

void print_plans(std::ostream& out);

}  // namespace m2::kernels
