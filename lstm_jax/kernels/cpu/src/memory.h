// Working memory of calls.
#pragma once

#include <cstddef>
#include <memory>

// Returns memory at a multiple of 64 bytes, not cleared; stops the program where there is none.
void *take_memory(size_t bytes);
void give_memory(void *memory);

struct GiveBack {
  void operator()(void *p) const { give_memory(p); }
};
template <class T> using Array = std::unique_ptr<T[], GiveBack>;
