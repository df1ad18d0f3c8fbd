// Pages of Parquet files (src/data/parquet_pages.h) on Python's buffers: every argument is checked, the work runs
// without the GIL.
#include <vector>

#include "bindings/session.h"
#include "bindings/views.h"
#include "data/parquet_pages.h"

namespace narke::py {
namespace {

// A list of (buffer or None, rows, coded).
struct Pages {
  std::vector<View> views;
  std::vector<data::Page> pages;
  int64_t rows = 0;

  bool read(PyObject* list) {
    PyRef items = PyRef::steal(PySequence_Fast(list, "pages must be a sequence"));
    if (!items) return false;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i)
      if (!add(PySequence_Fast_GET_ITEM(items.get(), i))) return false;
    return rows <= UINT32_MAX || refuse("a column has too many rows");
  }

  bool add(PyObject* tuple) {
    PyObject* buffer;
    int coded;
    data::Page page;
    if (!PyArg_ParseTuple(tuple, "OLp", &buffer, &page.rows, &coded)) return false;
    if (page.rows < 0 || page.rows > UINT32_MAX) return refuse("a page's rows are impossible");
    View view;
    if (!view.open(buffer, false)) return false;
    page.bytes = view.span<const uint8_t>();
    page.coded = coded != 0;
    rows += page.rows;
    views.push_back(std::move(view));
    pages.push_back(page);
    return true;
  }
};

PyObject* parquet_headers(PyObject*, PyObject* object) {
  View view;
  if (!view.open(object, false)) return nullptr;
  PyRef made = PyRef::steal(PyList_New(0));
  auto bytes = view.span<const uint8_t>();
  for (size_t at = 0; made && at < bytes.size();) {
    data::PageHeader page;
    if (!data::read_page_header(bytes.subspan(at), &page)) return refuse("a page has no header"), nullptr;
    at += static_cast<size_t>(page.header_bytes);
    if (page.stored_bytes > static_cast<int64_t>(bytes.size() - at)) return refuse("a page is cut off"), nullptr;
    PyRef item = PyRef::steal(Py_BuildValue("LLLnLL", page.kind, page.encoding, page.values,
                                            static_cast<Py_ssize_t>(at), page.stored_bytes, page.plain_bytes));
    if (!item || PyList_Append(made.get(), item.get()) != 0) return nullptr;
    at += static_cast<size_t>(page.stored_bytes);
  }
  return made.release();
}

PyObject* parquet_values(PyObject*, PyObject* args) {
  PyObject *list, *dictionary, *rows, *out;
  int nullable;
  Py_ssize_t width;
  if (!PyArg_ParseTuple(args, "OpnOOO:parquet_values", &list, &nullable, &width, &dictionary, &rows, &out))
    return nullptr;
  Pages pages;
  View known, chosen, to;
  if (!pages.read(list) || !known.open(dictionary, false) || !chosen.open(rows, false) || !to.open(out, true))
    return nullptr;
  auto wanted = chosen.span<const uint32_t>();
  int64_t count = rows == Py_None ? pages.rows : static_cast<int64_t>(wanted.size());
  if (width != 4 && width != 8) return refuse("values must have 4 or 8 bytes"), nullptr;
  if (to.size() / width < count) return refuse("out is too small for the rows"), nullptr;
  data::PagedColumn column{pages.pages, nullable != 0, static_cast<size_t>(width), known.span<const uint8_t>()};
  bool ok;
  {
    GilRelease free;
    ok = rows == Py_None ? data::read_values(column, to.span<uint8_t>())
                         : data::pick_values(column, wanted, to.span<uint8_t>());
  }
  return PyBool_FromLong(ok);
}

PyObject* parquet_test(PyObject*, PyObject* args) {
  PyObject *list, *truths, *out;
  int nullable;
  if (!PyArg_ParseTuple(args, "OpOO:parquet_test", &list, &nullable, &truths, &out)) return nullptr;
  Pages pages;
  View known, to;
  if (!pages.read(list) || !known.open(truths, false) || !to.open(out, true)) return nullptr;
  if (to.size() * 8 < pages.rows) return refuse("out must have a bit a row"), nullptr;
  data::PagedColumn column{pages.pages, nullable != 0, 0, {}};
  bool ok;
  {
    GilRelease free;
    ok = data::test_values(column, known.span<const uint8_t>(), to.span<uint8_t>());
  }
  return PyBool_FromLong(ok);
}

PyMethodDef methods[] = {
    {"parquet_headers", parquet_headers, METH_O,
     "parquet_headers(chunk, /)\n--\n\n(kind, encoding, values, start, stored, plain) of each page of a column."},
    {"parquet_values", parquet_values, METH_VARARGS,
     "parquet_values(pages, nullable, width, dictionary, rows, out, /)\n--\n\nThe values of rows, or of all (None)."},
    {"parquet_test", parquet_test, METH_VARARGS,
     "parquet_test(pages, nullable, truths, out, /)\n--\n\nA bit a row: the truth of its number in the dictionary."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_parquet(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
