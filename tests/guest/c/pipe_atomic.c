/* Writes of up to PIPE_BUF bytes are never torn: many writers of sized records, one reader who checks every record. */
#include "check.h"
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>

#define WRITERS 6
#define RECORDS 150
static int ends[2];

struct record {
	unsigned short size;
	unsigned char writer, fill;
};

static void *writes(void *arg)
{
	char buffer[PIPE_BUF];
	for (int i = 0; i < RECORDS; i++) {
		struct record r = {(unsigned short)(sizeof r + (i * 97 + (long)arg * 31) % (PIPE_BUF - sizeof r)), (unsigned char)(long)arg,
				   (unsigned char)i};
		memset(buffer, r.fill, sizeof buffer);
		memcpy(buffer, &r, sizeof r);
		if (write(ends[1], buffer, r.size) != r.size)
			return (void *)1;
	}
	return NULL;
}

static int read_all(char *to, int n)
{
	int total = 0;
	for (ssize_t got; total < n && (got = read(ends[0], to + total, (size_t)(n - total))) > 0;)
		total += (int)got;
	return total;
}

int main(void)
{
	pthread_t threads[WRITERS];
	void *result;
	char body[PIPE_BUF];
	int counts[WRITERS] = {0}, torn = 0, out_of_order = 0;
	REQUIRE(pipe(ends) == 0);
	for (long i = 0; i < WRITERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, writes, (void *)i) == 0);
	for (int i = 0; i < WRITERS * RECORDS; i++) {
		struct record r;
		REQUIRE(read_all((char *)&r, sizeof r) == sizeof r);
		int rest = r.size - (int)sizeof r;
		if (r.writer >= WRITERS || rest < 0 || rest > PIPE_BUF || read_all(body, rest) != rest) {
			torn = -1;
			break;
		}
		for (int j = 0; j < rest; j++)
			torn += (unsigned char)body[j] != r.fill;
		out_of_order += r.fill != (unsigned char)counts[r.writer]++;
	}
	CHECK_EQ("torn", torn, 0);
	CHECK_EQ("out_of_order", out_of_order, 0);
	int wrong = 0;
	for (int i = 0; i < WRITERS && torn == 0; i++) {
		REQUIRE(pthread_join(threads[i], &result) == 0);
		wrong += result != NULL || counts[i] != RECORDS;
	}
	CHECK_EQ("writers", wrong, 0);

	return check_done();
}
