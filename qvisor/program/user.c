/* The host user whose rights this process has on files from the second step of its confinement on: what a guest makes in a read-write volume is that
 * user's, and what that user may not change it cannot either. Only the identity for files changes (setfsuid(2)): the process stays that of who started it,
 * who alone may end it or look into it. */
#include "confine.h"
#include "program.h"

#include <errno.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NO_CHANGE (-1) /* an identity that nobody has: setfsuid(2) says which is in force, and says nothing of errors */

void user_take(const struct qm_machine *host, const struct qm_assign *a)
{
	if (a->ngroups > QM_GROUPS_MAX)
		fail(FAIL_REQUEST, "the request for this sandbox has %u groups", a->ngroups);
	/* The system call, as the C library's function asks threads that there are none of. */
	check(syscall(SYS_setgroups, (size_t)a->ngroups, a->groups) ? -errno : 0, "take the groups of the volumes' user");
	setfsgid(a->group);
	setfsuid(a->user);
	if ((gid_t)setfsgid(NO_CHANGE) != a->group || (uid_t)setfsuid(NO_CHANGE) != a->user)
		fail(FAIL_REQUEST, "files of volumes cannot be those of user %u, group %u: this process lacks the right to choose", a->user,
		     a->group);
	/* prctl(2): a change of identity takes both back. Nobody has gained anything: whoever may look into it could before. (A parent that has just ended
	 * has closed the socket as well.) */
	check(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ? -errno : 0, "stay as it was");
	if (host->parent)
		check(prctl(PR_SET_PDEATHSIG, SIGKILL) ? -errno : 0, "end with its parent");
}
