#pragma once
#include "emulator/language/float8.h"
#include "emulator/language/qualifiers.h"
