// A journal in an SQLite file (write-ahead log: https://sqlite.org/wal.html).
#include <sqlite3.h>

#include "journal/journal.h"

namespace narke::journal {
namespace {

constexpr int kFormat = 1;  // of the records; another one is refused
constexpr int kBusyMs = 1'000;

struct Statement {
  sqlite3_stmt* it = nullptr;
  ~Statement() { sqlite3_finalize(it); }
};

class SqliteJournal : public Journal {
 public:
  explicit SqliteJournal(std::string path) : path_(std::move(path)) {}
  ~SqliteJournal() override {
    sqlite3_finalize(put_.it);
    sqlite3_finalize(erase_.it);
    put_.it = erase_.it = nullptr;
    sqlite3_close(db_);
  }

  Status open(bool sync);
  Status load(const Visit& visit) override;
  Status apply(const std::vector<Change>& changes) override;
  Status erase() override { return run("DELETE FROM records"); }
  bool outlives_head() const override { return false; }

 private:
  Status run(const char* sql);
  Status prepare(const char* sql, Statement* out);
  Status write(const Change& change);
  Status check_format();
  Error failed(const std::string& what) const {
    return {ErrorCode::kFailed, "the journal " + path_ + " " + what + ": " + sqlite3_errmsg(db_)};
  }

  std::string path_;
  sqlite3* db_ = nullptr;
  Statement put_, erase_;
};

Status SqliteJournal::run(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return ok_status();
  return failed("cannot be used");
}

Status SqliteJournal::prepare(const char* sql, Statement* out) {
  if (sqlite3_prepare_v2(db_, sql, -1, &out->it, nullptr) == SQLITE_OK) return ok_status();
  return failed("cannot be read");
}

Status SqliteJournal::open(bool sync) {
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  if (sqlite3_open_v2(path_.c_str(), &db_, kFlags, nullptr) != SQLITE_OK) return failed("cannot be opened");
  sqlite3_busy_timeout(db_, kBusyMs);
  for (const char* sql :
       {"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL",
        sync ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
        "CREATE TABLE IF NOT EXISTS records(kind INTEGER, key BLOB, value BLOB, PRIMARY KEY(kind, key)) WITHOUT ROWID"})
    if (Status done = run(sql); !done) return done;
  if (Status checked = check_format(); !checked) return checked;
  if (Status made = prepare("INSERT OR REPLACE INTO records VALUES(?, ?, ?)", &put_); !made) return made;
  return prepare("DELETE FROM records WHERE kind = ? AND key = ?", &erase_);
}

Status SqliteJournal::check_format() {
  Statement version;
  if (Status read = prepare("PRAGMA user_version", &version); !read) return read;
  const int format = sqlite3_step(version.it) == SQLITE_ROW ? sqlite3_column_int(version.it, 0) : 0;
  if (format == 0) return run("PRAGMA user_version=1");
  if (format == kFormat) return ok_status();
  return Error{ErrorCode::kRefused, "the journal " + path_ + " has format " + std::to_string(format) +
                                        ", this release reads " + std::to_string(kFormat) +
                                        "; use the release that wrote it, or begin a cluster of its own"};
}

std::string blob(sqlite3_stmt* row, int column) {
  const void* data = sqlite3_column_blob(row, column);
  const auto size = static_cast<size_t>(sqlite3_column_bytes(row, column));
  return data ? std::string(static_cast<const char*>(data), size) : std::string();
}

Status SqliteJournal::load(const Visit& visit) {
  Statement all;
  if (Status made = prepare("SELECT kind, key, value FROM records ORDER BY kind, key", &all); !made) return made;
  int step;
  while ((step = sqlite3_step(all.it)) == SQLITE_ROW)
    visit(sqlite3_column_int(all.it, 0), blob(all.it, 1), blob(all.it, 2));
  if (step == SQLITE_DONE) return ok_status();
  return failed("cannot be read");
}

Status SqliteJournal::write(const Change& change) {
  sqlite3_stmt* statement = change.value ? put_.it : erase_.it;
  sqlite3_bind_int(statement, 1, change.table);
  sqlite3_bind_blob64(statement, 2, change.key.data(), change.key.size(), SQLITE_STATIC);
  if (change.value) sqlite3_bind_blob64(statement, 3, change.value->data(), change.value->size(), SQLITE_STATIC);
  const int step = sqlite3_step(statement);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (step == SQLITE_DONE) return ok_status();
  return failed("cannot be written");
}

Status SqliteJournal::apply(const std::vector<Change>& changes) {
  if (Status begun = run("BEGIN IMMEDIATE"); !begun) return begun;
  for (const Change& change : changes) {
    Status written = write(change);
    if (written) continue;
    (void)run("ROLLBACK");  // the first error is the one to report
    return written;
  }
  return run("COMMIT");
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(const std::string& where, bool sync) {
  if (where.starts_with(kRedisScheme)) return open_redis(where);
  auto journal = std::make_unique<SqliteJournal>(where);
  if (Status opened = journal->open(sync); !opened) return opened.error();
  return std::unique_ptr<Journal>(std::move(journal));
}

}  // namespace narke::journal
