/* Guest-physical segments to host memory: the bounds check of every data transfer. */
#include <errno.h>
#include <sys/uio.h>

#include "vm.h"

int segs_to_iov(struct qv *vm, const struct qv_call *call, struct iovec *iov)
{
	if (call->nseg > QK_SEG_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < call->nseg; i++) {
		/* Read once: the guest may rewrite its list meanwhile. */
		uint64_t gpa = READ_ONCE(call->segs[i].gpa), len = READ_ONCE(call->segs[i].len);
		iov[i].iov_base = gpa < QK_WINDOW_GPA ? vm_ram(vm, gpa, len) : window_at(vm, gpa, len);
		iov[i].iov_len = len;
		if (!iov[i].iov_base)
			return -EFAULT;
	}
	return (int)call->nseg;
}
