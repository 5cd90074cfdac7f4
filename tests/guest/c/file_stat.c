/* stat, fstat, lstat, fstatat, statx, access, chmod, chown, utimensat, umask: every field that has one right value. */
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static struct stat status(const char *name)
{
	struct stat st;
	REQUIRE(lstat(name, &st) == 0);
	return st;
}

static int mode(const char *name)
{
	return (int)status(name).st_mode;
}

int main(void)
{
	struct stat st, other;
	umask(027);
	int fd = open("f", O_RDWR | O_CREAT | O_EXCL, 0777);
	REQUIRE(fd >= 0 && write(fd, "12345", 5) == 5);
	CHECK_OK("fstat", fstat(fd, &st));
	CHECK("size", st.st_size == 5 && st.st_nlink == 1 && st.st_blksize >= 512);
	CHECK("mode", st.st_mode == (S_IFREG | 0750));
	CHECK("owner", st.st_uid == geteuid() && st.st_gid == getegid());
	CHECK("stat.same", stat("f", &other) == 0 && other.st_ino == st.st_ino && other.st_dev == st.st_dev);
	CHECK_EQ("umask.old", umask(022), 027);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK("times.now", labs(now.tv_sec - st.st_mtime) < 10 && labs(now.tv_sec - st.st_ctime) < 10);

	CHECK_OK("chmod", chmod("f", 04640));
	CHECK_EQ("chmod.seen", mode("f"), S_IFREG | 04640);
	CHECK_OK("fchmod", fchmod(fd, 0600));
	CHECK_OK("fchmodat", fchmodat(AT_FDCWD, "f", 0604, 0));
	CHECK_EQ("fchmodat.seen", mode("f"), S_IFREG | 0604);
	REQUIRE(mkdir("d", 0755) == 0 && chmod("d", 01777) == 0);
	CHECK_EQ("chmod.sticky", mode("d"), S_IFDIR | 01777);
	REQUIRE(symlink("f", "s") == 0);
	CHECK_EQ("symlink.mode", mode("s"), S_IFLNK | 0777);
	CHECK_OK("chmod.through_link", chmod("s", 0640));
	CHECK("chmod.target", mode("f") == (S_IFREG | 0640) && mode("s") == (S_IFLNK | 0777));
	CHECK_OK("chown.same", chown("f", geteuid(), getegid()));
	CHECK_OK("chown.keep", fchown(fd, (uid_t)-1, (gid_t)-1));
	CHECK_OK("lchown", lchown("s", (uid_t)-1, (gid_t)-1));

	struct timespec times[2] = {{1000000, 123456789}, {2000000, 987654321}};
	CHECK_OK("utimensat", utimensat(AT_FDCWD, "f", times, 0));
	st = status("f");
	CHECK("utimensat.seconds", st.st_atim.tv_sec == 1000000 && st.st_mtim.tv_sec == 2000000);
	CHECK("utimensat.nanoseconds", st.st_atim.tv_nsec == 123456789 && st.st_mtim.tv_nsec == 987654321);
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_nsec = UTIME_NOW;
	CHECK_OK("utimensat.omit_now", futimens(fd, times));
	st = status("f");
	CHECK("utimensat.omitted", st.st_atim.tv_sec == 1000000 && st.st_mtim.tv_sec > 1600000000);
	times[0] = (struct timespec){77, 0};
	times[1] = (struct timespec){88, 0};
	CHECK_OK("utimensat.link", utimensat(AT_FDCWD, "s", times, AT_SYMLINK_NOFOLLOW));
	CHECK("utimensat.link_only", status("s").st_mtim.tv_sec == 88 && status("f").st_mtim.tv_sec != 88);
	times[0].tv_nsec = 2000000000;
	CHECK_ERR("utimensat.invalid", utimensat(AT_FDCWD, "f", times, 0), EINVAL);
	times[1].tv_sec = 5000000000; /* after 2106 */
	times[0].tv_nsec = 0;
	REQUIRE(utimensat(AT_FDCWD, "f", times, 0) == 0);
	CHECK_EQ("utimensat.64bit", status("f").st_mtim.tv_sec, 5000000000);
	times[1].tv_sec = 88;
	REQUIRE(utimensat(AT_FDCWD, "f", times, 0) == 0 && write(fd, "x", 1) == 1);
	CHECK("mtime.set_by_write", status("f").st_mtim.tv_sec > 1600000000);
	REQUIRE(utimensat(AT_FDCWD, "d", times, 0) == 0 && close(open("d/x", O_CREAT | O_WRONLY, 0600)) == 0);
	CHECK("mtime.directory_set_by_create", status("d").st_mtim.tv_sec > 1600000000);

	struct statx sx;
	CHECK_OK("statx", statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &sx));
	CHECK("statx.fields", sx.stx_size == 6 && sx.stx_mode == (S_IFREG | 0640) && sx.stx_ino == status("f").st_ino && sx.stx_nlink == 1);
	CHECK("statx.mask", (sx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	CHECK("statx.dev", makedev(sx.stx_dev_major, sx.stx_dev_minor) == status("f").st_dev);
	CHECK_OK("statx.empty_path", statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx));
	CHECK_ERR("statx.flags", statx(AT_FDCWD, "f", 0x40000000, STATX_SIZE, &sx), EINVAL);
	CHECK("fstatat.empty_path", fstatat(fd, "", &other, AT_EMPTY_PATH) == 0 && other.st_size == 6);
	CHECK_ERR("fstatat.empty_without_flag", fstatat(fd, "", &other, 0), ENOENT);
	CHECK("fstatat.nofollow", fstatat(AT_FDCWD, "s", &other, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(other.st_mode));
	CHECK_ERR("stat.missing", stat("absent", &st), ENOENT);
	CHECK_ERR("stat.not_directory", stat("f/x", &st), ENOTDIR);
	CHECK_ERR("fstat.badfd", fstat(99, &st), EBADF);

	CHECK_OK("access.read", access("f", R_OK | W_OK));
	CHECK_ERR("access.execute", access("f", X_OK), EACCES); /* even root needs one x bit */
	CHECK_ERR("access.missing", access("absent", F_OK), ENOENT);
	CHECK_ERR("access.mode", access("f", 64), EINVAL);
	CHECK_OK("faccessat.eaccess", faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
	CHECK_OK("faccessat.directory", faccessat(AT_FDCWD, "d", X_OK, 0));

	int ends[2];
	REQUIRE(pipe(ends) == 0);
	CHECK("pipe.type", fstat(ends[0], &st) == 0 && S_ISFIFO(st.st_mode));
	CHECK("null.type", stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	CHECK("root.type", stat("/", &st) == 0 && S_ISDIR(st.st_mode));
	return check_done();
}
