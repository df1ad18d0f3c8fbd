// Where references are made, for people who ask what holds memory: recorded when $RAY_record_ref_creation_sites is 1.
#pragma once

#include "bindings/py_util.h"
#include "bindings/session.h"

namespace narke::py {

// Read once. Recording costs some microseconds a reference.
bool records_call_sites();
// how: what made it, as Ray writes it: "(put object)", "(task call)", "(actor call)", "(deserialize task arg)".
void note_call_site(Session& session, worker::Object& object, const char* how);
// The same for what a call returned: a reference, a list of them, or something else, which is left alone.
void note_call_sites(Session& session, PyObject* returned, const char* how);

}  // namespace narke::py
