# To be sourced before training: . ./environment.sh
# Allocator: without these, large tensors are mapped and page-faulted anew in every operation (10x slower).
export MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=1073741824 GLIBC_TUNABLES=glibc.malloc.hugetlb=1
# OpenMP: on a shared machine a spinning barrier waits for a descheduled thread (several times slower).
export GOMP_SPINCOUNT=3000
