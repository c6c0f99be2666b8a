// CUDA's runtime as the emulator has it: the device language and the host's calls.
#pragma once
#include <algorithm>  // before the qualifiers and the global min and max: libstdc++ is not to see them
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "emulator/host/api.h"
#include "emulator/language/atomics.h"
#include "emulator/language/builtins.h"
#include "emulator/language/math.h"
#include "emulator/language/qualifiers.h"
#include "emulator/language/shared.h"
#include "emulator/language/vector_types.h"
