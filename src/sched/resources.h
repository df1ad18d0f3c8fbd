// Amounts of resources and what is reserved of them.
//
// Problem: fractions of a CPU or GPU must add up exactly after millions of grants, so amounts are integers in
// 1/10,000 units (as on the wire). Devices (GPU) also have identity: a grant says which ones, and a share below
// one stays on a single device.
//
// Value types; no thread-safety of their own.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace narke::sched {

using Amount = int64_t;  // 1/10,000 units
inline constexpr Amount kOne = 10'000;

// "1", "0.5": the shortest exact text of an amount.
std::string amount_text(Amount amount);

// Whether every node has one of it without being told so. In a set that is a supply, what is in use of such a resource
// stands as a negative amount. Ray's Serve bounds a deployment's replicas on a node this way.
bool is_implicit(std::string_view name);

// Names and amounts, sorted by name. Names absent count as 0; amounts may be negative.
class ResourceSet {
 public:
  struct Entry {
    std::string name;
    Amount amount;
    bool operator==(const Entry&) const = default;
  };

  ResourceSet() = default;
  ResourceSet(std::initializer_list<Entry> entries);

  Amount get(std::string_view name) const;
  void set(std::string_view name, Amount amount);  // 0 removes the name
  void add(std::string_view name, Amount amount);
  void add(const ResourceSet& other);
  void subtract(const ResourceSet& other);
  Amount on_hand(std::string_view name) const;  // of a supply: with the one that an implicit resource has
  // Whether every amount of `demand` is on hand.
  bool contains(const ResourceSet& demand) const;
  // The first name of `demand` of which there is not enough; empty when all is there.
  std::string_view lacking(const ResourceSet& demand) const;
  bool intersects(const ResourceSet& other) const;  // both want some of the same name

  bool empty() const { return entries_.empty(); }
  const std::vector<Entry>& entries() const { return entries_; }
  std::string text() const;  // {CPU: 1, GPU: 0.5}
  bool operator==(const ResourceSet&) const = default;

 private:
  std::vector<Entry> entries_;
};

// Part of a device, or all of it.
struct Share {
  int32_t device;
  Amount amount;
  bool operator==(const Share&) const = default;
};

struct DeviceShares {
  std::string name;
  std::vector<Share> shares;
  bool operator==(const DeviceShares&) const = default;
};

// What one holder has of a pool; goes back by ResourcePool::release.
struct Allocation {
  ResourceSet amounts;
  std::vector<DeviceShares> devices;
};

// Whether resources of this name are devices with identity.
bool has_devices(std::string_view name);

// The resources of a node, or of one bundle reserved on it. Available never exceeds total, and is negative only
// after take_back().
class ResourcePool {
 public:
  ResourcePool() = default;
  explicit ResourcePool(ResourceSet total);
  explicit ResourcePool(const Allocation& reserved);  // a bundle: its devices are the reserved ones

  // Another host's pool as far as its sums tell: which of its devices are free is not known here.
  static ResourcePool mirror(ResourceSet total, ResourceSet available);

  const ResourceSet& total() const { return total_; }
  const ResourceSet& available() const { return available_; }

  bool feasible(const ResourceSet& demand) const;  // fits when nothing else runs
  bool fits(const ResourceSet& demand) const;      // fits now
  std::optional<Allocation> allocate(const ResourceSet& demand);
  void release(const Allocation& allocation);

  // While a holder waits, its amounts serve others; taking them back may overdraw the pool.
  void lend(const ResourceSet& amounts) { available_.add(amounts); }
  void take_back(const ResourceSet& amounts) { available_.subtract(amounts); }

  // Changes how much there is of a name; what is in use stays in use. Devices cannot be resized.
  void resize(std::string_view name, Amount total);

 private:
  struct Devices {
    std::string name;
    std::vector<Share> whole;  // capacity by device
    std::vector<Share> free;   // longest unused first
  };
  static void give_back(std::vector<Share>& free, const Share& share);
  static bool pick(const std::vector<Share>& from, Amount amount, std::vector<Share>* picked);
  const Devices* devices_of(std::string_view name) const;
  bool devices_fit(const ResourceSet& demand, bool when_idle) const;

  ResourceSet total_, available_;
  std::vector<Devices> devices_;
};

}  // namespace narke::sched
