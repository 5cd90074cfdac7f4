/* Numbered lines on standard output and standard error by three threads, whole and in order: none may be lost or doubled. */
#include "../c/check.h"
#include <pthread.h>

#define LINES 1000
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int line;

static void *prints(void *arg)
{
	for (int done = 0; !done;) {
		pthread_mutex_lock(&lock);
		if (line < LINES) {
			int number = line++;
			if (number % 10 == 7) {
				char text[40];
				int n = snprintf(text, sizeof text, "error line %d\n", number);
				REQUIRE(write(STDERR_FILENO, text, (size_t)n) == n);
			} else {
				show("line %d", number);
			}
		} else {
			done = 1;
		}
		pthread_mutex_unlock(&lock);
		sleep_ms(line % 3 == 0 ? 2 : 0);
	}
	return arg;
}

int main(void)
{
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_create(&threads[i], NULL, prints, NULL) == 0);
	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	return check_done();
}
