// Lists of 4 i operands for inline assembly, i = 1 .. 32, and M2_FOR_EACH_WGMMA: for each number of columns the number of fours, then the numbers of the
// operands behind the accumulator's.
#pragma once

#define M2_OPERANDS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define M2_OPERANDS_1x4(d) M2_OPERANDS_4(d, 0)
#define M2_OPERANDS_2x4(d) M2_OPERANDS_1x4(d), M2_OPERANDS_4(d, 4)
#define M2_OPERANDS_3x4(d) M2_OPERANDS_2x4(d), M2_OPERANDS_4(d, 8)
#define M2_OPERANDS_4x4(d) M2_OPERANDS_3x4(d), M2_OPERANDS_4(d, 12)
#define M2_OPERANDS_5x4(d) M2_OPERANDS_4x4(d), M2_OPERANDS_4(d, 16)
#define M2_OPERANDS_6x4(d) M2_OPERANDS_5x4(d), M2_OPERANDS_4(d, 20)
#define M2_OPERANDS_7x4(d) M2_OPERANDS_6x4(d), M2_OPERANDS_4(d, 24)
#define M2_OPERANDS_8x4(d) M2_OPERANDS_7x4(d), M2_OPERANDS_4(d, 28)
#define M2_OPERANDS_9x4(d) M2_OPERANDS_8x4(d), M2_OPERANDS_4(d, 32)
#define M2_OPERANDS_10x4(d) M2_OPERANDS_9x4(d), M2_OPERANDS_4(d, 36)
#define M2_OPERANDS_11x4(d) M2_OPERANDS_10x4(d), M2_OPERANDS_4(d, 40)
#define M2_OPERANDS_12x4(d) M2_OPERANDS_11x4(d), M2_OPERANDS_4(d, 44)
#define M2_OPERANDS_13x4(d) M2_OPERANDS_12x4(d), M2_OPERANDS_4(d, 48)
#define M2_OPERANDS_14x4(d) M2_OPERANDS_13x4(d), M2_OPERANDS_4(d, 52)
#define M2_OPERANDS_15x4(d) M2_OPERANDS_14x4(d), M2_OPERANDS_4(d, 56)
#define M2_OPERANDS_16x4(d) M2_OPERANDS_15x4(d), M2_OPERANDS_4(d, 60)
#define M2_OPERANDS_17x4(d) M2_OPERANDS_16x4(d), M2_OPERANDS_4(d, 64)
#define M2_OPERANDS_18x4(d) M2_OPERANDS_17x4(d), M2_OPERANDS_4(d, 68)
#define M2_OPERANDS_19x4(d) M2_OPERANDS_18x4(d), M2_OPERANDS_4(d, 72)
#define M2_OPERANDS_20x4(d) M2_OPERANDS_19x4(d), M2_OPERANDS_4(d, 76)
#define M2_OPERANDS_21x4(d) M2_OPERANDS_20x4(d), M2_OPERANDS_4(d, 80)
#define M2_OPERANDS_22x4(d) M2_OPERANDS_21x4(d), M2_OPERANDS_4(d, 84)
#define M2_OPERANDS_23x4(d) M2_OPERANDS_22x4(d), M2_OPERANDS_4(d, 88)
#define M2_OPERANDS_24x4(d) M2_OPERANDS_23x4(d), M2_OPERANDS_4(d, 92)
#define M2_OPERANDS_25x4(d) M2_OPERANDS_24x4(d), M2_OPERANDS_4(d, 96)
#define M2_OPERANDS_26x4(d) M2_OPERANDS_25x4(d), M2_OPERANDS_4(d, 100)
#define M2_OPERANDS_27x4(d) M2_OPERANDS_26x4(d), M2_OPERANDS_4(d, 104)
#define M2_OPERANDS_28x4(d) M2_OPERANDS_27x4(d), M2_OPERANDS_4(d, 108)
#define M2_OPERANDS_29x4(d) M2_OPERANDS_28x4(d), M2_OPERANDS_4(d, 112)
#define M2_OPERANDS_30x4(d) M2_OPERANDS_29x4(d), M2_OPERANDS_4(d, 116)
#define M2_OPERANDS_31x4(d) M2_OPERANDS_30x4(d), M2_OPERANDS_4(d, 120)
#define M2_OPERANDS_32x4(d) M2_OPERANDS_31x4(d), M2_OPERANDS_4(d, 124)

#define M2_NAMES_1x4 "%0,%1,%2,%3"
#define M2_NAMES_2x4 M2_NAMES_1x4 ",%4,%5,%6,%7"
#define M2_NAMES_3x4 M2_NAMES_2x4 ",%8,%9,%10,%11"
#define M2_NAMES_4x4 M2_NAMES_3x4 ",%12,%13,%14,%15"
#define M2_NAMES_5x4 M2_NAMES_4x4 ",%16,%17,%18,%19"
#define M2_NAMES_6x4 M2_NAMES_5x4 ",%20,%21,%22,%23"
#define M2_NAMES_7x4 M2_NAMES_6x4 ",%24,%25,%26,%27"
#define M2_NAMES_8x4 M2_NAMES_7x4 ",%28,%29,%30,%31"
#define M2_NAMES_9x4 M2_NAMES_8x4 ",%32,%33,%34,%35"
#define M2_NAMES_10x4 M2_NAMES_9x4 ",%36,%37,%38,%39"
#define M2_NAMES_11x4 M2_NAMES_10x4 ",%40,%41,%42,%43"
#define M2_NAMES_12x4 M2_NAMES_11x4 ",%44,%45,%46,%47"
#define M2_NAMES_13x4 M2_NAMES_12x4 ",%48,%49,%50,%51"
#define M2_NAMES_14x4 M2_NAMES_13x4 ",%52,%53,%54,%55"
#define M2_NAMES_15x4 M2_NAMES_14x4 ",%56,%57,%58,%59"
#define M2_NAMES_16x4 M2_NAMES_15x4 ",%60,%61,%62,%63"
#define M2_NAMES_17x4 M2_NAMES_16x4 ",%64,%65,%66,%67"
#define M2_NAMES_18x4 M2_NAMES_17x4 ",%68,%69,%70,%71"
#define M2_NAMES_19x4 M2_NAMES_18x4 ",%72,%73,%74,%75"
#define M2_NAMES_20x4 M2_NAMES_19x4 ",%76,%77,%78,%79"
#define M2_NAMES_21x4 M2_NAMES_20x4 ",%80,%81,%82,%83"
#define M2_NAMES_22x4 M2_NAMES_21x4 ",%84,%85,%86,%87"
#define M2_NAMES_23x4 M2_NAMES_22x4 ",%88,%89,%90,%91"
#define M2_NAMES_24x4 M2_NAMES_23x4 ",%92,%93,%94,%95"
#define M2_NAMES_25x4 M2_NAMES_24x4 ",%96,%97,%98,%99"
#define M2_NAMES_26x4 M2_NAMES_25x4 ",%100,%101,%102,%103"
#define M2_NAMES_27x4 M2_NAMES_26x4 ",%104,%105,%106,%107"
#define M2_NAMES_28x4 M2_NAMES_27x4 ",%108,%109,%110,%111"
#define M2_NAMES_29x4 M2_NAMES_28x4 ",%112,%113,%114,%115"
#define M2_NAMES_30x4 M2_NAMES_29x4 ",%116,%117,%118,%119"
#define M2_NAMES_31x4 M2_NAMES_30x4 ",%120,%121,%122,%123"
#define M2_NAMES_32x4 M2_NAMES_31x4 ",%124,%125,%126,%127"

#define M2_FOR_EACH_WGMMA(X) \
  X(8, 1, 4, 5, 6, 7, 8, 9, 10) \
  X(16, 2, 8, 9, 10, 11, 12, 13, 14) \
  X(24, 3, 12, 13, 14, 15, 16, 17, 18) \
  X(32, 4, 16, 17, 18, 19, 20, 21, 22) \
  X(40, 5, 20, 21, 22, 23, 24, 25, 26) \
  X(48, 6, 24, 25, 26, 27, 28, 29, 30) \
  X(56, 7, 28, 29, 30, 31, 32, 33, 34) \
  X(64, 8, 32, 33, 34, 35, 36, 37, 38) \
  X(72, 9, 36, 37, 38, 39, 40, 41, 42) \
  X(80, 10, 40, 41, 42, 43, 44, 45, 46) \
  X(88, 11, 44, 45, 46, 47, 48, 49, 50) \
  X(96, 12, 48, 49, 50, 51, 52, 53, 54) \
  X(104, 13, 52, 53, 54, 55, 56, 57, 58) \
  X(112, 14, 56, 57, 58, 59, 60, 61, 62) \
  X(120, 15, 60, 61, 62, 63, 64, 65, 66) \
  X(128, 16, 64, 65, 66, 67, 68, 69, 70) \
  X(136, 17, 68, 69, 70, 71, 72, 73, 74) \
  X(144, 18, 72, 73, 74, 75, 76, 77, 78) \
  X(152, 19, 76, 77, 78, 79, 80, 81, 82) \
  X(160, 20, 80, 81, 82, 83, 84, 85, 86) \
  X(168, 21, 84, 85, 86, 87, 88, 89, 90) \
  X(176, 22, 88, 89, 90, 91, 92, 93, 94) \
  X(184, 23, 92, 93, 94, 95, 96, 97, 98) \
  X(192, 24, 96, 97, 98, 99, 100, 101, 102) \
  X(200, 25, 100, 101, 102, 103, 104, 105, 106) \
  X(208, 26, 104, 105, 106, 107, 108, 109, 110) \
  X(216, 27, 108, 109, 110, 111, 112, 113, 114) \
  X(224, 28, 112, 113, 114, 115, 116, 117, 118) \
  X(232, 29, 116, 117, 118, 119, 120, 121, 122) \
  X(240, 30, 120, 121, 122, 123, 124, 125, 126) \
  X(248, 31, 124, 125, 126, 127, 128, 129, 130) \
  X(256, 32, 128, 129, 130, 131, 132, 133, 134)
