// Rows of ended tasks and their dictionaries, in memory and as a block of bytes.
#include "history/table.h"

namespace narke::history {
namespace {

constexpr uint32_t kBlockVersion = 2;

void put(std::string& out, const void* data, size_t size) { out.append(static_cast<const char*>(data), size); }
void put_number(std::string& out, uint32_t number) { put(out, &number, sizeof(number)); }
void put_text(std::string& out, std::string_view text) {
  put_number(out, static_cast<uint32_t>(text.size()));
  put(out, text.data(), text.size());
}

// Reads what put() wrote; after the end everything is 0 and `good` is false.
struct Reader {
  std::string_view left;
  bool good = true;

  bool take(void* to, size_t size) {
    good = good && size <= left.size();
    if (!good) return false;
    if (size > 0) std::memcpy(to, left.data(), size);
    left.remove_prefix(size);
    return true;
  }
  uint32_t number() {
    uint32_t value = 0;
    take(&value, sizeof(value));
    return value;
  }
  int64_t long_number() {
    int64_t value = 0;
    take(&value, sizeof(value));
    return value;
  }
  std::string text() {
    const uint32_t size = number();
    good = good && size <= left.size();
    if (!good) return {};
    std::string out(left.substr(0, size));
    left.remove_prefix(size);
    return out;
  }
  // A count of things that take at least `least` bytes each.
  uint32_t count(size_t least) {
    const uint32_t value = number();
    good = good && value <= left.size() / least;
    return good ? value : 0;
  }
  template <class IdType>
  IdType id() {
    IdType out;
    take(out.data(), IdType::kSize);
    return out;
  }
};

void put_name(std::string& out, const Name& name) {
  put_text(out, name.name);
  put_text(out, name.function);
  put_number(out, static_cast<uint32_t>(name.resources.size()));
  for (const auto& [resource, amount] : name.resources) {
    put_text(out, resource);
    put(out, &amount, sizeof(amount));
  }
}

NamePtr read_name(Reader& in) {
  auto name = std::make_shared<Name>();
  name->name = in.text();
  name->function = in.text();
  for (uint32_t left = in.count(12); left > 0; --left) {
    std::string resource = in.text();
    name->resources.emplace_back(std::move(resource), in.long_number());
  }
  return name;
}

OriginPtr read_origin(Reader& in) {
  auto origin = std::make_shared<Origin>();
  origin->worker = in.id<WorkerId>();
  origin->node = in.id<NodeId>();
  origin->job = in.id<JobId>();
  origin->pid = static_cast<int>(in.number());
  return origin;
}

}  // namespace

// The word met last is met again most often.
struct Chunk::Index {
  template <class T>
  struct Places {
    std::unordered_map<T, uint16_t> known;
    T last{};
    uint16_t place = 0;
    bool has_last = false;

    template <class Words, class Make>
    uint16_t of(const T& word, Words& words, Make make) {
      if (has_last && word == last) return place;
      const auto [at, is_new] = known.try_emplace(word, static_cast<uint16_t>(words.size()));
      if (is_new) words.push_back(make());
      last = word;
      has_last = true;
      return place = at->second;
    }
  };
  Places<Suffix> suffixes;
  Places<TaskId> parents;
  Places<ActorId> actors;
  Places<const Origin*> origins;
  Places<const Name*> names;
};

Chunk::Index& Chunk::index() {
  if (!index_) {
    index_ = std::make_shared<Index>();
    rows_.reserve(kFewRows);
  }
  return *index_;
}

Chunk::Row Chunk::like(const TaskView& task) {
  Index& at = index();
  Row row{};
  const Suffix suffix = Suffix::from_bytes(task.task.view().substr(8));
  row.task_suffix = at.suffixes.of(suffix, suffixes_, [&] { return suffix; });
  row.parent = at.parents.of(task.parent, parents_, [&] { return task.parent; });
  row.actor = at.actors.of(task.actor, actors_, [&] { return task.actor; });
  row.origin = at.origins.of(task.origin->get(), origins_, [&] { return *task.origin; });
  row.name = at.names.of(task.name->get(), names_, [&] { return *task.name; });
  if (task.failure != nullptr && *task.failure) {
    if (failures_.back() != *task.failure) failures_.push_back(*task.failure);
    row.failure = static_cast<uint16_t>(failures_.size() - 1);
  }
  row.attempt = static_cast<uint16_t>(task.attempt < 0 ? 0 : task.attempt > 0xffff ? 0xffff : task.attempt);
  row.kind = task.kind;
  row.state = task.state;
  row.placed = task.placed;
  return row;
}

// A chunk that grows beyond a few rows will mostly be filled.
void Chunk::add_row(const Row& row) {
  if (rows_.size() == kFewRows) rows_.reserve(kMostRows);
  rows_.push_back(row);
}

void Chunk::add_like(Row row, const BatchRow& times, int64_t base_us) {
  row.task = times.number;
  row.ended_us = time_of(base_us, times.ended_us);
  row.created_us = times.created_us;
  row.ready_us = times.ready_us;
  row.pushed_us = times.pushed_us;
  row.began_us = times.began_us;
  add_row(row);
}

void Chunk::put_times(Row& row, const TaskView& task) {
  row.ended_us = task.ended_us;
  const bool fits =
      ago_of(task.ended_us, task.created_us, &row.created_us) && ago_of(task.ended_us, task.ready_us, &row.ready_us) &&
      ago_of(task.ended_us, task.pushed_us, &row.pushed_us) && ago_of(task.ended_us, task.began_us, &row.began_us);
  if (fits) return;
  row.is_long = true;
  row.created_us = static_cast<Ago>(long_times_.size());
  long_times_.push_back({task.created_us, task.ready_us, task.pushed_us, task.began_us});
}

void Chunk::add(const TaskView& task) {
  Row row = like(task);
  std::memcpy(&row.task, task.task.data(), sizeof(row.task));
  put_times(row, task);
  add_row(row);
}

TaskView Chunk::at(size_t i) const {
  const Row& row = rows_[i];
  TaskView view;
  std::memcpy(view.task.data(), &row.task, 8);
  std::memcpy(view.task.data() + 8, suffixes_[row.task_suffix].data(), 16);
  view.parent = parents_[row.parent];
  view.actor = actors_[row.actor];
  view.origin = &origins_[row.origin];
  view.placed = row.placed;
  view.name = &names_[row.name];
  view.failure = &failures_[row.failure];
  view.ended_us = row.ended_us;
  const auto time = [&row](Ago ago) { return time_of(row.ended_us, ago); };
  const Times times = row.is_long
                          ? long_times_[static_cast<size_t>(row.created_us)]
                          : Times{time(row.created_us), time(row.ready_us), time(row.pushed_us), time(row.began_us)};
  view.created_us = times[0];
  view.ready_us = times[1];
  view.pushed_us = times[2];
  view.began_us = times[3];
  view.attempt = row.attempt;
  view.kind = row.kind;
  view.state = row.state;
  return view;
}

void Chunk::seal() {
  index_.reset();
  rows_.shrink_to_fit();
}

size_t Chunk::bytes() const {
  size_t total = sizeof(Chunk) + rows_.capacity() * sizeof(Row) + suffixes_.size() * Suffix::kSize +
                 parents_.size() * sizeof(TaskId) + long_times_.size() * sizeof(Times) +
                 actors_.size() * sizeof(ActorId) + (origins_.size() + names_.size()) * 160;
  for (const FailurePtr& failure : failures_)
    if (failure) total += sizeof(Failure) + failure->message.size() + 32;
  return total;
}

std::string Chunk::encode(size_t first) const {
  if (first > 0) {  // only the words that these rows need
    Chunk part;
    for (size_t i = first; i < rows_.size(); ++i) part.add(at(i));
    return part.encode(0);
  }
  std::string out;
  out.reserve(rows_.size() * sizeof(Row) + 4096);
  put_number(out, kBlockVersion);
  put_number(out, static_cast<uint32_t>(suffixes_.size()));
  for (const Suffix& suffix : suffixes_) put(out, suffix.data(), Suffix::kSize);
  put_number(out, static_cast<uint32_t>(parents_.size()));
  for (const TaskId& parent : parents_) put(out, parent.data(), TaskId::kSize);
  put_number(out, static_cast<uint32_t>(actors_.size()));
  for (const ActorId& actor : actors_) put(out, actor.data(), ActorId::kSize);
  put_number(out, static_cast<uint32_t>(origins_.size()));
  for (const OriginPtr& origin : origins_) {
    put(out, origin->worker.data(), WorkerId::kSize);
    put(out, origin->node.data(), NodeId::kSize);
    put(out, origin->job.data(), JobId::kSize);
    put_number(out, static_cast<uint32_t>(origin->pid));
  }
  put_number(out, static_cast<uint32_t>(names_.size()));
  for (const NamePtr& name : names_) put_name(out, *name);
  put_number(out, static_cast<uint32_t>(failures_.size() - 1));
  for (size_t i = 1; i < failures_.size(); ++i) {
    put_text(out, failures_[i]->type);
    put_text(out, failures_[i]->message);
  }
  put_number(out, static_cast<uint32_t>(long_times_.size()));
  put(out, long_times_.data(), long_times_.size() * sizeof(Times));
  put_number(out, static_cast<uint32_t>(rows_.size()));
  put(out, rows_.data(), rows_.size() * sizeof(Row));
  return out;
}

// Whether every row points at words that are there.
bool Chunk::is_sound() const {
  for (const Row& row : rows_) {
    if (row.task_suffix >= suffixes_.size() || row.parent >= parents_.size()) return false;
    if (row.is_long && static_cast<uint32_t>(row.created_us) >= long_times_.size()) return false;
    if (row.actor >= actors_.size() || row.origin >= origins_.size() || row.name >= names_.size()) return false;
    if (row.failure >= failures_.size() || row.kind > Kind::kProfile || row.state > State::kFailed) return false;
  }
  return true;
}

bool Chunk::decode(std::string_view bytes, Chunk* out) {
  Reader in{bytes};
  if (in.number() != kBlockVersion) return false;
  Chunk chunk;
  for (uint32_t left = in.count(Suffix::kSize); left > 0; --left) chunk.suffixes_.push_back(in.id<Suffix>());
  for (uint32_t left = in.count(TaskId::kSize); left > 0; --left) chunk.parents_.push_back(in.id<TaskId>());
  for (uint32_t left = in.count(ActorId::kSize); left > 0; --left) chunk.actors_.push_back(in.id<ActorId>());
  for (uint32_t left = in.count(64); left > 0; --left) chunk.origins_.push_back(read_origin(in));
  for (uint32_t left = in.count(12); left > 0; --left) chunk.names_.push_back(read_name(in));
  for (uint32_t left = in.count(8); left > 0; --left) {
    auto failure = std::make_shared<Failure>();
    failure->type = in.text();
    failure->message = in.text();
    chunk.failures_.push_back(std::move(failure));
  }
  chunk.long_times_.resize(in.count(sizeof(Times)));
  in.take(chunk.long_times_.data(), chunk.long_times_.size() * sizeof(Times));
  chunk.rows_.resize(in.count(sizeof(Row)));
  in.take(chunk.rows_.data(), chunk.rows_.size() * sizeof(Row));
  if (!in.good || !in.left.empty() || !chunk.is_sound()) return false;
  *out = std::move(chunk);
  return true;
}

}  // namespace narke::history
