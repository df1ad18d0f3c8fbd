// How the zygote's memory lies, so that forks of it copy little. Linux and glibc; elsewhere less of it is done.
#pragma once

namespace narke::py {

// Lets Python's allocator take its arenas side by side from now on, so that large pages can hold them.
void lay_out_heap();

// Done before forking, when much was allocated and nobody waits (it takes some 10 ms):
// - takes up the free space between the blocks that malloc has given out. What a child allocates then comes from one
//   end of the heap, from new pages, instead of from one page here and one there that must be copied first. It costs
//   that space: a few hundred KB after imports.
// - brings the heap into large pages where the system allows them: a fork copies one entry for each instead of 512, and
//   the child's end undoes as many.
void settle_heap();

}  // namespace narke::py
