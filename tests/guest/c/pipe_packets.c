/* A pipe of packets (O_DIRECT) that is resized: the borders of packets go with them. */
#include "check.h"
#include <fcntl.h>
#include <sys/ioctl.h>

static char buf[65536];

int main(void)
{
	int p[2], left = -1, wrote = 0;
	REQUIRE(pipe2(p, O_DIRECT | O_NONBLOCK) == 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ("write", write(p[1], buf, 4096), 4096);
	CHECK_EQ("read", read(p[0], buf, sizeof buf), 4096);
	CHECK_EQ("larger", fcntl(p[1], F_SETPIPE_SZ, 131072), 131072);
	CHECK_EQ("second", read(p[0], buf, sizeof buf), 4096);
	CHECK_EQ("short one", write(p[1], "0123456789", 10), 10);
	CHECK_EQ("third", read(p[0], buf, sizeof buf), 4096);
	CHECK_OK("FIONREAD", ioctl(p[0], FIONREAD, &left));
	CHECK_EQ("left", left, 10);
	CHECK_EQ("rest of a packet is lost", read(p[0], buf, 4), 4);
	CHECK_ERR("empty", read(p[0], buf, sizeof buf), EAGAIN);
	while (write(p[1], "x", 1) == 1)
		wrote++;
	CHECK_EQ("packets that fit", wrote, 32);
	CHECK_ERR("too small for them", fcntl(p[1], F_SETPIPE_SZ, 65536), EBUSY);
	CHECK_EQ("one at a time", read(p[0], buf, sizeof buf), 1);
	return check_done();
}
