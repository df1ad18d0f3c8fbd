// Kernels over columns (src/data) on Python's buffers: every argument is checked, the work runs without the GIL.
#include <algorithm>
#include <string>
#include <vector>

#include "bindings/session.h"
#include "bindings/views.h"
#include "data/crc32c.h"
#include "data/gather.h"
#include "data/hash.h"
#include "data/order.h"
#include "data/reduce.h"

namespace narke::py {
namespace {

using data::Chunk;
using data::Numbers;

// Runs f without the GIL; None.
template <typename F>
PyObject* unlocked(F f) {
  {
    GilRelease free;
    f();
  }
  Py_RETURN_NONE;
}

// How the rows of a column lie: 'b' bits, 's' strings (width of an offset), 'x' plain bytes, or a kind of numbers.
struct Layout {
  char kind = 'x';
  int64_t width = 0;
};

bool holds(const Chunk& c, const Layout& layout, int64_t values, int64_t offsets) {
  int64_t rows = c.offset + c.length;
  if (layout.kind == 'b') return values * 8 >= rows;
  if (layout.kind != 's') return values / layout.width >= rows;
  if (c.length == 0) return true;
  if (offsets / layout.width < rows + 1) return false;
  int64_t end = layout.width == 4 ? reinterpret_cast<const int32_t*>(c.offsets)[rows]
                                  : reinterpret_cast<const int64_t*>(c.offsets)[rows];
  return end >= 0 && end <= values;
}

// One chunk from (values, validity, offsets, offset, length), the buffers as pyarrow gives them.
bool read_chunk(PyObject* tuple, const Layout& layout, std::vector<View>& views, Chunk* out) {
  PyObject *values, *validity, *offsets;
  Chunk c;
  if (!PyArg_ParseTuple(tuple, "OOOLL", &values, &validity, &offsets, &c.offset, &c.length)) return false;
  View opened[3];
  if (!opened[0].open(values, false) || !opened[1].open(validity, false) || !opened[2].open(offsets, false))
    return false;
  if (c.offset < 0 || c.length < 0 || c.length > UINT32_MAX) return refuse("a chunk's offset or length is impossible");
  c.values = opened[0].data();
  c.validity = opened[1].data();
  c.offsets = opened[2].data();
  if (c.validity != nullptr && opened[1].size() * 8 < c.offset + c.length) return refuse("a validity is too short");
  if (c.length > 0 && !holds(c, layout, opened[0].size(), opened[2].size())) return refuse("a buffer is too short");
  for (View& view : opened) views.push_back(std::move(view));
  *out = c;
  return true;
}

struct Column {
  std::vector<View> views;
  std::vector<Chunk> chunks;
  Layout layout;

  bool read(PyObject* list, const char* kind, Py_ssize_t width) {
    layout = {kind[0], width};
    bool fits = layout.kind == 'b' || (layout.kind == 's' ? width == 4 || width == 8 : width > 0);
    if (!fits) return refuse("there is no such layout of columns");
    PyRef items = PyRef::steal(PySequence_Fast(list, "chunks must be a sequence"));
    if (!items) return false;
    chunks.resize(static_cast<size_t>(PySequence_Fast_GET_SIZE(items.get())));
    for (size_t i = 0; i < chunks.size(); ++i)
      if (!read_chunk(PySequence_Fast_GET_ITEM(items.get(), static_cast<Py_ssize_t>(i)), layout, views, &chunks[i]))
        return false;
    return true;
  }
  // The single chunk as numbers.
  bool numbers(Numbers* out) const {
    if (chunks.size() != 1 || !data::number_of(layout.kind, layout.width, &out->type))
      return refuse("this needs one chunk of numbers");
    const Chunk& c = chunks[0];
    out->values = c.values;
    out->validity = c.validity;
    out->offset = c.offset;
    out->length = c.length;
    return true;
  }
};

// Places as callers keep them: 8 bytes a row. False when one is outside the chunks.
bool inside(const std::vector<Chunk>& chunks, std::span<const data::Place> places) {
  if (chunks.size() == 1) {  // without branches, which takes a quarter of the time
    uint32_t chunk = 0, row = 0;
    for (const data::Place& p : places) chunk |= p.chunk, row = std::max(row, p.row);
    return places.empty() || (chunk == 0 && row < chunks[0].length);
  }
  for (const data::Place& p : places)
    if (p.chunk >= chunks.size() || p.row >= chunks[p.chunk].length) return false;
  return true;
}

PyObject* columns_locate(PyObject*, PyObject* args) {
  PyObject *rows, *lengths, *out;
  if (!PyArg_ParseTuple(args, "OOO:columns_locate", &rows, &lengths, &out)) return nullptr;
  View from, sizes, to;
  if (!from.open(rows, false) || !sizes.open(lengths, false) || !to.open(out, true)) return nullptr;
  auto places = to.span<data::Place>();
  if (places.size() != from.span<uint32_t>().size()) return refuse("out must have 8 bytes a row"), nullptr;
  bool ok;
  {
    GilRelease free;
    ok = data::locate(from.span<const uint32_t>(), sizes.span<const int64_t>(), places);
  }
  if (!ok) return PyErr_Format(PyExc_IndexError, "a row is outside the table");
  Py_RETURN_NONE;
}

// Fills `out`, and for strings `out_offsets`, or only the offsets while `out` is None; returns the bytes of strings.
template <typename Offset>
int64_t gather_strings(const Column& column, std::span<const data::Place> places, const View& offsets,
                       const View& out) {
  if (out.data() == nullptr) return data::gather_offsets(column.chunks, places, offsets.span<Offset>().data());
  data::gather_bytes(column.chunks, places, offsets.span<const Offset>().data(), out.data());
  return out.size();
}

bool room_for(const Column& column, size_t count, const View& offsets, const View& out) {
  auto rows = static_cast<int64_t>(count);
  const Layout& layout = column.layout;
  if (layout.kind == 'b') return out.size() * 8 >= rows;
  if (layout.kind != 's') return out.size() / layout.width >= rows;
  if (offsets.size() / layout.width < rows + 1) return false;
  if (out.data() == nullptr) return true;
  int64_t end = layout.width == 4 ? offsets.span<int32_t>()[count] : offsets.span<int64_t>()[count];
  return end <= out.size();
}

PyObject* columns_gather(PyObject*, PyObject* args) {
  PyObject *list, *rows, *out, *out_offsets;
  const char* kind;
  Py_ssize_t width;
  if (!PyArg_ParseTuple(args, "OsnOOO:columns_gather", &list, &kind, &width, &rows, &out, &out_offsets)) return nullptr;
  Column column;
  View where, to, offsets;
  if (!column.read(list, kind, width) || !where.open(rows, false) || !to.open(out, true) ||
      !offsets.open(out_offsets, true))
    return nullptr;
  auto places = where.span<const data::Place>();
  if (!room_for(column, places.size(), offsets, to)) return refuse("out is too small for the rows"), nullptr;
  int64_t result = 0;
  bool ok;
  {
    GilRelease free;
    ok = inside(column.chunks, places);
    if (ok && column.layout.kind == 'b')
      data::gather_bits(column.chunks, places, to.data());
    else if (ok && column.layout.kind == 's')
      result = width == 4 ? gather_strings<int32_t>(column, places, offsets, to)
                          : gather_strings<int64_t>(column, places, offsets, to);
    else if (ok)
      data::gather_fixed(column.chunks, static_cast<size_t>(width), places, to.data());
  }
  if (!ok) return PyErr_Format(PyExc_IndexError, "a row is outside the column");
  return PyLong_FromLongLong(result);
}

PyObject* columns_gather_validity(PyObject*, PyObject* args) {
  PyObject *list, *rows, *out;
  if (!PyArg_ParseTuple(args, "OOO:columns_gather_validity", &list, &rows, &out)) return nullptr;
  std::vector<View> views;
  PyRef items = PyRef::steal(PySequence_Fast(list, "chunks must be a sequence"));
  if (!items) return nullptr;
  std::vector<Chunk> chunks;
  View where, to;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i) {
    PyObject* validity;
    Chunk c;
    if (!PyArg_ParseTuple(PySequence_Fast_GET_ITEM(items.get(), i), "OLL", &validity, &c.offset, &c.length))
      return nullptr;
    View view;
    if (!view.open(validity, false)) return nullptr;
    c.validity = view.data();
    if (c.offset < 0 || c.length < 0 || (c.validity != nullptr && view.size() * 8 < c.offset + c.length))
      return refuse("a validity is too short"), nullptr;
    views.push_back(std::move(view));
    chunks.push_back(c);
  }
  if (!where.open(rows, false) || !to.open(out, true)) return nullptr;
  auto places = where.span<const data::Place>();
  if (to.size() * 8 < static_cast<int64_t>(places.size())) return refuse("out is too small for the rows"), nullptr;
  int64_t nulls = -1;
  {
    GilRelease free;
    if (inside(chunks, places)) nulls = data::gather_validity(chunks, places, to.data());
  }
  if (nulls < 0) return PyErr_Format(PyExc_IndexError, "a row is outside the column");
  return PyLong_FromLongLong(nulls);
}

PyObject* columns_sort_order(PyObject*, PyObject* args) {
  PyObject *list, *out;
  if (!PyArg_ParseTuple(args, "OO:columns_sort_order", &list, &out)) return nullptr;
  PyRef items = PyRef::steal(PySequence_Fast(list, "keys must be a sequence"));
  if (!items) return nullptr;
  View to;
  if (!to.open(out, true)) return nullptr;
  auto order = to.span<uint32_t>();
  auto count = static_cast<size_t>(PySequence_Fast_GET_SIZE(items.get()));
  std::vector<Column> columns(count);
  std::vector<data::SortKey> keys(count);
  for (size_t i = 0; i < count; ++i) {
    PyObject* chunk;
    const char* kind;
    Py_ssize_t width;
    int descending;
    if (!PyArg_ParseTuple(PySequence_Fast_GET_ITEM(items.get(), static_cast<Py_ssize_t>(i)), "Osnp", &chunk, &kind,
                          &width, &descending))
      return nullptr;
    PyRef single = PyRef::steal(PyTuple_Pack(1, chunk));
    if (!single || !columns[i].read(single.get(), kind, width) || !columns[i].numbers(&keys[i].column)) return nullptr;
    if (keys[i].column.length != static_cast<int64_t>(order.size()))
      return refuse("out must have a row a row"), nullptr;
    keys[i].descending = descending != 0;
  }
  if (keys.empty()) return refuse("there is no key to sort by"), nullptr;
  return unlocked([&] { data::sort_order(keys, order); });
}

PyObject* columns_partition(PyObject*, PyObject* args) {
  PyObject *ids, *order, *ends;
  if (!PyArg_ParseTuple(args, "OOO:columns_partition", &ids, &order, &ends)) return nullptr;
  View from, to, bounds;
  if (!from.open(ids, false) || !to.open(order, true) || !bounds.open(ends, true)) return nullptr;
  if (to.size() != from.size()) return refuse("order must be as long as ids"), nullptr;
  bool ok;
  {
    GilRelease free;
    ok = data::partition_order(from.span<const uint32_t>(), to.span<uint32_t>(), bounds.span<int64_t>());
  }
  if (!ok) return PyErr_Format(PyExc_IndexError, "an id has no partition");
  Py_RETURN_NONE;
}

PyObject* columns_range_ids(PyObject*, PyObject* args) {
  PyObject *list, *bounds, *out;
  const char* kind;
  Py_ssize_t width;
  int descending;
  if (!PyArg_ParseTuple(args, "OOsnpO:columns_range_ids", &list, &bounds, &kind, &width, &descending, &out))
    return nullptr;
  Column column, edges;
  Numbers values, cuts;
  View to;
  if (!column.read(list, kind, width) || !column.numbers(&values) || !edges.read(bounds, kind, width) ||
      !edges.numbers(&cuts) || !to.open(out, true))
    return nullptr;
  if (static_cast<int64_t>(to.span<uint32_t>().size()) != values.length)
    return refuse("out must have 4 bytes a row"), nullptr;
  return unlocked([&] { data::range_ids(values, cuts, descending != 0, to.span<uint32_t>()); });
}

PyObject* columns_hash(PyObject*, PyObject* args) {
  PyObject *list, *out;
  const char* kind;
  Py_ssize_t width;
  if (!PyArg_ParseTuple(args, "OsnO:columns_hash", &list, &kind, &width, &out)) return nullptr;
  Column column;
  View to;
  if (!column.read(list, kind, width) || !to.open(out, true)) return nullptr;
  auto hashes = to.span<uint64_t>();
  if (column.chunks.size() != 1 || column.chunks[0].length != static_cast<int64_t>(hashes.size()) ||
      column.layout.kind == 'b')
    return refuse("this needs one chunk of as many rows as there are hashes"), nullptr;
  Numbers numbers;
  bool is_number = column.layout.kind != 's' && column.layout.kind != 'x';
  if (is_number && !column.numbers(&numbers)) return nullptr;
  return unlocked([&] {
    if (is_number)
      data::hash_numbers(numbers, hashes);
    else if (column.layout.kind == 'x')
      data::hash_fixed(column.chunks[0], static_cast<size_t>(width), hashes);
    else if (width == 4)
      data::hash_strings<int32_t>(column.chunks[0], hashes);
    else
      data::hash_strings<int64_t>(column.chunks[0], hashes);
  });
}

PyObject* columns_bucket_ids(PyObject*, PyObject* args) {
  PyObject *from, *out;
  unsigned int count;
  if (!PyArg_ParseTuple(args, "OIO:columns_bucket_ids", &from, &count, &out)) return nullptr;
  View hashes, to;
  if (!hashes.open(from, false) || !to.open(out, true)) return nullptr;
  if (count == 0 || hashes.size() != 2 * to.size()) return refuse("out must have 4 bytes a hash"), nullptr;
  return unlocked([&] { data::bucket_ids(hashes.span<const uint64_t>(), count, to.span<uint32_t>()); });
}

PyObject* columns_permutation(PyObject*, PyObject* args) {
  unsigned long long seed;
  PyObject* out;
  if (!PyArg_ParseTuple(args, "KO:columns_permutation", &seed, &out)) return nullptr;
  View to;
  if (!to.open(out, true)) return nullptr;
  return unlocked([&] { data::permutation(seed, to.span<uint32_t>()); });
}

PyObject* columns_random_ids(PyObject*, PyObject* args) {
  unsigned long long seed;
  unsigned int count;
  PyObject* out;
  if (!PyArg_ParseTuple(args, "KIO:columns_random_ids", &seed, &count, &out)) return nullptr;
  View to;
  if (!to.open(out, true)) return nullptr;
  if (count == 0) return refuse("there must be an id to draw"), nullptr;
  return unlocked([&] { data::random_ids(seed, count, to.span<uint32_t>()); });
}

template <typename Result>
void reduce(const std::string& what, std::span<const uint32_t> ids, const Numbers& values, const View& results,
            std::span<int64_t> counts) {
  if (what == "sum")
    data::sum_groups(ids, values, results.span<Result>(), counts);
  else
    data::extreme_groups(ids, values, what == "max", results.span<Result>(), counts);
}

PyObject* columns_reduce(PyObject*, PyObject* args) {
  PyObject *ids, *list, *out, *out_counts, *out_squares;
  const char *what, *kind;
  Py_ssize_t width;
  if (!PyArg_ParseTuple(args, "sOOsnOOO:columns_reduce", &what, &ids, &list, &kind, &width, &out, &out_squares,
                        &out_counts))
    return nullptr;
  Column column;
  Numbers values;
  View groups, results, squares, counts;
  if (!groups.open(ids, false) || !column.read(list, kind, width) || !column.numbers(&values) ||
      !results.open(out, true) || !squares.open(out_squares, true) || !counts.open(out_counts, true))
    return nullptr;
  std::string name = what;
  bool moments = name == "moments";
  if (!moments && name != "sum" && name != "min" && name != "max") return refuse("there is no such reduction"), nullptr;
  if (results.size() != counts.size() || (moments && squares.size() != counts.size()) ||
      values.length != static_cast<int64_t>(groups.span<uint32_t>().size()))
    return refuse("results, counts and rows do not fit"), nullptr;
  for (uint32_t id : groups.span<const uint32_t>())
    if (id >= counts.span<int64_t>().size()) return PyErr_Format(PyExc_IndexError, "an id has no group");
  return unlocked([&] {
    if (moments)
      data::moment_groups(groups.span<const uint32_t>(), values, results.span<double>(), squares.span<double>(),
                          counts.span<int64_t>());
    else if (column.layout.kind == 'f')
      reduce<double>(name, groups.span<const uint32_t>(), values, results, counts.span<int64_t>());
    else
      reduce<int64_t>(name, groups.span<const uint32_t>(), values, results, counts.span<int64_t>());
  });
}

PyObject* bytes_crc32c(PyObject*, PyObject* object) {
  View view;
  if (!view.open(object, false)) return nullptr;
  return PyLong_FromUnsignedLong(data::crc32c(view.span<const uint8_t>()));
}

PyMethodDef methods[] = {
    {"bytes_crc32c", bytes_crc32c, METH_O, "bytes_crc32c(bytes, /)\n--\n\nCRC-32C."},
    {"columns_locate", columns_locate, METH_VARARGS,
     "columns_locate(rows, lengths, out, /)\n--\n\nPlaces (chunk, row) of rows numbered through chunks."},
    {"columns_gather", columns_gather, METH_VARARGS,
     "columns_gather(chunks, kind, width, places, out, out_offsets, /)\n--\n\nThe rows at places."},
    {"columns_gather_validity", columns_gather_validity, METH_VARARGS,
     "columns_gather_validity(chunks, places, out, /)\n--\n\nThe validity of the rows at places; how many are null."},
    {"columns_sort_order", columns_sort_order, METH_VARARGS,
     "columns_sort_order(keys, out, /)\n--\n\nThe rows in order of numeric keys."},
    {"columns_partition", columns_partition, METH_VARARGS,
     "columns_partition(ids, order, ends, /)\n--\n\nThe rows grouped by id."},
    {"columns_range_ids", columns_range_ids, METH_VARARGS,
     "columns_range_ids(chunks, bounds, kind, width, descending, out, /)\n--\n\nThe range that each number is in."},
    {"columns_hash", columns_hash, METH_VARARGS,
     "columns_hash(chunks, kind, width, hashes, /)\n--\n\nAdds a column to the hashes of its rows."},
    {"columns_bucket_ids", columns_bucket_ids, METH_VARARGS,
     "columns_bucket_ids(hashes, count, out, /)\n--\n\nThe partition of each hash."},
    {"columns_permutation", columns_permutation, METH_VARARGS,
     "columns_permutation(seed, out, /)\n--\n\nAll rows in random order."},
    {"columns_random_ids", columns_random_ids, METH_VARARGS,
     "columns_random_ids(seed, count, out, /)\n--\n\nA random partition for each row."},
    {"columns_reduce", columns_reduce, METH_VARARGS,
     "columns_reduce(what, ids, chunks, kind, width, out, out_squares, out_counts, /)\n--\n\nA reduction by group."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_columns(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
