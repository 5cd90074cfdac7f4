/* The C library's streams on top of the kernel's files: modes, seeking, long lines, printf and scanf, temporary files. */
#include "check.h"
#include <sys/stat.h>

int main(void)
{
	FILE *f = fopen("text", "w+");
	REQUIRE(f != NULL);
	for (int i = 0; i < 5000; i++)
		fprintf(f, "%d %08x %.6f\n", i, i * 2654435761u, i / 7.0);
	CHECK_OK("fseek", fseek(f, 0, SEEK_SET));
	int lines = 0, right = 0, number;
	unsigned hash;
	double ratio;
	while (fscanf(f, "%d %x %lf", &number, &hash, &ratio) == 3) {
		right += number == lines && hash == (unsigned)lines * 2654435761u && ratio - lines / 7.0 < 1e-6;
		lines++;
	}
	CHECK("scanf", lines == 5000 && right == 5000);
	long end = ftell(f);
	struct stat st;
	REQUIRE(fflush(f) == 0 && fstat(fileno(f), &st) == 0);
	CHECK_EQ("ftell", end, st.st_size);
	REQUIRE(fseek(f, 10, SEEK_SET) == 0 && fputs("XYZ", f) >= 0 && fseek(f, 10, SEEK_SET) == 0);
	CHECK("rewrite", getc(f) == 'X' && getc(f) == 'Y' && ungetc('Q', f) == 'Q' && getc(f) == 'Q' && getc(f) == 'Z');
	CHECK_OK("fclose", fclose(f));

	f = fopen("text", "a+");
	REQUIRE(fprintf(f, "appended\n") == 9 && fflush(f) == 0);
	CHECK_EQ("append", ftell(f), end + 9);
	REQUIRE(fclose(f) == 0);
	CHECK("mode_x", fopen("text", "wx") == NULL && errno == EEXIST);
	CHECK("missing", fopen("absent", "r") == NULL && errno == ENOENT);

	f = fopen("long", "w");
	for (int i = 0; i < 300000; i++)
		putc('a' + i % 26, f);
	putc('\n', f);
	fputs("no newline", f);
	REQUIRE(fclose(f) == 0);
	f = fopen("long", "r");
	char *line = NULL;
	size_t room = 0;
	CHECK_EQ("getline.long", getline(&line, &room, f), 300001);
	CHECK("getline.content", line[299999] == 'a' + 299999 % 26 && line[300000] == '\n');
	CHECK_EQ("getline.last", getline(&line, &room, f), 10);
	CHECK_EQ("getline.end", getline(&line, &room, f), -1);
	free(line);
	fclose(f);

	f = tmpfile();
	REQUIRE(f != NULL && fwrite("temporary", 1, 9, f) == 9);
	rewind(f);
	char text[32] = "";
	CHECK("tmpfile", fread(text, 1, 32, f) == 9 && strcmp(text, "temporary") == 0 && feof(f));
	fclose(f);
	char name[] = "tempXXXXXX";
	int fd = mkstemp(name);
	CHECK("mkstemp", fd >= 0 && strcmp(name, "tempXXXXXX") != 0 && stat(name, &st) == 0 && (st.st_mode & 0777) == 0600);
	char directory[] = "dirXXXXXX";
	CHECK("mkdtemp", mkdtemp(directory) && stat(directory, &st) == 0 && S_ISDIR(st.st_mode));
	f = fopen("/dev/full", "w");
	REQUIRE(f != NULL && fputs("x", f) >= 0);
	CHECK("full.fflush", fflush(f) == EOF && errno == ENOSPC && ferror(f));
	char memory[64];
	f = fmemopen(memory, sizeof memory, "w");
	fprintf(f, "%5.2f|%-6s|%+d|%#o|%e", 3.14159, "ab", 7, 64, 12345.678);
	fclose(f);
	show("printf [%s]", memory);
	CHECK_OK("remove", remove("text") | remove("long"));
	return check_done();
}
