#pragma once
#include "emulator/language/half.h"
#include "emulator/language/narrow_arithmetic.h"
#include "emulator/language/qualifiers.h"
