// The memory of objects, so that all objects of a program can be found.
//
// Problem: references that never left the program stand in no table, because a table would cost every call; yet people
// ask what holds their memory. So objects lie in slabs, which can be looked through, and which are quicker than malloc.
// Global, because operator new is. Threads: any.
#pragma once

#include <functional>

#include "worker/object.h"

namespace narke::worker {

// Every object that somebody holds, until `visit` returns false; it is held meanwhile. `visit` may not make or drop
// objects.
void for_each_object(const std::function<bool(Object&)>& visit);

}  // namespace narke::worker
