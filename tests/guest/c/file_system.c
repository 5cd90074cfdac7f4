/* statfs, statvfs, pathconf, mknod, /proc/mounts and extended attributes: what a file system says about itself. */
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static int sane(const struct statfs *fs)
{
	return fs->f_bsize >= 512 && fs->f_namelen == 255 && fs->f_blocks >= fs->f_bfree && fs->f_bfree >= fs->f_bavail;
}

int main(void)
{
	struct statfs fs;
	struct statvfs vfs;
	int fd = open("f", O_RDWR | O_CREAT, 0600);
	CHECK("statfs", statfs(".", &fs) == 0 && sane(&fs) && fs.f_blocks > 0);
	CHECK("fstatfs", fstatfs(fd, &fs) == 0 && sane(&fs));
	CHECK("statvfs", statvfs("/", &vfs) == 0 && vfs.f_frsize > 0 && vfs.f_namemax == 255);
	CHECK("statfs.proc", statfs("/proc/self", &fs) == 0 && fs.f_type == 0x9fa0);
	CHECK("statfs.shm", statfs("/dev/shm", &fs) == 0 && fs.f_type == 0x1021994);
	CHECK_ERR("statfs.missing", statfs("absent", &fs), ENOENT);
	CHECK_ERR("fstatfs.badfd", fstatfs(99, &fs), EBADF);
	int ends[2];
	REQUIRE(pipe(ends) == 0);
	CHECK("fstatfs.pipe", fstatfs(ends[0], &fs) == 0 && fs.f_type == 0x50495045);

	CHECK_EQ("pathconf.name_max", pathconf(".", _PC_NAME_MAX), 255);
	CHECK_EQ("pathconf.path_max", pathconf(".", _PC_PATH_MAX), 4096);
	CHECK_EQ("pathconf.pipe_buf", pathconf(".", _PC_PIPE_BUF), 4096);
	CHECK("sysconf", sysconf(_SC_PAGESIZE) == 4096 && sysconf(_SC_NPROCESSORS_ONLN) >= 1 && sysconf(_SC_CLK_TCK) == 100);

	struct stat st;
	CHECK_OK("mknod.file", mknod("node", S_IFREG | 0600, 0));
	CHECK_ERR("mknod.exists", mknod("node", S_IFREG | 0600, 0), EEXIST);
	CHECK_OK("mknod.socket", mknod("socket", S_IFSOCK | 0600, 0));
	CHECK("mknod.socket_type", stat("socket", &st) == 0 && S_ISSOCK(st.st_mode));
	CHECK_ERR("mknod.socket_open", open("socket", O_RDWR), ENXIO);
	CHECK_ERR("mknod.directory", mknod("dir", S_IFDIR | 0700, 0), EPERM);
	CHECK_OK("mkfifo", mkfifo("fifo", 0640));
	CHECK("mkfifo.type", stat("fifo", &st) == 0 && S_ISFIFO(st.st_mode));
	CHECK_ERR("fifo.no_reader", open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
	int reader = open("fifo", O_RDONLY | O_NONBLOCK), writer = open("fifo", O_WRONLY | O_NONBLOCK);
	char text[8];
	CHECK("fifo.works", reader >= 0 && write(writer, "fifo", 4) == 4 && read(reader, text, 8) == 4 && memcmp(text, "fifo", 4) == 0);
	REQUIRE(close(writer) == 0);
	CHECK_EQ("fifo.end", read(reader, text, 8), 0);

	/* reading attributes that are not there; whether they can be set depends on the file system */
	CHECK_ERR("getxattr.absent", getxattr("absent", "user.x", text, 8), ENOENT);
	long got = getxattr("f", "user.x", text, 8);
	CHECK("getxattr.none", got == -1 && (errno == ENODATA || errno == EOPNOTSUPP));
	CHECK("listxattr.user_none", listxattr("f", NULL, 0) >= 0 || errno == EOPNOTSUPP);

	FILE *mounts = fopen("/proc/self/mounts", "r");
	char line[4096];
	int root = 0, proc = 0;
	while (mounts && fgets(line, sizeof line, mounts)) {
		root += strstr(line, " / ") != NULL;
		proc += strstr(line, " /proc proc ") != NULL;
	}
	CHECK("proc_mounts", root >= 1 && proc >= 1);
	return check_done();
}
