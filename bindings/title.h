// What tools such as ps and top show this process as.
#pragma once

#include <string_view>

namespace narke::py {

// Sets it, cut to what fits into the memory of the command line (and to 15 bytes for the main thread's name). Needs no
// GIL; any thread. The first call reads where that memory is; a fork keeps it, so whoever forks calls
// learn_title_area() before.
void set_title(std::string_view title);
void learn_title_area();

}  // namespace narke::py
