// Rows of ended tasks and their dictionaries, in memory and as a block of bytes.
#include "history/table.h"

namespace narke::history {
namespace {

constexpr uint32_t kBlockVersion = 3;

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
  if (!index_) index_ = std::make_shared<Index>();
  return *index_;
}

Chunk::Like Chunk::like(const TaskView& task) {
  Index& at = index();
  Like like{};
  const Suffix suffix = Suffix::from_bytes(task.task.view().substr(8));
  like.task_suffix = at.suffixes.of(suffix, suffixes_, [&] { return suffix; });
  like.parent = at.parents.of(task.parent, parents_, [&] { return task.parent; });
  like.actor = at.actors.of(task.actor, actors_, [&] { return task.actor; });
  like.origin = at.origins.of(task.origin->get(), origins_, [&] { return *task.origin; });
  like.name = at.names.of(task.name->get(), names_, [&] { return *task.name; });
  if (task.failure != nullptr && *task.failure) {
    if (failures_.back() != *task.failure) failures_.push_back(*task.failure);
    like.failure = static_cast<uint16_t>(failures_.size() - 1);
  }
  like.attempt = static_cast<uint16_t>(task.attempt < 0 ? 0 : task.attempt > 0xffff ? 0xffff : task.attempt);
  like.kind = task.kind;
  like.state = task.state;
  like.placed = task.placed;
  return like;
}

uint64_t Chunk::place_of(const TaskView& task) {
  constexpr size_t kLookBack = 8;
  const Like like = this->like(task);
  const size_t stop = likes_.size() > kLookBack ? likes_.size() - kLookBack : 0;
  for (size_t place = likes_.size(); place > stop; --place)
    if (likes_[place - 1] == like) return place - 1;
  likes_.push_back(like);
  return likes_.size() - 1;
}

void Chunk::add(const TaskView& task) {
  Row row{.number = number_of(task.task), .place = place_of(task)};
  copy_times(row, task);
  rows_.add(row);
}

void Chunk::append(const Batch& batch, const std::vector<TaskView>& places) {
  const bool is_one = places.size() == 1;
  const uint64_t first = is_one ? place_of(places[0]) : likes_.size();
  if (!is_one)
    for (const TaskView& place : places) likes_.push_back(like(place));
  rows_.append(batch.row_bytes(), batch.row_count(), static_cast<uint32_t>(first));
}

void Chunk::read(std::vector<Row>* out) const {
  out->resize(size());
  RowReader rows(rows_.bytes(), size());
  for (Row& row : *out) rows.next(&row);
}

TaskView Chunk::view_of(const Row& row) const {
  const Like& like = likes_[row.place];
  TaskView view;
  std::memcpy(view.task.data(), &row.number, 8);
  std::memcpy(view.task.data() + 8, suffixes_[like.task_suffix].data(), 16);
  view.parent = parents_[like.parent];
  view.actor = actors_[like.actor];
  view.origin = &origins_[like.origin];
  view.placed = like.placed;
  view.name = &names_[like.name];
  view.failure = &failures_[like.failure];
  copy_times(view, row);
  view.attempt = like.attempt;
  view.kind = like.kind;
  view.state = like.state;
  return view;
}

void Chunk::seal() {
  index_.reset();
  rows_.seal();
}

size_t Chunk::bytes() const {
  size_t total = sizeof(Chunk) + rows_.capacity_bytes() + likes_.size() * sizeof(Like) +
                 suffixes_.size() * Suffix::kSize + parents_.size() * sizeof(TaskId) +
                 actors_.size() * sizeof(ActorId) + (origins_.size() + names_.size()) * 160;
  for (const FailurePtr& failure : failures_)
    if (failure) total += sizeof(Failure) + failure->message.size() + 32;
  return total;
}

std::string Chunk::encode(size_t first) const {
  if (first > 0) {  // only the words that these rows need
    Chunk part;
    std::vector<Row> rows;
    read(&rows);
    for (size_t i = first; i < rows.size(); ++i) part.add(view_of(rows[i]));
    return part.encode(0);
  }
  const std::span<const uint8_t> rows = rows_.bytes();
  std::string out;
  out.reserve(rows.size() + likes_.size() * sizeof(Like) + 4096);
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
  put_number(out, static_cast<uint32_t>(likes_.size()));
  put(out, likes_.data(), likes_.size() * sizeof(Like));
  put_number(out, static_cast<uint32_t>(rows_.size()));
  put_number(out, static_cast<uint32_t>(rows.size()));
  put(out, rows.data(), rows.size());
  return out;
}

// Whether every row and what it shares point at words that are there.
bool Chunk::is_sound() const {
  for (const Like& like : likes_) {
    if (like.task_suffix >= suffixes_.size() || like.parent >= parents_.size() || like.actor >= actors_.size())
      return false;
    if (like.origin >= origins_.size() || like.name >= names_.size() || like.failure >= failures_.size()) return false;
    if (like.kind > Kind::kProfile || like.state > State::kFailed) return false;
  }
  Row row;
  RowReader rows(rows_.bytes(), rows_.size());
  while (rows.next(&row))
    if (row.place >= likes_.size()) return false;
  return rows.is_done();
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
  chunk.likes_.resize(in.count(sizeof(Like)));
  in.take(chunk.likes_.data(), chunk.likes_.size() * sizeof(Like));
  const uint32_t rows = in.number(), row_bytes = in.number();
  if (!in.good || row_bytes != in.left.size()) return false;
  if (!chunk.rows_.assign({reinterpret_cast<const uint8_t*>(in.left.data()), row_bytes}, rows)) return false;
  if (!chunk.is_sound()) return false;
  *out = std::move(chunk);
  return true;
}

}  // namespace narke::history
