/* prctl, arch_prctl, personality, rseq: per-thread switches. */
#include "arch.h"
#include "proc.h"
#include <asm/prctl.h>
#include <linux/prctl.h>

long sys_arch_prctl(u64 code, u64 addr)
{
	u64 v;
	switch (code) {
	case ARCH_SET_FS:
	case ARCH_SET_GS:
		/* The kernel writes its own pages through no segment, but a base up there would be a way to name them. */
		if (addr >= QK_USER_TOP)
			return -EPERM;
		if (code == ARCH_SET_FS)
			arch_set_fs_base(addr);
		else
			arch_set_gs_base(addr);
		return 0;
	case ARCH_GET_FS:
	case ARCH_GET_GS:
		v = code == ARCH_GET_FS ? arch_get_fs_base() : arch_get_gs_base();
		return put_user(v, UPTR(addr));
	default:
		return -EINVAL;
	}
}

long sys_prctl(u64 op, u64 a, u64 b, u64 c, u64 d)
{
	struct task *t = current;
	struct process *p = t->proc;
	char name[16];
	switch (op) {
	case PR_SET_NAME: {
		long n = strncpy_from_user(name, UPTR(a), sizeof(name));
		if (n < 0 && n != -ENAMETOOLONG)
			return -EFAULT;
		name[15] = 0;
		memset(t->comm, 0, sizeof(t->comm));
		strlcpy(t->comm, name, sizeof(t->comm));
		if (t == p->leader)
			memcpy(p->comm, t->comm, sizeof(p->comm));
		return 0;
	}
	case PR_GET_NAME:
		return copy_to_user(UPTR(a), t->comm, sizeof(t->comm));
	case PR_SET_PDEATHSIG:
		if (a > SIGNALS)
			return -EINVAL;
		t->pdeathsig = (s32)a;
		return 0;
	case PR_GET_PDEATHSIG:
		return put_user(t->pdeathsig, UPTR(a));
	case PR_GET_DUMPABLE:
		return p->dumpable;
	case PR_SET_DUMPABLE:
		if (a > 1)
			return -EINVAL;
		p->dumpable = (u32)a;
		return 0;
	case PR_SET_NO_NEW_PRIVS:
		if (a != 1 || b || c || d)
			return -EINVAL;
		p->no_new_privs = true;
		return 0;
	case PR_GET_NO_NEW_PRIVS:
		return a || b || c || d ? -EINVAL : (long)p->no_new_privs;
	case PR_CAPBSET_READ:
		return a > 40 ? -EINVAL : (long)(p->cap_bset >> a & 1);
	case PR_CAPBSET_DROP:
		if (a > 40)
			return -EINVAL;
		if (!(p->cap_eff & 1ul << 8))
			return -EPERM;
		p->cap_bset &= ~(1ul << a);
		return 0;
	case PR_SET_CHILD_SUBREAPER:
		p->subreaper = a != 0;
		return 0;
	case PR_GET_CHILD_SUBREAPER: {
		s32 set = p->subreaper;
		return put_user(set, UPTR(a));
	}
	case PR_SET_KEEPCAPS:
		if (a > 1)
			return -EINVAL;
		p->keep_caps = a;
		return 0;
	case PR_GET_KEEPCAPS:
		return p->keep_caps;
	case PR_GET_SECCOMP:
		return 0;
	case PR_GET_TIMERSLACK:
		return 50000;
	case PR_SET_TIMERSLACK:
		return 0;
	case PR_GET_TSC: {
		u32 enabled = PR_TSC_ENABLE;
		return put_user(enabled, UPTR(a));
	}
	default:
		return -EINVAL;
	}
}

long sys_personality(u64 v)
{
	u32 old = current->personality;
	if ((u32)v != 0xffffffff)
		current->personality = (u32)v;
	return old;
}
