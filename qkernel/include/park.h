/* The capture point (proc/park.c). */
#ifndef PARK_H
#define PARK_H
#include "types.h"

/* After PARK returns: notices a new generation: reseeds, resyncs clocks, wipes WIPEONFORK, re-arms host polls (fs hoststream). */
void after_park(void);
/* Quiesce and PARK now (called from return_to_user_work or idle when QK_EV_CAPTURE came, and by /dev/quark). */
void park_now(void);

#endif
