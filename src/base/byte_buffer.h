// A growing byte array whose growth is not zero-filled: bytes are written once.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <utility>

namespace narke {

class ByteBuffer {
 public:
  ByteBuffer() = default;
  ~ByteBuffer() { std::free(data_); }
  ByteBuffer(ByteBuffer&& other) noexcept { swap(other); }
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ByteBuffer(const ByteBuffer&) = delete;
  ByteBuffer& operator=(const ByteBuffer&) = delete;

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }

  // Keeps the first min(old, new) bytes; new bytes are undefined.
  void resize(size_t size) {
    reserve(size);
    size_ = size;
  }
  void reserve(size_t size) {
    if (size <= capacity_) return;
    size_t grown = capacity_ * 2 > size ? capacity_ * 2 : size;
    void* bigger = std::realloc(data_, grown);
    if (bigger == nullptr) throw std::bad_alloc();
    data_ = static_cast<uint8_t*>(bigger);
    capacity_ = grown;
  }
  // Room for `size` more bytes at the end.
  uint8_t* extend(size_t size) {
    size_t at = size_;
    resize(size_ + size);
    return data_ + at;
  }
  void append(const void* bytes, size_t size) {
    if (size != 0) std::memcpy(extend(size), bytes, size);
  }
  // Drops the first `count` bytes.
  void drop_front(size_t count) {
    size_ -= count;
    if (size_ != 0) std::memmove(data_, data_ + count, size_);
  }
  void clear() { size_ = 0; }
  // Gives memory back when far more is held than `keep`.
  void shrink_above(size_t keep) {
    if (capacity_ <= keep || size_ > 0) return;
    std::free(data_);
    data_ = nullptr;
    capacity_ = 0;
  }
  std::span<const uint8_t> span() const { return {data_, size_}; }

 private:
  void swap(ByteBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }
  uint8_t* data_ = nullptr;
  size_t size_ = 0, capacity_ = 0;
};

}  // namespace narke
