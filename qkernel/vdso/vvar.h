/* The page the kernel shares with every program: the clocks as of one TSC value. It lies right below the vDSO's code. */
#ifndef VVAR_H
#define VVAR_H
struct vvar {
	unsigned seq; /* odd while the kernel writes; a thread that is preempted in between reads again */
	unsigned pad;
	unsigned long tsc, mult, mono, real, boot;
};
#endif
