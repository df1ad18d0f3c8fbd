// Profiles of a program as people and tools read them. Pure.
//
// The input is the answer to the question "cpu_profile" (bindings/sampler.cc): {pid, samples, rate, duration_ms,
// stacks: [{count, frames: [{function, file, line}, the outermost first]}]}, or to "memory_profile"
// (narke/_private/probes.py), where count is bytes and blocks is beside it.
#pragma once

#include <string>

#include "gateway/json.h"

namespace narke::gateway {

// "outer;inner 12" a line: what flamegraph.pl and others read.
std::string collapsed(const json::object& profile);
// The file format of https://www.speedscope.app.
json::object speedscope(const json::object& profile, const std::string& name);
// A flame graph as SVG, without scripts: names and shares are shown under the pointer. unit: of what is counted.
std::string flame_svg(const json::object& profile, const std::string& title, const char* unit = "samples");
// A memory profile as a page: what each place allocated, the largest first.
std::string memory_table(const json::object& profile, const std::string& title);
// A stack dump as text, from the answer to the question "stack".
std::string stack_text(const json::object& answer);

}  // namespace narke::gateway
