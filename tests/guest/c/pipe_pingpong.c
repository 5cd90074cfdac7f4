/* Two threads and two pipes: 3000 round trips, each a block and a wake-up on both sides; then a ring of six threads. */
#include "check.h"
#include <pthread.h>

#define RING 6
static int there[2], back[2], ring[RING][2];

static void *echoes(void *arg)
{
	long n = 0;
	for (int value; read(there[0], &value, sizeof value) == sizeof value; n++) {
		value = value * 2 + 1;
		if (write(back[1], &value, sizeof value) != sizeof value)
			break;
	}
	(void)arg;
	return (void *)n;
}

static void *passes_on(void *arg)
{
	long me = (long)arg;
	for (int token; read(ring[me][0], &token, sizeof token) == sizeof token;) {
		token++;
		int done = token >= 3000;
		if (write(ring[(me + 1) % RING][1], &token, sizeof token) != sizeof token)
			break;
		if (done)
			return NULL;
	}
	return NULL;
}

int main(void)
{
	pthread_t thread, threads[RING];
	void *result;
	REQUIRE(pipe(there) == 0 && pipe(back) == 0);
	REQUIRE(pthread_create(&thread, NULL, echoes, NULL) == 0);
	int right = 0;
	for (int i = 0; i < 3000; i++) {
		int value = i;
		REQUIRE(write(there[1], &value, sizeof value) == sizeof value && read(back[0], &value, sizeof value) == sizeof value);
		right += value == 2 * i + 1;
	}
	CHECK_EQ("ping_pong", right, 3000);
	REQUIRE(close(there[1]) == 0 && pthread_join(thread, &result) == 0);
	CHECK_EQ("echoed", (long)result, 3000);

	for (int i = 0; i < RING; i++)
		REQUIRE(pipe(ring[i]) == 0);
	for (long i = 0; i < RING; i++)
		REQUIRE(pthread_create(&threads[i], NULL, passes_on, (void *)i) == 0);
	int token = 0;
	REQUIRE(write(ring[0][1], &token, sizeof token) == sizeof token);
	for (int i = 0; i < RING; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	/* Thread (t - 1) % RING makes the token t: the one that made 3000 ended first, and the last of all left its token there. */
	REQUIRE(read(ring[(3000 - 1) % RING][0], &token, sizeof token) == sizeof token);
	CHECK_EQ("ring", token, 3000 + RING - 1);
	return check_done();
}
