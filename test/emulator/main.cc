#include "check.h"

int main(int argc, char** argv) { return m2::test::run(argc, argv); }
