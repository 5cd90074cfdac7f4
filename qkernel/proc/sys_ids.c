/* Identity: process numbers, groups, sessions, users, capabilities. */
#include "task.h"
#include "uaccess.h"
#include "proc.h"
#include <linux/capability.h>

long sys_getpid(void)
{
	return current->proc->pid;
}
long sys_gettid(void)
{
	return current->tid;
}
long sys_getppid(void)
{
	return current->proc->parent ? current->proc->parent->pid : 0;
}
long sys_getuid(void)
{
	return current->proc->uid;
}
long sys_geteuid(void)
{
	return current->proc->euid;
}
long sys_getgid(void)
{
	return current->proc->gid;
}
long sys_getegid(void)
{
	return current->proc->egid;
}
long sys_getpgrp(void)
{
	return current->proc->pgid;
}

long sys_set_tid_address(u64 p)
{
	current->clear_child_tid = UPTR(p);
	return current->tid;
}

static struct process *ids_find(u64 pid)
{
	return (s32)pid ? process_find((s32)pid) : current->proc;
}

long sys_getpgid(u64 pid)
{
	struct process *p = ids_find(pid);
	return p ? p->pgid : -ESRCH;
}

long sys_getsid(u64 pid)
{
	struct process *p = ids_find(pid);
	return p ? p->sid : -ESRCH;
}

long sys_setsid(void)
{
	struct process *p = current->proc, *o;
	list_for_each (o, &all_processes, all)
		if (o->pgid == p->pid)
			return -EPERM;
	p->pgid = p->sid = p->pid;
	return p->pid;
}

long sys_setpgid(u64 upid, u64 upgid)
{
	struct process *p = ids_find(upid), *o;
	s32 pgid = (s32)upgid;
	if (pgid < 0)
		return -EINVAL;
	if (!p || (p != current->proc && p->parent != current->proc))
		return -ESRCH;
	if (p != current->proc && p->execed)
		return -EACCES;
	if (p->sid == p->pid || p->sid != current->proc->sid)
		return -EPERM;
	if (pgid == 0)
		pgid = p->pid;
	if (pgid != p->pid) {
		bool found = false;
		list_for_each (o, &all_processes, all)
			found |= o->pgid == pgid && o->sid == p->sid;
		if (!found)
			return -EPERM;
	}
	if (p->pgid == p->pid && pgid != p->pid)
		pid_group_left(p->pid);
	p->pgid = pgid;
	return 0;
}

/* ---- Users and groups (setuid(2), setreuid(2), setresuid(2)). Who has the capability may do anything; others switch among their own three. */
static bool ids_capable(u32 cap)
{
	return current->proc->cap_eff >> cap & 1;
}

static void uids_changed(struct process *p, u32 old_euid)
{
	p->fsuid = p->euid;
	if (p->euid && p->uid && p->suid && !p->keep_caps)
		p->cap_perm = 0;
	if (p->euid)
		p->cap_eff = 0;
	else if (old_euid)
		p->cap_eff = p->cap_perm = p->cap_bset;
}

static bool own_uid(const struct process *p, u32 v)
{
	return v == p->uid || v == p->euid || v == p->suid;
}
static bool own_gid(const struct process *p, u32 v)
{
	return v == p->gid || v == p->egid || v == p->sgid;
}

long sys_setresuid(u64 r, u64 e, u64 s)
{
	struct process *p = current->proc;
	u32 v[3] = {(u32)r, (u32)e, (u32)s}, old = p->euid;
	for (int i = 0; i < 3; i++)
		if (v[i] != ~0u && !ids_capable(CAP_SETUID) && !own_uid(p, v[i]))
			return -EPERM;
	if (v[0] != ~0u)
		p->uid = v[0];
	if (v[1] != ~0u)
		p->euid = v[1];
	if (v[2] != ~0u)
		p->suid = v[2];
	uids_changed(p, old);
	return 0;
}

long sys_setresgid(u64 r, u64 e, u64 s)
{
	struct process *p = current->proc;
	u32 v[3] = {(u32)r, (u32)e, (u32)s};
	for (int i = 0; i < 3; i++)
		if (v[i] != ~0u && !ids_capable(CAP_SETGID) && !own_gid(p, v[i]))
			return -EPERM;
	if (v[0] != ~0u)
		p->gid = v[0];
	if (v[1] != ~0u)
		p->egid = v[1];
	if (v[2] != ~0u)
		p->sgid = v[2];
	p->fsgid = p->egid;
	return 0;
}

long sys_setuid(u64 uid)
{
	return ids_capable(CAP_SETUID) ? sys_setresuid(uid, uid, uid) : sys_setresuid(~0u, uid, ~0u);
}

long sys_setgid(u64 gid)
{
	return ids_capable(CAP_SETGID) ? sys_setresgid(gid, gid, gid) : sys_setresgid(~0u, gid, ~0u);
}

long sys_setreuid(u64 r, u64 e)
{
	const struct process *p = current->proc;
	bool saved = (u32)r != ~0u || ((u32)e != ~0u && (u32)e != p->uid);
	return sys_setresuid(r, e, saved ? ((u32)e != ~0u ? e : p->euid) : ~0u);
}

long sys_setregid(u64 r, u64 e)
{
	const struct process *p = current->proc;
	bool saved = (u32)r != ~0u || ((u32)e != ~0u && (u32)e != p->gid);
	return sys_setresgid(r, e, saved ? ((u32)e != ~0u ? e : p->egid) : ~0u);
}

long sys_getresuid(u64 r, u64 e, u64 s)
{
	const struct process *p = current->proc;
	return put_user(p->uid, UPTR(r)) || put_user(p->euid, UPTR(e)) || put_user(p->suid, UPTR(s)) ? -EFAULT : 0;
}

long sys_getresgid(u64 r, u64 e, u64 s)
{
	const struct process *p = current->proc;
	return put_user(p->gid, UPTR(r)) || put_user(p->egid, UPTR(e)) || put_user(p->sgid, UPTR(s)) ? -EFAULT : 0;
}

/* What goes with a fsuid of root: "Effect of user ID changes on capabilities" of capabilities(7). */
#define FS_CAPS \
	(1ul << CAP_CHOWN | 1ul << CAP_DAC_OVERRIDE | 1ul << CAP_DAC_READ_SEARCH | 1ul << CAP_FOWNER | 1ul << CAP_FSETID | \
	 1ul << CAP_LINUX_IMMUTABLE | 1ul << CAP_MKNOD | 1ul << CAP_MAC_OVERRIDE)

long sys_setfsuid(u64 uid)
{
	struct process *p = current->proc;
	u32 old = p->fsuid;
	if ((u32)uid == ~0u || !(ids_capable(CAP_SETUID) || own_uid(p, (u32)uid) || (u32)uid == old))
		return old;
	p->fsuid = (u32)uid;
	if (!old && p->fsuid)
		p->cap_eff &= ~FS_CAPS;
	else if (old && !p->fsuid)
		p->cap_eff |= p->cap_perm & FS_CAPS;
	return old;
}

long sys_setfsgid(u64 gid)
{
	struct process *p = current->proc;
	u32 old = p->fsgid;
	if ((u32)gid != ~0u && (ids_capable(CAP_SETGID) || own_gid(p, (u32)gid) || (u32)gid == old))
		p->fsgid = (u32)gid;
	return old;
}

long sys_getgroups(u64 n, u64 list)
{
	const struct process *p = current->proc;
	if ((s32)n < 0 || (n && (u32)n < p->ngroups))
		return -EINVAL;
	if (n && copy_to_user(UPTR(list), p->groups, p->ngroups * sizeof(u32)))
		return -EFAULT;
	return p->ngroups;
}

long sys_setgroups(u64 n, u64 list)
{
	struct process *p = current->proc;
	u32 groups[ARRAY_SIZE(p->groups)];
	if (!ids_capable(CAP_SETGID))
		return -EPERM;
	if (n > ARRAY_SIZE(groups))
		return -EINVAL;
	if (copy_from_user(groups, UPTR(list), n * sizeof(u32)))
		return -EFAULT;
	memcpy(p->groups, groups, sizeof(groups));
	p->ngroups = (u32)n;
	return 0;
}

/* ---- Capabilities (capget(2)), version 3: two 32-bit halves */
static int cap_header(u64 uheader, struct process **p)
{
	struct __user_cap_header_struct h;
	if (copy_from_user(&h, UPTR(uheader), sizeof(h)))
		return -EFAULT;
	if (h.version != _LINUX_CAPABILITY_VERSION_3 && h.version != _LINUX_CAPABILITY_VERSION_2) {
		h.version = _LINUX_CAPABILITY_VERSION_3;
		return copy_to_user(UPTR(uheader), &h, sizeof(h)) ? -EFAULT : -EINVAL;
	}
	if (h.pid < 0)
		return -EINVAL;
	*p = ids_find((u64)h.pid);
	return *p ? 0 : -ESRCH;
}

long sys_capget(u64 uheader, u64 udata)
{
	struct process *p;
	int r = cap_header(uheader, &p);
	if (r)
		return !udata && r == -EINVAL ? 0 : r;
	struct __user_cap_data_struct d[2];
	for (int i = 0; i < 2; i++)
		d[i] = (struct __user_cap_data_struct){(u32)(p->cap_eff >> 32 * i), (u32)(p->cap_perm >> 32 * i), (u32)(p->cap_inh >> 32 * i)};
	return udata ? copy_to_user(UPTR(udata), d, sizeof(d)) : 0;
}

long sys_capset(u64 uheader, u64 udata)
{
	struct process *p;
	struct __user_cap_data_struct d[2];
	int r = cap_header(uheader, &p);
	if (r)
		return r;
	if (copy_from_user(d, UPTR(udata), sizeof(d)))
		return -EFAULT;
	u64 eff = d[0].effective | (u64)d[1].effective << 32, perm = d[0].permitted | (u64)d[1].permitted << 32;
	u64 inh = d[0].inheritable | (u64)d[1].inheritable << 32;
	if (p != current->proc || (perm & ~p->cap_perm) || (eff & ~perm))
		return -EPERM;
	p->cap_eff = eff;
	p->cap_perm = perm;
	p->cap_inh = inh;
	return 0;
}
