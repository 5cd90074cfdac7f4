/* Semaphore sets, between their operations (ipc/sem.c) and their control (ipc/semctl.c). */
#ifndef SEM_H
#define SEM_H
#include "ipc.h"

#define SEM_UNDO 0x1000
#define SEMMNI 32000u
#define SEMMSL 32000u
#define SEMMNS (SEMMNI * SEMMSL)
#define SEMOPM 500u
#define SEMVMX 32767
#define SEMAEM SEMVMX
#define SEMUSZ 20

struct sem {
	u16 value;
	s32 pid; /* who changed it last */
};
struct sem_op { /* struct sembuf */
	u16 num;
	int16_t op, flags;
};
struct sem_undo { /* of one process in one set; freed at its end */
	struct list node;
	const struct process *process;
	int16_t adjust[];
};
struct sem_wait { /* a call in progress, on the stack of its task */
	struct list node;
	struct task *task;
	s32 pid;
	struct sem_op *ops;
	u32 nops, blocking; /* blocking: the operation that cannot be done */
	struct sem_undo *undo;
	int result; /* 1: still waiting */
};
struct sem_set {
	struct ipc_object ipc; /* first: the table frees by it */
	u32 n;
	s64 otime, ctime;
	struct list waiting, undos;
	struct sem sem[];
};
struct sem_set *sem_set_of(struct ipc_object *o);
struct ipc_table *sem_sets(void);
void sem_changed(struct sem_set *s); /* carries out what can go on now */
void sem_remove(struct sem_set *s);
#endif
