// The tiles of a grouped product, handed out on the device: block b of n takes tiles b, b + n, b + 2n .. of the list of all groups' tiles in order. Every
// warp walks the list for itself, 32 groups at a time, so no barrier is needed and the host need not know how many rows a group has.
// Within a group a band of 8 tiles of outputs passes over all rows before the next band begins, so tiles that are worked on at once share weights and rows.
// A group's rows are shared out evenly, in whole units, to as few tiles as hold them: tiles of a group take the same time, whichever blocks they fall to.
#pragma once
#include "cuda/gemm/plan.h"
#include "cuda/gemm/task.h"

namespace m2::cuda {

class Tiles {
 public:
  int group = 0, first_row = 0, end_row = 0;  // of the tile
  int first_panel = 0;

  // Of so many panels and, at most, so many rows (whole units).
  __device__ __forceinline__ Tiles(const GemmTask& task, int panels, int rows, int unit)
      : offsets_(task.offsets), groups_(task.groups), rows_(task.rows), panels_(panels), tile_rows_(rows), unit_(unit), columns_((task.panels + panels - 1) / panels), wanted_(blockIdx.x) {
    look();
  }

  // To the block's next tile; false behind the last.
  __device__ __forceinline__ bool next() {
    int in_window = __shfl_sync(kFullMask, sum_, kWarp - 1);
    while (wanted_ >= before_ + in_window) {
      before_ += in_window;
      window_ += kWarp;
      if (window_ >= groups_) return false;
      look();
      in_window = __shfl_sync(kFullMask, sum_, kWarp - 1);
    }
    const int at = wanted_ - before_, owner = __ffs(__ballot_sync(kFullMask, sum_ > at)) - 1;
    group = window_ + owner;
    const int begin = __shfl_sync(kFullMask, begin_, owner), end = __shfl_sync(kFullMask, end_, owner), behind = __shfl_sync(kFullMask, sum_, owner);
    const int row_tiles = row_tiles_of(end - begin), in_group = at - (behind - row_tiles * columns_), units = (end - begin + unit_ - 1) / unit_;
    const int band = in_group / (kBand * row_tiles), in_band = in_group % (kBand * row_tiles), width = min(kBand, columns_ - band * kBand);
    const int row_tile = in_band / width;
    first_panel = (band * kBand + in_band % width) * panels_;
    first_row = begin + row_tile * units / row_tiles * unit_;
    end_row = min(end, begin + (row_tile + 1) * units / row_tiles * unit_);
    wanted_ += gridDim.x;
    return true;
  }

 private:
  static constexpr int kBand = 8;

  __device__ __forceinline__ int row_tiles_of(int rows) const { return (rows + tile_rows_ - 1) / tile_rows_; }

  // The rows of the window's groups, one group for each lane, and how many tiles there are up to it.
  __device__ __forceinline__ void look() {
    const int lane = threadIdx.x % kWarp, g = window_ + lane;
    begin_ = end_ = 0;
    if (g < groups_) {
      begin_ = offsets_ ? offsets_[g] : 0;
      end_ = offsets_ ? offsets_[g + 1] : rows_;
    }
    sum_ = row_tiles_of(end_ - begin_) * columns_;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int before = __shfl_up_sync(kFullMask, sum_, step);
      if (lane >= step) sum_ += before;
    }
  }

  const int32_t* offsets_;
  int groups_, rows_, panels_, tile_rows_, unit_, columns_, wanted_;
  int window_ = 0, before_ = 0;     // the first of the 32 groups in sight, and the tiles of the groups before
  int begin_ = 0, end_ = 0, sum_ = 0;  // of this lane's group
};

}  // namespace m2::cuda
