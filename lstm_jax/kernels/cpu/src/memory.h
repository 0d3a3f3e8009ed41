// Working memory of calls.
#pragma once

#include <cstddef>
#include <memory>

// Returns memory at a multiple of 64 bytes, not cleared; stops the program where there is none.
void *take_memory(size_t bytes);
void give_memory(void *memory);

// Before the first touch of fresh memory: a fault for every 4 kB costs more than what is written there.
void use_large_pages(void *data, size_t bytes);

struct GiveBack {
  void operator()(void *p) const { give_memory(p); }
};
template <class T> using Array = std::unique_ptr<T[], GiveBack>;
