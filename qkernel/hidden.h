/* Included before everything: -fvisibility=hidden covers definitions only, and the address of a function that is merely declared would come
 * from a GOT, which the linker cannot simplify above 2 GiB. */
#pragma GCC visibility push(hidden)
