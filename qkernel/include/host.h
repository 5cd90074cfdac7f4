/* What the file systems and streams of the host are told, and what is let go (fs/host*.c, fs/window.c). */
#ifndef HOST_H
#define HOST_H
#include "types.h"

void host_contact(bool input); /* something went to the host, or (input) came from it or time was let pass: what it said before may be old */
void host_forget_all(void);    /* everything that the host said may be old: a clone */
void hostfiles_before_park(void);
void hostfs_after_restore(void); /* volume slots have another directory now */
void window_lost(u32 why);       /* fs/window.c: QK_EV_CUT */
void window_after_restore(void);
int hoststreams_install(void);           /* descriptors 0 to 2 of the first process; -ENOMEM */
void hoststreams_restored(void);         /* they may be of another kind now */
void host_event(int handle, u32 events); /* from events_poll */
void hoststreams_look_again(void);       /* whoever waits at one asks again: events may have been lost, or the host is another one */
void names_shrink(void);                 /* fs/nameshrink.c, between system calls: lets names of host files go that nobody uses, if memory is short */
void locks_after_restore(void);          /* fs/lock.c */

#endif
