// Large blocks are kept for the next call: fresh memory costs more than what is done with it.
#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace {

constexpr size_t HEAD = 64, LARGE = 256 << 10;
#ifdef __SANITIZE_ADDRESS__
constexpr size_t MOST = 0; // so that what lies beyond a block is nobody's
#else
constexpr size_t MOST = 64 << 20; // bytes kept in all
#endif

struct Block { // the head of a block
  size_t bytes;
  Block *next;
};

std::mutex mutex;
Block *idle = nullptr; // the smallest first
size_t kept = 0;

} // namespace

void use_large_pages(void *data, size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t page = size_t(2) << 20;
  uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE); // advice: failure is no harm
#endif
}

void *take_memory(size_t bytes) {
  if (bytes >= LARGE) {
    std::lock_guard<std::mutex> lock(mutex);
    Block **at = &idle;
    while (*at && (*at)->bytes < bytes) at = &(*at)->next;
    if (Block *block = *at; block && block->bytes / 4 <= bytes) {
      *at = block->next;
      kept -= block->bytes;
      return reinterpret_cast<char *>(block) + HEAD;
    }
  }
  void *memory = nullptr;
  if (posix_memalign(&memory, 64, HEAD + bytes)) {
    std::fprintf(stderr, "lstm_jax: no memory for %zu bytes\n", bytes);
    std::abort();
  }
  use_large_pages(memory, HEAD + bytes);
  *static_cast<Block *>(memory) = {bytes, nullptr};
  return static_cast<char *>(memory) + HEAD;
}

void give_memory(void *memory) {
  auto *block = reinterpret_cast<Block *>(static_cast<char *>(memory) - HEAD);
  if (block->bytes >= LARGE) {
    std::lock_guard<std::mutex> lock(mutex);
    if (kept + block->bytes <= MOST) {
      Block **at = &idle;
      while (*at && (*at)->bytes < block->bytes) at = &(*at)->next;
      block->next = *at;
      *at = block;
      kept += block->bytes;
      return;
    }
  }
  std::free(block);
}
