#pragma once
#include "emulator/language/bfloat16.h"
#include "emulator/language/narrow_arithmetic.h"
#include "emulator/language/qualifiers.h"
