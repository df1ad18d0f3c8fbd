#include "sched/resources.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/result.h"

namespace narke::sched {

std::string amount_text(Amount amount) {
  char text[40];
  const char* sign = amount < 0 ? "-" : "";
  const Amount size = amount < 0 ? -amount : amount;
  std::snprintf(text, sizeof(text), "%s%lld.%04lld", sign, static_cast<long long>(size / kOne),
                static_cast<long long>(size % kOne));
  std::string out = text;
  out.erase(out.find_last_not_of('0') + 1);
  if (out.back() == '.') out.pop_back();
  return out;
}

bool has_devices(std::string_view name) {
  static constexpr std::array<std::string_view, 5> kNames = {"GPU", "TPU", "neuron_cores", "NPU", "HPU"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

bool is_implicit(std::string_view name) { return name.starts_with("node:__internal_implicit_resource_"); }

// ---- ResourceSet -------------------------------------------------------------------------------------------

ResourceSet::ResourceSet(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) add(entry.name, entry.amount);
}

static auto position(auto& entries, std::string_view name) {
  return std::lower_bound(entries.begin(), entries.end(), name,
                          [](const ResourceSet::Entry& e, std::string_view n) { return e.name < n; });
}

Amount ResourceSet::get(std::string_view name) const {
  for (const Entry& entry : entries_)
    if (entry.name == name) return entry.amount;
  return 0;
}

void ResourceSet::set(std::string_view name, Amount amount) {
  auto at = position(entries_, name);
  const bool found = at != entries_.end() && at->name == name;
  if (found && amount == 0) entries_.erase(at);
  if (found && amount != 0) at->amount = amount;
  if (!found && amount != 0) entries_.insert(at, Entry{std::string(name), amount});
}

void ResourceSet::add(std::string_view name, Amount amount) { set(name, get(name) + amount); }

void ResourceSet::add(const ResourceSet& other) {
  for (const Entry& entry : other.entries_) add(entry.name, entry.amount);
}

void ResourceSet::subtract(const ResourceSet& other) {
  for (const Entry& entry : other.entries_) add(entry.name, -entry.amount);
}

bool ResourceSet::contains(const ResourceSet& demand) const { return lacking(demand).empty(); }

std::string_view ResourceSet::lacking(const ResourceSet& demand) const {
  for (const Entry& entry : demand.entries_)
    if (entry.amount > 0 && on_hand(entry.name) < entry.amount) return entry.name;
  return {};
}

Amount ResourceSet::on_hand(std::string_view name) const { return get(name) + (is_implicit(name) ? kOne : 0); }

bool ResourceSet::intersects(const ResourceSet& other) const {
  for (const Entry& entry : entries_)
    if (entry.amount > 0 && other.get(entry.name) > 0) return true;
  return false;
}

std::string ResourceSet::text() const {
  std::string out = "{";
  for (const Entry& entry : entries_) {
    if (out.size() > 1) out += ", ";
    out += entry.name + ": " + amount_text(entry.amount);
  }
  return out + "}";
}

// ---- ResourcePool ------------------------------------------------------------------------------------------

ResourcePool::ResourcePool(ResourceSet total) : total_(std::move(total)), available_(total_) {
  for (const ResourceSet::Entry& entry : total_.entries()) {
    if (!has_devices(entry.name)) continue;
    Devices devices{entry.name, {}, {}};
    Amount left = entry.amount;
    for (int32_t id = 0; left > 0; ++id, left -= kOne) devices.whole.push_back({id, std::min(left, kOne)});
    devices.free = devices.whole;
    devices_.push_back(std::move(devices));
  }
}

ResourcePool::ResourcePool(const Allocation& reserved) : total_(reserved.amounts), available_(reserved.amounts) {
  for (const DeviceShares& held : reserved.devices) devices_.push_back({held.name, held.shares, held.shares});
}

ResourcePool ResourcePool::mirror(ResourceSet total, ResourceSet available) {
  ResourcePool out;
  out.total_ = std::move(total);
  out.available_ = std::move(available);
  return out;
}

const ResourcePool::Devices* ResourcePool::devices_of(std::string_view name) const {
  for (const Devices& devices : devices_)
    if (devices.name == name) return &devices;
  return nullptr;
}

// Takes whole devices first, then the remainder from the fullest device that still has it: small shares pile up
// and leave whole devices to those who need them.
bool ResourcePool::pick(const std::vector<Share>& from, Amount amount, std::vector<Share>* picked) {
  std::vector<bool> used(from.size());
  Amount whole = amount / kOne;
  for (size_t i = 0; i < from.size() && whole > 0; ++i) {
    if (from[i].amount < kOne) continue;
    used[i] = true;
    --whole;
    if (picked) picked->push_back({from[i].device, kOne});
  }
  if (whole > 0) return false;
  const Amount rest = amount % kOne;
  if (rest == 0) return true;
  const Share* best = nullptr;
  for (size_t i = 0; i < from.size(); ++i) {
    if (used[i] || from[i].amount < rest) continue;
    if (best == nullptr || from[i].amount < best->amount) best = &from[i];
  }
  if (best == nullptr) return false;
  if (picked) picked->push_back({best->device, rest});
  return true;
}

bool ResourcePool::devices_fit(const ResourceSet& demand, bool when_idle) const {
  if (devices_.empty()) return true;
  for (const ResourceSet::Entry& entry : demand.entries()) {
    const Devices* devices = devices_of(entry.name);
    if (devices && !pick(when_idle ? devices->whole : devices->free, entry.amount, nullptr)) return false;
  }
  return true;
}

bool ResourcePool::feasible(const ResourceSet& demand) const {
  return total_.contains(demand) && devices_fit(demand, true);
}

bool ResourcePool::fits(const ResourceSet& demand) const {
  return available_.contains(demand) && devices_fit(demand, false);
}

std::optional<Allocation> ResourcePool::allocate(const ResourceSet& demand) {
  if (!fits(demand)) return std::nullopt;
  Allocation out{demand, {}};
  available_.subtract(demand);
  for (Devices& devices : devices_) {
    const Amount amount = demand.get(devices.name);
    if (amount <= 0) continue;
    DeviceShares held{devices.name, {}};
    NARKE_CHECK(pick(devices.free, amount, &held.shares));
    for (const Share& share : held.shares)
      for (Share& free : devices.free)
        if (free.device == share.device) free.amount -= share.amount;
    out.devices.push_back(std::move(held));
  }
  return out;
}

void ResourcePool::release(const Allocation& allocation) {
  available_.add(allocation.amounts);
  for (const DeviceShares& held : allocation.devices)
    for (Devices& devices : devices_) {
      if (devices.name != held.name) continue;
      for (const Share& share : held.shares) give_back(devices.free, share);
    }
}

// A device goes to the end of the line when its last share comes back: whoever still cleans up on it is left alone
// for as long as others are free, and all of them wear alike.
void ResourcePool::give_back(std::vector<Share>& free, const Share& share) {
  const auto at = std::find_if(free.begin(), free.end(), [&](const Share& s) { return s.device == share.device; });
  if (at == free.end()) return;
  at->amount += share.amount;
  if (at->amount >= kOne) std::rotate(at, at + 1, free.end());
}

void ResourcePool::resize(std::string_view name, Amount total) {
  const Amount change = total - total_.get(name);
  total_.add(name, change);
  available_.add(name, change);
}

}  // namespace narke::sched
